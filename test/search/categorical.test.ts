import { describe, expect, test } from 'vitest'
import { search } from '../../src/api/search.js'
import { randomGenerator } from '../../src/random.js'
import type { SearchEvent, SearchStepEvent } from '../../src/search/run/events.js'
import { drawFrom, policyGradient, softmaxes } from '../../src/search/score/distributions.js'
import { textTokens } from '../../src/search/space/text-tokens.js'
import type { SearchRow } from '../../src/search/space/token-space.js'
import { temporaryFolder } from '../train/toy.js'
import { toySearch, words } from './toy.js'

describe('the policy gradient', () => {
  /** Expected loss of prompts of two tokens, by going over all of them. */
  const losses = [
    [0.3, 1.2, -0.5],
    [0.9, 0.1, 2],
  ]
  const logits = Float32Array.from([0.2, -0.4, 0.5, 0, 0.7])
  const expected = (logits: Float32Array) => {
    const [first, second] = softmaxes(logits, [2, 3])
    return losses.flatMap((row, a) => row.map((loss, b) => first![a]! * second![b]! * loss)).reduce((sum, x) => sum + x, 0)
  }

  test('is in the mean that of the expected loss, whatever is added to all losses', () => {
    const shares = softmaxes(logits, [2, 3])
    const choices = [0, 1].flatMap(a => [0, 1, 2].map(b => [a, b]))
    const chance = ([a, b]: readonly number[]) => shares[0]![a!]! * shares[1]![b!]!
    const drawn = (choice: readonly number[]) => ({ choice, loss: 100 + losses[choice[0]!]![choice[1]!]! })
    const sum = new Float64Array(5)
    for (const x of choices)
      for (const y of choices)
        for (const [i, value] of policyGradient(shares, [drawn(x), drawn(y)]).entries()) sum[i]! += chance(x) * chance(y) * value
    for (const i of logits.keys()) {
      const at = (sign: number) => expected(logits.map((x, j) => (i === j ? x + sign * 1e-2 : x)))
      expect(sum[i]).toBeCloseTo((at(1) - at(-1)) / 2e-2, 4)
    }
  })

  test('comes from draws by probability', () => {
    const random = randomGenerator(5)
    const drawn = Array.from({ length: 3000 }, () => drawFrom([0.2, 0, 0.7, 0.1], random))
    for (const [i, share] of [0.2, 0, 0.7, 0.1].entries())
      expect(drawn.filter(place => place === i).length / 3000).toBeCloseTo(share, 1)
  })

  test('says nothing of one prompt, or of prompts that are alike', () => {
    const shares = softmaxes(logits, [2, 3])
    const one = { choice: [1, 2], loss: 3 }
    for (const drawn of [[], [one], [one, one]]) expect(policyGradient(shares, drawn)).toEqual(new Float32Array(5))
  })
})

test('tokens of the texts: those that belong together first, nothing of what all rows share', () => {
  const row = (before: number[], after: number[]) => ({ before, after }) as unknown as SearchRow
  const rows = [
    row([1, 2, 10, 11, 20, 3], [4, 5]),
    row([1, 2, 21, 10, 11, 22, 3], [4, 5]),
    row([1, 2, 22, 23, 23, 22, 10, 11, 3], [4, 5]),
    row([1, 2, 23, 22, 20, 21, 3], [4, 5]),
  ]
  const found = textTokens(rows)
  expect(found.slice(0, 2)).toEqual([10, 11])
  expect([...found].sort()).toEqual([10, 11, 20, 21, 22, 23])
})

test.each(['model', 'texts', 'all'])(
  'with choices of the kind %s the distributions narrow towards lower losses',
  async choices => {
    const { folder, remove } = temporaryFolder()
    const events: SearchEvent[] = []
    const options = {
      type: 'categorical',
      choices,
      perPosition: 6,
      samples: 16,
      steps: 30,
      vocabulary: 'ascii',
      prompt: ' t t t',
    }
    const { result } = await search(toySearch(folder, { search: options }), { onEvent: event => events.push(event) })
    const figures = events.filter((event): event is SearchStepEvent => event.event === 'step').map(({ figures }) => figures!)
    expect(figures.at(-1)!.entropy).toBeLessThan(figures[0]!.entropy! - 0.1)
    const mean = (part: typeof figures) => part.reduce((sum, { meanLoss }) => sum + meanLoss!, 0) / part.length
    expect(mean(figures.slice(-5))).toBeLessThan(mean(figures.slice(0, 5)))
    expect(result.ranking.some(({ objective }) => objective < result.initial.objective)).toBe(true)
    remove()
  },
)

test("without a label of the questions it learns from the model's own answers", async () => {
  const { folder, remove } = temporaryFolder()
  const options = {
    type: 'categorical',
    choices: 'all',
    pseudoLabels: { perClass: 3 },
    samples: 8,
    steps: 10,
    vocabulary: words,
  }
  const { result } = await search(toySearch(folder, { search: options }))
  const objectives = result.ranking.map(({ objective }) => objective)
  expect(Math.min(...objectives)).toBeLessThan(result.initial.objective)
  expect(result.metrics.accuracy!.value).toBeGreaterThanOrEqual(result.initial.metrics.accuracy!.value)
  remove()
})
