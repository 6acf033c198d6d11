import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { principalDirections } from '../../src/prompts/domain/directions.js'
import { domainParticles, farthestPoints, particleRows } from '../../src/prompts/domain/domain.js'
import { type Covariance, fitMixture, type Mixture, openMixture } from '../../src/prompts/domain/mixture.js'
import { domainSchema } from '../../src/prompts/domain/options.js'
import { bandwidthOf, interaction, moved } from '../../src/prompts/domain/particles.js'
import { random } from '../support/numbers.js'
import { problem } from '../support/problem.js'

/** The estimate of a task's domain, held against scikit-learn, torch and numpy, and by hand. */

interface Fitted {
  readonly weights: number[]
  readonly means: number[]
  readonly covariances: number[]
  readonly scores: number[]
  readonly moved: number[]
}
const fixture = JSON.parse(readFileSync(new URL('../fixtures/prompts/domain.json', import.meta.url), 'utf8')) as {
  points: number[]
  queries: number[]
  start: number[]
  ridge: number
  axes: number[]
  lengths: number[]
} & Record<Covariance, Fitted>
const rowsOf = (flat: readonly number[], width: number) =>
  Array.from({ length: flat.length / width }, (_, i) => Float64Array.from(flat.slice(i * width, (i + 1) * width)))
const points = rowsOf(fixture.points, 4)

function expectNear(found: Iterable<number>, expected: readonly number[], within: number) {
  const values = [...found]
  expect(values).toHaveLength(expected.length)
  for (const [i, x] of values.entries())
    expect(Math.abs(x - expected[i]!) / Math.max(1, Math.abs(expected[i]!))).toBeLessThan(within)
}

describe.each(['full', 'diagonal'] as const)('a mixture with %s covariances', covariance => {
  const identity =
    covariance === 'full' ? Float64Array.from({ length: 16 }, (_, at) => Number(at % 5 === 0)) : new Float64Array(4).fill(1)
  const start: Mixture = {
    covariance,
    components: rowsOf(fixture.start, 4).map(mean => ({ weight: 1 / 3, mean, covariance: identity })),
  }
  const mixture = fitMixture(points, { count: 3, covariance, ridge: fixture.ridge, seed: 1, start })
  const expected = fixture[covariance]

  test("is scikit-learn's", () => {
    expectNear(mixture.components.map(({ weight }) => weight), expected.weights, 1e-7) // biome-ignore format: a call
    expectNear(mixture.components.flatMap(({ mean }) => [...mean]), expected.means, 1e-7) // biome-ignore format: a call
    expectNear(mixture.components.flatMap(one => [...one.covariance]), expected.covariances, 1e-7) // biome-ignore format: a call
  })

  test("has torch's scores, far out as well, and so have the particles that they move", () => {
    const { score } = openMixture(mixture)
    expectNear(rowsOf(fixture.queries, 4).flatMap(point => [...score(point)]), expected.scores, 1e-6) // biome-ignore format: a call
    const particles = points.filter((_, i) => i % 5 === 0)
    expectNear(
      moved(particles, score, { iterations: 50, stepSize: 0.01 }).flatMap(point => [...point]),
      expected.moved,
      1e-5,
    )
  })

  test('drawn by seed finds groups that lie apart, and the same ones again', () => {
    const apart = [[0, 0], [10, 0], [0, 10]].flatMap((centre, k) =>
      Array.from({ length: 4 * (k + 1) }, (_, i) => random(10 * k + i + 1, [2], 1).data).map(noise => Float64Array.from(noise, (x, d) => x + centre[d]!)),
    ) // biome-ignore format: centres
    const own = fitMixture(apart, { count: 3, covariance, ridge: 0.1, seed: 4 })
    expect(fitMixture(apart, { count: 3, covariance, ridge: 0.1, seed: 4 })).toEqual(own)
    const weights = own.components.map(({ weight }) => weight).sort((a, b) => a - b)
    for (const [i, count] of [4, 8, 12].entries()) expect(weights[i]).toBeCloseTo(count / 24, 6)
  })

  test('of one Gaussian has the score -S^-1 (t - mu)', () => {
    const spread = covariance === 'full' ? Float64Array.of(2, 1, 1, 2) : Float64Array.of(2, 4)
    const { score } = openMixture({ covariance, components: [{ weight: 1, mean: Float64Array.of(1, 1), covariance: spread }] })
    expectNear(score(Float64Array.of(4, 1)), covariance === 'full' ? [-2, 1] : [-1.5, -0], 1e-12)
  })

  test('of points that are all alike, or fewer than Gaussians, stays finite', () => {
    const alike = Array.from({ length: 3 }, () => Float64Array.of(1, 2))
    const own = openMixture(fitMixture(alike, { count: 2, covariance, ridge: 0.1, seed: 1 }))
    expect([...own.score(Float64Array.of(500, -500))].every(Number.isFinite)).toBe(true)
  })
})

