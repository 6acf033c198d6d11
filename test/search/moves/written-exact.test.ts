import { describe, expect, test } from 'vitest'
import { randomGenerator } from '../../../src/random.js'
import { mixedDemos, survivors } from '../../../src/search/methods/written/capo.js'
import { historyOf } from '../../../src/search/methods/written/opro.js'
import { holm } from '../../../src/search/moves/main-effects.js'
import { backedUp, iterate, outputOf, type TreeNode, upperBound } from '../../../src/search/moves/mcts.js'
import { pairedChance } from '../../../src/search/moves/paired-test.js'
import { drawWeighted, mergedComponents, undominated } from '../../../src/search/moves/pareto.js'
import { roundHalfEven } from '../../../src/search/moves/rounding.js'
import { density, suggested } from '../../../src/search/moves/tpe.js'
import { verdictOfVotes, voteOf } from '../../../src/search/moves/votes.js'

/** What the published programs come to on small inputs, or arithmetic on paper. */

const losses = (scores: readonly (readonly number[])[]) => scores.map((own, id) => ({ id, losses: own.map(score => 1 - score) }))

describe('GEPA', () => {
  test('a candidate that is nowhere alone at the front is dropped, and parents are drawn by the fronts that they are in', () => {
    expect(
      undominated(
        losses([
          [1, 0, 0],
          [0, 1, 0],
          [1, 1, 0],
        ]),
      ),
    ).toEqual([{ id: 2, fronts: 3 }])
    expect(
      undominated(
        losses([
          [1, 0, 1],
          [0, 1, 0],
        ]),
      ),
    ).toEqual([
      { id: 0, fronts: 2 },
      { id: 1, fronts: 1 },
    ])
    const random = randomGenerator(1, 1)
    const drawn = Array.from({ length: 3000 }, () => drawWeighted([2, 1], weight => weight, random))
    expect(drawn.filter(weight => weight === 2).length / 3000).toBeCloseTo(2 / 3, 1)
  })

  test('what one parent has changed and the other has not is taken from both', () => {
    expect(mergedComponents(['a', 'b'], ["a'", 'b'], ['a', "b'"], 'a')).toEqual(["a'", "b'"])
    expect(mergedComponents(['a', 'b'], ["a'", 'b'], ["a''", 'b'], 'b')).toEqual(["a''", 'b'])
  })
})

describe('MIPROv2', () => {
  test('densities are those of Optuna', () => {
    const choices = (seen: number[][], sizes: number[]) => {
      const of = density(seen, sizes)
      return sizes.length === 1 ? [of([0]), of([1])] : [of([0, 0]), of([0, 1]), of([1, 0]), of([1, 1])]
    }
    const close = (values: number[], expected: number[]) => {
      for (const [i, value] of values.entries()) expect(value).toBeCloseTo(expected[i]!, 12)
    }
    close(choices([[0]], [2]), [0.625, 0.375])
    close(choices([[1], [1]], [2]), [0.3, 0.7])
    close(choices([[0, 1]], [2, 2]), [0.21875, 0.40625, 0.15625, 0.21875])
  })

  test('behind the random trials the estimator goes to what is good', () => {
    const trials = Array.from({ length: 12 }, (_, i) => ({ choices: [i % 4, i % 3], score: i % 4 === 2 ? 1 : 0 }))
    const drawn = Array.from({ length: 40 }, (_, i) => suggested(trials, [4, 3], randomGenerator(i, 5), 10)[0])
    expect(drawn.filter(choice => choice === 2).length).toBeGreaterThan(35)
    const atRandom = Array.from({ length: 40 }, (_, i) => suggested(trials.slice(0, 9), [4, 3], randomGenerator(i, 5), 10)[0])
    expect(new Set(atRandom).size).toBe(4)
  })
})

