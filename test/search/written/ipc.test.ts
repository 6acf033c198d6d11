import { describe, expect, test } from 'vitest'
import { finalists, ipc, ipcSchema, patienceAfter, shownHistory } from '../../../src/search/methods/written/ipc.js'
import type { Ask } from '../../../src/search/moves/writer.js'
import { labelIn } from '../../../src/search/writing/endpoint-writer.js'
import { writtenWorld } from '../support/written-world.js'

/** Intent-based prompt calibration over a scripted model, whose questions are made by the search. */

describe('patience', () => {
  const options = { warmUp: 4, minDelta: 0.01 }

  test('counts a gain that is too small, and begins anew behind a better prompt; what the warm-up scored has no say', () => {
    const warm = [0.9, 0.9, 0.9, 0.6]
    expect(patienceAfter(0, warm, options)).toBe(0)
    expect(patienceAfter(0, [...warm, 0.605], options)).toBe(1)
    expect(patienceAfter(1, [...warm, 0.605, 0.6], options)).toBe(2)
    expect(patienceAfter(2, [...warm, 0.62], options)).toBe(0)
    expect(finalists(warm, 4)).toEqual([0.6])
    expect(finalists([...warm, 0.62], 4)).toEqual([0.6, 0.62])
    expect(finalists([0.9, 0.9], 4)).toEqual([0.9, 0.9])
  })
})

test('the optimiser sees the last prompts, and at every third behind the warm-up the best, the worst first', () => {
  const pool = [0.9, 0.1, 0.2, 0.8, 0.3, 0.7].map((score, id) => ({ id, score }))
  const shown = (count: number) => shownHistory(pool.slice(0, count), { warmUp: 3, history: 2 }).map(({ id }) => id)
  expect(shown(2)).toEqual([0, 1])
  expect(shown(3)).toEqual([2])
  expect(shown(4)).toEqual([2, 3])
  expect(shown(5)).toEqual([3, 4])
  expect(shown(6)).toEqual([5, 3])
})

test('a label is read where a reply names one', () => {
  const labels = ['spam', 'not spam', 'C++']
  expect(labelIn('Not spam.', labels)).toBe('not spam')
  expect(labelIn('The class is spam', labels)).toBe('spam')
  expect(labelIn('It is C++!', labels)).toBe('C++')
  expect(labelIn('spam, or not spam', labels)).toBeUndefined()
  expect(labelIn('spammer', labels)).toBeUndefined()
})

const options = ipcSchema.parse({ type: 'ipc', task: 'Say whether it rains.', warmUp: 2, cases: 4, maxCases: 8, patience: 2 })
const isInvention = ({ begin }: Ask) => begin === '<text>'
const isRewrite = ({ begin }: Ask) => begin === '<prompt>'
const level = (text: string) => Number(/level (\d+)/.exec(text)?.[1] ?? 0)
/** Texts of which no two share three words, prompts that become better, and a judge that says yes to every other text. */
const world = (more: Partial<Parameters<typeof writtenWorld>[0]> = {}) => {
  let rewrites = 0
  return writtenWorld({
    ...{ start: 'level 0', rows: 0, steps: 20, right: (text: string, q: number) => q < level(text) },
    reply: (ask, i) =>
      isInvention(ask)
        ? `word${i} thing${i} sky${i} cloud${i}</text>`
        : isRewrite(ask)
          ? `level ${++rewrites}</prompt>`
          : 'It lacks rules.',
    choose: ({ ask }) => (Number(/word(\d+)/.exec(ask)![1]) % 2 === 0 ? 'yes' : 'no'),
    ...more,
  })
}