describe('Stein variational gradient descent', () => {
  const normal = (point: Float64Array) => point.map(x => -x)

  test('of two particles under a normal distribution is what the formulas come to', () => {
    const pair = [Float64Array.of(0), Float64Array.of(2)]
    const { phi, bandwidth, kernel } = interaction(pair, normal)
    expect(bandwidth).toBeCloseTo(1.8205, 4)
    expect(kernel[0]![1]).toBeCloseTo(1 / 3, 12)
    expect(phi[0]![0]).toBeCloseTo(-0.5164, 4)
    expect(phi[1]![0]).toBeCloseTo(-0.8169, 4)
  })

  test('of two particles, of one, and of such as lie on each other has no number that is none', () => {
    for (const start of [[[0], [2]], [[3]], [[1], [1]], [[1], [1], [5]]]) {
      const end = moved(start.map(point => Float64Array.from(point)), normal, { iterations: 300, stepSize: 0.01 }) // biome-ignore format: a call
      expect(end.flatMap(point => [...point]).every(Number.isFinite)).toBe(true)
    }
    expect(bandwidthOf([Float64Array.of(1), Float64Array.of(1)])).toBe(1)
  })

  test('brings particles from far off to the distribution, spread as that is', () => {
    const start = Array.from({ length: 30 }, (_, i) => Float64Array.of(4 + i / 30))
    const end = moved(start, normal, { iterations: 1000, stepSize: 0.05 }).map(point => point[0]!)
    const mean = end.reduce((sum, x) => sum + x / 30, 0)
    expect(Math.abs(mean)).toBeLessThan(0.1)
    expect(Math.sqrt(end.reduce((sum, x) => sum + (x - mean) ** 2 / 30, 0))).toBeCloseTo(1, 0)
    expect(start[0]![0]).toBe(4)
  })
})

describe('directions', () => {
  test("are numpy's", () => {
    const { axes } = principalDirections(points, 2)
    for (const [k, axis] of rowsOf(fixture.axes, 4).entries()) {
      const along = axis.reduce((sum, x, d) => sum + x * axes[k]![d]!, 0)
      expect(Math.abs(along)).toBeCloseTo(1, 6)
    }
  })

  test('are no more than points have', () => {
    expect(principalDirections([[1, 2, 3], [2, 2, 3], [1, 2, 3]], 3).axes).toHaveLength(1) // biome-ignore format: a call
    expect(principalDirections([[1, 2, 3]], 3).axes).toHaveLength(0)
  })
})

describe('a domain', () => {
  const inputs = Array.from({ length: 12 }, (_, i) => random(i + 1, [8], 1).data.map(x => x + (i % 2) * 3))
  const options = domainSchema.parse({ dimensions: 3, iterations: 200 })
  const of = (given: object, further: Float32Array[] = []) =>
    domainParticles(inputs, further, { ...options, ...given }, { seed: 5, classes: 2 })

  test('is moved along its directions alone, by seed, and by inputs without labels as well', () => {
    const domain = of({})
    expect(domain.count).toBe(12)
    expect(of({})).toEqual(domain)
    expect(of({ iterations: 0 }).data).toEqual(Float32Array.from(inputs.flatMap(row => [...row])))
    const { axes } = principalDirections(inputs, 3)
    for (const [i, row] of particleRows(domain).entries()) {
      const way = row.map((x, d) => x - inputs[i]![d]!)
      const left = way.map(
        (x, d) => x - axes.reduce((sum, axis) => sum + axis[d]! * axis.reduce((along, y, e) => along + y * way[e]!, 0), 0),
      )
      expect(Math.hypot(...way)).toBeGreaterThan(0.01)
      expect(Math.hypot(...left)).toBeLessThan(1e-5)
    }
    expect(of({}, [random(77, [8], 4).data]).data).not.toEqual(domain.data)
    expect(of({ particles: 5 }).count).toBe(5)
  })

  test('gives rows that are far from each other, and all of them again where more are wanted', () => {
    const places = { data: Float32Array.of(0, 0, 10, 0, 0.1, 0, 0, 9, 5, 4), count: 5 }
    // The nearest to the mean (3, 2.6) is (5, 4); then the farthest of what is left.
    expect(farthestPoints(places, 3)).toEqual([4, 3, 0])
    expect(farthestPoints(places, 4)[0]).toBe(4)
    expect(new Set(farthestPoints(places, 5)).size).toBe(5)
    expect(farthestPoints(places, 4)).not.toContain(2)
    expect(farthestPoints(places, 7)).toEqual([...farthestPoints(places, 5), ...farthestPoints(places, 5).slice(0, 2)])
    const alike = { data: new Float32Array(6), count: 3 }
    expect(new Set(farthestPoints(alike, 3)).size).toBe(3)
  })

  test('of no inputs is refused; one input stays where it is', () => {
    expect(problem(() => domainParticles([], [], options, { seed: 1, classes: 2 }))).toMatchObject({ code: 'no-inputs' })
    expect(domainParticles([inputs[0]!], [], options, { seed: 1, classes: 2 })).toEqual({ data: inputs[0], count: 1 })
  })
})
