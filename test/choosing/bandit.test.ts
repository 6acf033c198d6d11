import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { describe, expect, test } from 'vitest'
import { bestShown, type Comparison, likingOf, nextPair, simulatedPerson } from '../../src/evaluate/choosing/bandit.js'
import { pointsOf } from '../../src/evaluate/choosing/features.js'
import { randomGenerator } from '../../src/random.js'
import { random } from '../support/numbers.js'

/** Choosing what to compare: what is known in closed form, and how many questions it takes. */

const some = (count: number, size: number, seed = 1) => {
  const { data } = random(seed, [count, size])
  return Array.from({ length: count }, (_, i) => data.subarray(i * size, (i + 1) * size))
}
const distance = (a: ArrayLike<number>, b: ArrayLike<number>) => Math.hypot(...Array.from(a, (x, i) => x - b[i]!))

describe('what is liked', () => {
  test('without answers nothing is, and the deviation of a difference is its length', () => {
    const points = some(4, 3)
    const { values, variance } = likingOf(points, [], 1)
    expect(values).toEqual([0, 0, 0, 0])
    for (const i of points.keys()) expect(Math.sqrt(variance(i, 0))).toBeCloseTo(distance(points[i]!, points[0]!), 9)
    expect(likingOf(points, [], 4).variance(1, 0)).toBeCloseTo(distance(points[1]!, points[0]!) ** 2 / 4, 9)
  })

  test('is the maximum of the posterior', () => {
    // One dimension: the slope of BCE + lambda w^2 / 2 is 0 there.
    const [w] = likingOf([[1], [0]], [{ first: 0, second: 1, chose: 1 }], 0.5).values
    expect(1 / (1 + Math.exp(-w!)) - 1 + 0.5 * w!).toBeCloseTo(0, 9)
    expect(likingOf([[1], [0]], [{ first: 0, second: 1, chose: 0.5 }]).values[0]).toBeCloseTo(0, 9)
  })

  test('a pair that was compared without end has no variance left, others keep theirs', () => {
    const points = [
      [1, 0],
      [0, 0],
      [0, 1],
    ]
    const often = Array.from({ length: 20_000 }, (_, i): Comparison => ({ first: 0, second: 1, chose: i % 2 }))
    const { variance } = likingOf(points, often, 1)
    expect(variance(0, 1)).toBeLessThan(1e-3)
    expect(variance(2, 1)).toBeCloseTo(1, 9)
  })

  test('which of both came first changes nothing', () => {
    const points = some(6, 4)
    const asked = Array.from(
      { length: 12 },
      (_, i): Comparison => ({ first: i % 6, second: (i + 2) % 6, chose: i % 3 === 0 ? 0 : 1 }),
    )
    const turned = asked.map(({ first, second, chose }) => ({ first: second, second: first, chose: 1 - chose }))
    for (const [i, value] of likingOf(points, asked).values.entries())
      expect(likingOf(points, turned).values[i]).toBeCloseTo(value, 9)
  })
})

describe('what is asked', () => {
  test('two different ones, the same for the same answers; the best is among those that were shown', () => {
    const points = some(5, 3)
    const asked: Comparison[] = []
    expect(bestShown(points, asked)).toBeUndefined()
    for (let i = 0; i < 12; i++) {
      const [first, second] = nextPair(points, asked, { seed: 3 })
      expect(first).not.toBe(second)
      expect(nextPair(points, asked, { seed: 3 })).toEqual([first, second])
      asked.push({ first, second, chose: first > second ? 1 : 0 })
      expect(asked.flatMap(one => [one.first, one.second])).toContain(bestShown(points, asked))
    }
    expect(() => nextPair([[1]], [], { seed: 1 })).toThrow(RangeError)
  })

  test('of three in a fixed order the best is found within ten questions', () => {
    const points = pointsOf(some(3, 6))
    for (let best = 0; best < 3; best++) {
      const asked: Comparison[] = []
      const order = [0, 1, 2].map(i => (i === best ? 2 : i === (best + 1) % 3 ? 1 : 0))
      while (asked.length < 10) {
        const [first, second] = nextPair(points, asked, { seed: 5, initial: 1 })
        asked.push({ first, second, chose: order[first]! > order[second]! ? 1 : 0 })
      }
      expect(bestShown(points, asked)).toBe(best)
    }
  })

  test('points keep directions that matter, each is told from all others, and equal embeddings make no trouble', () => {
    const points = pointsOf(some(5, 40))
    expect(points).toHaveLength(5)
    expect(points[0]!.length).toBe(4 + 5)
    const same = pointsOf([
      [1, 2],
      [1, 2],
      [1, 2],
    ])
    expect(distance(same[0]!, same[1]!)).toBeCloseTo(0.7 * Math.SQRT2, 9)
    expect(same.flatMap(point => [...point]).every(Number.isFinite)).toBe(true)
  })
})

test('somebody who is asked takes the better one as often as the slope says', () => {
  const person = simulatedPerson([1, 0], 2, 7)
  const taken = Array.from({ length: 1000 }, (_, i) => person(0, 1, i).chose).reduce((a, b) => a + b, 0) / 1000
  expect(Math.abs(taken - 1 / (1 + Math.exp(-2)))).toBeLessThan(0.04)
})

test('it takes half the questions, and fewer, of random pairs until the best of thirty is found and kept', () => {
  const most = 200
  const worlds = 12
  /** Points, and how good each is: half of that by its place, half by itself. */
  const worldOf = (world: number) => {
    const embedded = some(30, 6, world)
    const [taste, own] = [random(world + 500, [6]).data, random(world + 900, [30]).data]
    const unit = (values: readonly number[]) => {
      const length = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length)
      return values.map(x => x / length)
    }
    const byPlace = unit(embedded.map(row => row.reduce((sum, x, i) => sum + x * taste[i]!, 0)))
    const utilities = unit(unit([...own]).map((x, i) => x + byPlace[i]!))
    return { points: pointsOf(embedded), utilities }
  }
  /** Questions until the best is named five times in turn. */
  const questions = (world: number, slope: number, isRandom: boolean) => {
    const { points, utilities } = worldOf(world)
    const person = simulatedPerson(utilities, slope, world)
    const best = utilities.indexOf(Math.max(...utilities))
    const asked: Comparison[] = []
    let kept = 0
    while (asked.length < most && kept < 5) {
      const drawn = randomGenerator(world, 99, asked.length)
      const place = uniformInt(drawn, 0, 29)
      const [first, second] = isRandom
        ? [place, (place + uniformInt(drawn, 1, 29)) % 30]
        : nextPair(points, asked, { seed: world })
      asked.push(person(first, second, asked.length))
      kept = bestShown(points, asked) === best ? kept + 1 : 0
    }
    return asked.length
  }
  for (const slope of [2, 10]) {
    const mean = (isRandom: boolean) =>
      Array.from({ length: worlds }, (_, i) => questions(i + 1, slope, isRandom)).reduce((a, b) => a + b, 0) / worlds
    const [ours, random] = [mean(false), mean(true)]
    expect(ours / random, `slope ${slope}: ${ours} questions, and ${random} at random`).toBeLessThan(0.5)
  }
})