describe('IPC', () => {
  test('begins with nothing, makes texts of all classes, and scores every prompt on all of them', async () => {
    const { run, asked, judged, answered, made } = world()
    const { best, outcomes, state } = await run(ipc, options, 20)
    expect(made).toHaveLength(8)
    expect(judged).toHaveLength(8)
    const invented = asked.filter(isInvention)
    expect(invented.filter(({ ask }) => ask.includes('of the class yes'))).toHaveLength(4)
    expect(invented[4]!.ask).toContain('Texts that a model got wrong')
    expect(invented[0]!.ask).not.toContain('got wrong')
    // Above the first there is nothing.
    expect(invented[0]!.ask).toContain('It is of one to three sentences')
    expect(invented[4]!.ask).toContain('It is unlike those above, of one to three sentences')
    // No text is asked twice under one prompt, and each prompt that may win was asked all.
    expect(new Set(answered.map(String)).size).toBe(answered.length)
    expect(state.pool.every(({ losses }) => Object.keys(losses).length === 8)).toBe(true)
    expect(level(best)).toBeGreaterThanOrEqual(8)
    // All are right: nothing is better, and the search ends before its steps are done.
    expect(outcomes).toHaveLength(12)
    expect(outcomes.at(-1)).toMatchObject({ done: true, renewed: true })
    expect(asked.filter(isRewrite).at(-1)!.ask).toContain('made no mistake')
  })

  test('the analysis has the confusion of classes, and at most so many mistakes of each', async () => {
    const { run, asked } = world({ right: () => false })
    await run(ipc, { ...options, mistakes: 1 }, 2)
    const { ask } = asked.find(({ begin }) => begin === '')!
    expect(ask).toContain('Right answers: 0 %')
    expect(ask.match(/^- (yes|no) taken for/gm)!.length).toBeGreaterThanOrEqual(2)
    expect(ask.match(/^Input: /gm)).toHaveLength(2)
  })

  test('a prompt of the warm-up is not the answer, however well it did', async () => {
    // The first rewrite is right always, the later ones less and less.
    const { run } = world({ right: (text, q) => level(text) === 1 || (level(text) > 1 && q % (level(text) + 1) > 0) })
    const { best, state, outcomes } = await run(ipc, { ...options, warmUp: 3, patience: 1 }, 8)
    expect(state.pool.length).toBeGreaterThan(3)
    expect(level(best)).toBeGreaterThanOrEqual(2)
    for (const { candidates } of outcomes.slice(2)) expect(candidates.every(({ loss }) => loss > 0)).toBe(true)
  })

  test('texts that are like others are asked for again, and what the judge cannot say is left out', async () => {
    let written = 0
    const { run, made, asked } = world({
      reply: ask => {
        if (!isInvention(ask)) return isRewrite(ask) ? 'level 1</prompt>' : 'x'
        written++
        return written < 4
          ? 'always the same old text</text>'
          : written === 4
            ? 'Yes</text>'
            : `word${written} a${written} b${written}</text>`
      },
      choose: ({ ask }) => (ask.includes('same') ? undefined : 'yes'),
    })
    const { outcomes } = await run(ipc, { ...options, maxCases: 4 }, 1)
    expect(asked.filter(isInvention)).toHaveLength(7)
    expect(made.map(({ label }) => label)).toEqual(['-', 'yes', 'yes', 'yes'])
    expect(outcomes[0]!.figures).toMatchObject({ cases: 3 })
  })

  test('rows of people are shown wherever texts are made, and count as questions', async () => {
    const { run, asked } = world({ rows: 3 })
    const { state } = await run(ipc, options, 3)
    for (const { ask } of asked.filter(isInvention)) expect(ask).toMatch(/- question \d/)
    expect(Object.keys(state.pool[0]!.losses).map(Number)).toEqual(expect.arrayContaining([0, 1, 2, 3]))
  })

  test('an optimiser that writes nothing of use ends by patience', async () => {
    const { run } = world({
      reply: (ask, i) => (isInvention(ask) ? `word${i} x${i} y${i}</text>` : isRewrite(ask) ? '12</prompt>' : 'x'),
    })
    const { outcomes, state } = await run(ipc, options, 12)
    expect(state.pool).toHaveLength(1)
    expect(outcomes).toHaveLength(4)
  })

  test('no more texts are made than are to be made in all, in the first batch too', async () => {
    const { run, made } = world()
    await run(ipc, { ...options, cases: 4, maxCases: 3 }, 3)
    expect(made).toHaveLength(3)
  })

  test('without one text there is nothing to begin with', async () => {
    const { run } = world({ reply: () => '</text>' })
    await expect(run(ipc, options, 1)).rejects.toMatchObject({
      code: 'nothing-written',
      found: expect.stringContaining('that is new'),
    })
    const none = world({ choose: () => undefined })
    await expect(none.run(ipc, options, 1)).rejects.toMatchObject({
      code: 'nothing-written',
      found: expect.stringContaining('left out'),
    })
  })
})
