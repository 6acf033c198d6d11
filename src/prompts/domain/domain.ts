import { GradpromptError } from '../../errors.js'
import { dot, squaredDistance } from '../../numbers.js'
import { shuffle, streams } from '../../random.js'
import { principalDirections, projected } from './directions.js'
import { fitMixture, openMixture } from './mixture.js'
import type { DomainOptions } from './options.js'
import { moved } from './particles.js'

/**
 * A task's domain as particles (BayesPrompt, Li et al. 2024, arXiv 2401.14166, section 3, on a frozen model): the mean token embedding of
 * every input is a point; a mixture of Gaussians is fitted to the points, and those of the training rows are moved towards it by Stein
 * variational gradient descent. Points are looked at along their directions of most variance, in which the mean variance is 1; what is
 * beside these directions each particle keeps.
 */

/** Name of the tensor with the particles that a prompt is kept with, [particles, hiddenSize]. */
export const domainParameter = 'domain'

/** What is kept of a domain: [count, width], one particle a row. */
export interface Particles {
  readonly data: Float32Array
  readonly count: number
}

/**
 * @param inputs mean embeddings of the training rows' inputs, [width] each
 * @param further of inputs without labels
 * @param classes label words, which decide how many Gaussians there are where the options do not
 * @throws GradpromptError `no-inputs`
 */
export function domainParticles(
  inputs: readonly Float32Array[],
  further: readonly Float32Array[],
  { particles, components, covariance, dimensions, ridge, iterations, stepSize }: DomainOptions,
  { seed, classes }: { readonly seed: number; readonly classes: number },
): Particles {
  const width = inputs[0]?.length
  if (width === undefined)
    throw new GradpromptError('no-inputs', 'there are no inputs from which to estimate what they are like', {
      found: 'no training row with a token in a column of text',
      expected: 'a template with a column of text beside the label',
    })
  const chosen = shuffle([...inputs.keys()], seed, streams.domain, 1)
    .slice(0, particles)
    .sort((a, b) => a - b)
    .map(i => inputs[i]!)
  const all = [...inputs, ...further]
  const directions = principalDirections(all, dimensions)
  const size = directions.axes.length
  // A single input, or inputs that are all alike, have no direction in which to move.
  if (size === 0 || iterations === 0) return rowsOf(chosen)
  const points = all.map(input => projected(directions, input))
  const scale = Math.sqrt(points.reduce((sum, point) => sum + dot(point, point), 0) / (points.length * size))
  const unit = (point: Float64Array) => point.map(x => x / scale)
  const count = Math.min(components ?? Math.max(2, classes), points.length)
  const mixture = openMixture(fitMixture(points.map(unit), { count, covariance, ridge, seed }))
  const start = chosen.map(input => unit(projected(directions, input)))
  const end = moved(start, point => mixture.score(point), { iterations, stepSize })
  const results = chosen.map((input, i) => {
    const result = Float64Array.from(input)
    for (const [k, axis] of directions.axes.entries()) {
      const way = scale * (end[i]![k]! - start[i]![k]!)
      for (let d = 0; d < result.length; d++) result[d]! += way * axis[d]!
    }
    return result
  })
  return rowsOf(results)
}

function rowsOf(rows: readonly ArrayLike<number>[]): Particles {
  const width = rows[0]!.length
  const data = new Float32Array(rows.length * width)
  for (const [i, row] of rows.entries()) data.set(Float32Array.from(row), i * width)
  return { data, count: rows.length }
}

/** One particle after the other. */
export const particleRows = ({ data, count }: Particles): Float32Array[] =>
  Array.from({ length: count }, (_, i) => data.subarray((i * data.length) / count, ((i + 1) * data.length) / count))

/** The mean particle, [width]. */
export function meanParticle(particles: Particles): Float64Array {
  const rows = particleRows(particles)
  return Float64Array.from(rows[0]!, (_, d) => rows.reduce((sum, row) => sum + row[d]! / rows.length, 0))
}

/**
 * Particles that are far from each other: first the one nearest to their mean, then always the one whose nearest chosen one is farthest.
 * Beyond their number they come again in this order.
 * @returns places, `count` of them
 */
export function farthestPoints(particles: Particles, count: number): number[] {
  const rows = particleRows(particles)
  const middle = meanParticle(particles)
  const least = (values: readonly number[]) => values.indexOf(Math.min(...values))
  const order = [least(rows.map(row => squaredDistance(row, middle)))]
  const nearest = rows.map(row => squaredDistance(row, rows[order[0]!]!))
  while (order.length < Math.min(count, rows.length)) {
    // What is chosen is at no distance; of particles that lie on each other each is taken once.
    for (const place of order) nearest[place] = -1
    const next = nearest.indexOf(Math.max(...nearest))
    order.push(next)
    for (const [i, row] of rows.entries()) nearest[i] = Math.min(nearest[i]!, squaredDistance(row, rows[next]!))
  }
  return Array.from({ length: count }, (_, i) => order[i % order.length]!)
}
