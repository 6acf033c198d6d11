import { describe, expect, test } from 'vitest'
import { byKind, hasFallen, promst, promstSchema } from '../../../src/search/methods/written/promst.js'
import { writtenWorld } from '../support/written-world.js'

/** PROMST over a scripted model: a prompt with `level n` in it is right on so many of the questions. */

const level = (text: string) => Number(/level (\d+)/.exec(text)?.[1] ?? 0)
const options = promstSchema.parse({ type: 'promst', children: 3, selected: 2, kinds: 1 })
const isSummary = ({ ask }: { ask: string }) => ask.includes('Mistakes of one kind')

describe('PROMST', () => {
  test('of one kind of mistakes each child costs one summary and one rewrite', async () => {
    const { run, asked } = writtenWorld({
      ...{ start: 'level 0', rows: 12, right: (text, q) => q < level(text) },
      reply: (ask, i) => (isSummary(ask) ? `too low ${i}` : `level ${i % 5}</prompt>`),
    })
    const { outcomes } = await run(promst, options, 1)
    expect(asked.filter(isSummary)).toHaveLength(3)
    expect(asked.filter(ask => !isSummary(ask))).toHaveLength(3)
    // Each rewrite reads the summary that was made for it.
    const rewrites = asked.filter(ask => !isSummary(ask))
    for (const [i, { ask }] of rewrites.entries()) expect(ask).toContain(`1. too low ${i}`)
    expect(outcomes[0]!.figures).toMatchObject({ kinds: 1, depth: 0, written: 3 })
  })

  test('a prompt under which all is right has no children', async () => {
    const { run, asked } = writtenWorld({ start: 'level 12', rows: 12, right: (text, q) => q < level(text) })
    const { outcomes, best } = await run(promst, options, 5)
    expect(asked).toEqual([])
    expect([outcomes.length, best]).toEqual([1, 'level 12'])
  })

  test('the best children are rewritten in turn, deeper ones first, and know what led to them', async () => {
    let next = 0
    const { run, asked } = writtenWorld({
      ...{ start: 'level 0', rows: 24, right: (text, q) => q < level(text) },
      reply: ask => (isSummary(ask) ? 'low' : `level ${++next}</prompt>`),
    })
    const { outcomes } = await run(promst, options, 3)
    const parents = outcomes.at(-1)!.pool!.map(({ parents }) => parents[0])
    // The root's best is 3, whose best is 6.
    expect(parents).toEqual([undefined, 0, 0, 0, 3, 3, 3, 6, 6, 6])
    expect(asked.at(-1)!.ask).toContain('- level 0\n- level 3\n')
  })
})

test('mistakes fall into kinds, the most frequent first', () => {
  const said = (word: string | undefined, output: string, isRight = false) => ({
    ...{ input: 'x', output, isRight },
    ...(word !== undefined && { said: word }),
  })
  const cases = [
    said('bad', 'good'),
    said('good', 'bad'),
    said('good', 'bad'),
    said('good', 'good', true),
    said('a long way of saying it', 'bad'),
  ]
  expect(byKind(cases, 2)).toEqual([
    { kind: 'good is answered in place of bad', cases: [cases[1], cases[2]] },
    { kind: 'bad is answered in place of good', cases: [cases[0]] },
  ])
  expect(byKind([said(undefined, 'good')], 3)[0]!.kind).toBe('The answer is not the right one')
})

test('a path ends where its own last three scores fall, and not before its depth', () => {
  expect(hasFallen([0.1, 0.2, 0.3, 0.4], 2)).toBe(true)
  expect(hasFallen([0.1, 0.2, 0.2, 0.4], 2)).toBe(false)
  expect(hasFallen([0.2, 0.3, 0.4], 2)).toBe(false)
  expect(hasFallen([0.1, 0.2, 0.3, 0.4], 4)).toBe(false)
})