describe('CAPO', () => {
  const [a, b, c] = [
    [0, 0, 0, 0],
    [0, 1, 0, 1],
    [1, 1, 1, 1],
  ]
  test('chances of the paired t-test, and who survives', () => {
    const gain = (better: number[], worse: number[]) => worse.map((loss, i) => loss - better[i]!)
    expect(pairedChance(gain(a!, b!), 't')).toBeCloseTo(0.0908, 4)
    expect(pairedChance(gain(b!, c!), 't')).toBeCloseTo(0.0908, 4)
    expect(pairedChance(gain(a!, c!), 't')).toBe(0)
    expect(pairedChance(gain(a!, a!), 't')).toBeNaN()
    expect(survivors([a!, b!, c!], 2, { test: 't', alpha: 0.2 })).toEqual([0, 1])
    expect(survivors([a!, b!, c!], 1, { test: 't', alpha: 0.2 })).toEqual([0])
  })

  test('signs are counted exactly, and equals never beat each other', () => {
    expect(pairedChance([1, 1, 1, 1], 'permutation')).toBe(1 / 16)
    expect(pairedChance([0, 1, 0, 1], 'permutation')).toBe(1 / 4)
    // 20 of 20 against the normal approximation of 2^-20.
    expect(pairedChance(new Array(20).fill(1), 'permutation')).toBeLessThan(1e-5)
    expect(survivors([a!, a!, a!], 1, { test: 'permutation', alpha: 0.2 })).toEqual([0, 1, 2])
  })

  test('examples are added as often as they are taken away', () => {
    const from = Array.from({ length: 9 }, (_, index) => ({ index }))
    const sizes = Array.from({ length: 300 }, (_, i) => {
      const random = (...stream: number[]) => randomGenerator(7, i, ...stream)
      return mixedDemos([1, 2], [3, 4], from as never, 5, { random }, 0).length
    })
    for (const size of [1, 2, 3]) expect(sizes.filter(own => own === size).length).toBeGreaterThan(70)
  })
})

describe('OPRO', () => {
  test('texts stand in rising order, hidden below a threshold, equals by their surprise', () => {
    const tried = [0.2, 0.9, 0.5].map(score => ({ score, cost: 1 }))
    expect(historyOf(tried, { history: 20, hidden: 0.3 }).map(({ score }) => score)).toEqual([50, 90])
    const equal = [
      { score: 0.5, cost: 1 },
      { score: 0.5, cost: 2 },
      { score: 0.4, cost: 0.1 },
    ]
    expect(historyOf(equal, { history: 20, hidden: 0 })).toEqual([
      { score: 40, cost: 0.1 },
      { score: 50, cost: 2 },
      { score: 50, cost: 1 },
    ])
    expect([0.645, 0.655, 0.5, 0.505].map(score => roundHalfEven(100 * score))).toEqual([64, 66, 50, 50])
  })
})

describe('PromptAgent', () => {
  test('one iteration comes to the values of the published program', async () => {
    const rewards = [
      [0.6, 0.4, 0.7],
      [0.65, 0.75, 0.6],
    ]
    const limits = { depth: 2, minDepth: 2, weight: 2.5, backup: 'sum' as const }
    const root: TreeNode = { id: 0, parent: null, depth: 0, reward: 0.5, returns: [] }
    const { nodes, path } = await iterate([root], limits, ({ id, depth }, tree) =>
      Promise.resolve(
        rewards[depth]!.map((reward, i) => ({ id: tree.length + i, parent: id, depth: depth + 1, reward, returns: [] })),
      ),
    )
    expect(path.map(id => nodes[id]!.reward)).toEqual([0.5, 0.7, 0.75])
    const returns = path.map(id => nodes[id]!.returns[0])
    for (const [i, value] of [1.95, 1.45, 0.75].entries()) expect(returns[i]).toBeCloseTo(value, 12)
    const bounds = [1, 2, 3].map(id => upperBound(nodes[id]!, nodes[0]!, 2.5))
    for (const [i, value] of [2.6814, 2.4814, 3.5314].entries()) expect(bounds[i]).toBeCloseTo(value, 4)
    expect(outputOf(nodes, [path]).reward).toBe(0.75)
    expect(backedUp(nodes, path, 'mean')[0]!.returns[1]).toBeCloseTo(0.65, 12)
  })
})

test('SPO: a judge of the first place decides nothing, one that knows the new answer decides for it whatever the order', () => {
  expect([voteOf(-1, 1), voteOf(1, 1), voteOf(1, -1), voteOf(0, 0)]).toEqual([1, 0, -1, 0])
  expect(verdictOfVotes([1, 1, -1, -1]).isNewBetter).toBe(false)
  expect(verdictOfVotes([1, 0, 0])).toEqual({ isNewBetter: true, won: 1, lost: 0, tied: 2 })
})

test("Holm's correction", () => {
  expect(holm([0.01, 0.04, 0.03])).toEqual([0.03, 0.06, 0.06])
})
