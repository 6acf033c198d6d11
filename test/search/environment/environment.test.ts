import { describe, expect, test } from 'vitest'
import { searchEnvironment } from '../../../src/index.js'
import { climb } from '../../../src/search/environment/climb.js'
import { type Environment, play } from '../../../src/search/environment/environment.js'
import { negotiation, offerIn } from '../../../src/search/environment/negotiation.js'
import { problemOf } from '../../support/problem.js'
import { temporaryFolder } from '../../train/toy.js'
import { longToyModel } from '../toy.js'

const bidding =
  (...bids: readonly string[]) =>
  (_: unknown, { turn }: { turn: number }) =>
    Promise.resolve(bids[turn] ?? bids.at(-1)!)
const bought = (seed: number, ...bids: string[]) => play(negotiation, 'Buy.', seed, { speak: bidding(...bids) })

describe('the negotiation', () => {
  test('ends with a deal at a price that the seller takes, and scores what was saved', async () => {
    const { score, turns, failure, messages } = await bought(1, 'I pay $20')
    expect([score, turns, failure?.kind]).toEqual([0, 1, 'paid too much'])
    expect(messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user'])
    const rising = await bought(1, '$8', '$9', '$10', '$11', '$12', '$13', '$14')
    expect(rising.score).toBeGreaterThan(0.4)
    expect(await bought(1, '$8', '$9', '$10', '$11', '$12', '$13', '$14')).toEqual(rising)
  })

  test('what fails has a kind', async () => {
    expect((await bought(2, 'no idea')).failure).toEqual({ kind: 'no price was named', text: 'Offers: no price, no price.' })
    expect((await bought(2, '$3')).failure).toMatchObject({ kind: 'the same offer again and again' })
    expect(await bought(2, '$3')).toMatchObject({ turns: 10, score: 0 })
    const slowly = await bought(2, ...Array.from({ length: 10 }, (_, i) => `$${(1 + i / 10).toFixed(2)}`))
    expect(slowly.failure).toMatchObject({ kind: 'no deal' })
  })

  test('a price is the last one that is named, within the range', () => {
    expect(['not $12 but $11.50', '9 dollars', 'It is a deal', 'no deal', '$50', 'hello'].map(said => offerIn(said, 17))).toEqual(
      [...[11.5, 9, 17, null, null, null]],
    )
  })
})

/** Won by prompts that name the seed's remainder. */
const remainders: Environment<{ seed: number; said: string }> = {
  name: 'remainders',
  turns: 1,
  reset: seed => ({ state: { seed, said: '' }, says: String(seed), isOver: false }),
  step: ({ seed }, said) => ({ state: { seed, said }, says: 'thanks', isOver: true }),
  score: ({ seed, said }) => Number(said.includes(String(seed % 3))),
  explainFailure: ({ seed, said }) =>
    said.includes(String(seed % 3)) ? undefined : { kind: 'wrong format', text: `seed ${seed}` },
}
/** A model that says its prompt. */
const echo = (messages: readonly { content: string }[]) => Promise.resolve(messages[0]!.content)
const options = { children: 2, selected: 1, kinds: 3, shown: 2, steps: 3, seed: 1, feedback: [1, 2, 3], select: [4, 5, 6] }

test('one kind of failure costs each child one summary and one rewrite; without failures there is no child', async () => {
  const asks: string[] = []
  const steps: object[] = []
  const tried = await climb('none', options, {
    ...{ environment: remainders, speak: echo },
    write: (ask, place) => {
      asks.push(ask)
      return Promise.resolve(
        ask.startsWith('You improve') ? `<prompt>say ${'012'.slice(0, 1 + place[0]!)} ${'ab'[place[1]!]}</prompt>` : 'sum it up',
      )
    },
    onStep: step => steps.push(step),
  })
  const summaries = asks.filter(ask => ask.includes('What went wrong under it'))
  // Twice two children; the third prompt says all remainders, and fails nowhere.
  expect([summaries.length, asks.length]).toEqual([6, 12])
  expect(tried.map(({ parent }) => parent)).toEqual([null, 0, 0, 1, 1, 3, 3])
  expect(tried.at(-1)!.scores).toEqual({ 4: 1, 5: 1, 6: 1 })
  expect(asks.at(-1)).toContain('- none\n- say 0 a\n')
  expect(steps[0]).toMatchObject({ step: 1, parent: 0, failures: { 'wrong format': 3 } })
  const none = await climb('0 1 2', options, {
    environment: remainders,
    speak: echo,
    write: () => Promise.reject(new Error('asked')),
  })
  expect(none).toHaveLength(1)
})

test('a model plays, and reported episodes are those of no choice', async () => {
  const { folder, remove } = temporaryFolder()
  const found = await searchEnvironment({
    ...{ model: longToyModel(folder), threads: 1, environment: 'negotiation', prompt: 'the wine', maxNewTokens: 3 },
    ...{ feedback: 2, select: 2, report: 3, children: 1, steps: 1 },
    write: ask => Promise.resolve(ask.startsWith('You improve') ? '<prompt>on the stone</prompt>' : 'low'),
  })
  remove()
  expect(found.tried.map(({ text }) => text)).toEqual(['the wine', 'on the stone'])
  expect(found.first.episodes).toHaveLength(3)
  const chosenBy = Object.keys(found.tried[0]!.scores)
  expect(found.first.episodes.some(({ seed }) => chosenBy.includes(String(seed)))).toBe(false)
  expect(found.gain).toMatchObject({ value: 0 })
  expect(found.generatedTokens).toBeGreaterThan(0)
  const unknown = searchEnvironment({ environment: 'chess' as never, prompt: 'x' })
  expect(await problemOf(unknown)).toMatchObject({ code: 'unknown-environment' })
  expect(await problemOf(searchEnvironment({ environment: 'negotiation', prompt: 'x', select: 0 }))).toMatchObject({
    code: 'invalid-option',
  })
})
