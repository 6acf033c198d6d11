import { GradpromptError } from '../../errors.js'
import { shuffle, streams } from '../../random.js'
import { endsOf, isActive, type Parameter, type Values, valueAt, valueText } from '../space/space.js'
import type { Choice, Sampler } from './sampler.js'

/** The most points that a grid may have: more are no grid that anybody waits for. */
const most = 100_000

/** Every combination once, in an order drawn by seed, so that a grid that is stopped early has seen all of it, thinly. */
export const grid: Sampler = {
  description: 'every combination once',
  choose(choice) {
    return gridOf(choice)[choice.trial]
  },
}

let known: { readonly key: readonly unknown[]; readonly points: readonly Values[] } | undefined

/**
 * All points that the constraints allow.
 * @throws GradpromptError `invalid-config` where a range has no points, `grid-too-large`
 */
export function gridOf({ space, fixed, allowed, seed }: Pick<Choice, 'space' | 'fixed' | 'allowed' | 'seed'>): readonly Values[] {
  const key = [space, fixed, allowed, seed]
  if (known?.key.every((part, i) => part === key[i])) return known.points
  let points: Values[] = [{}]
  for (const parameter of space) {
    const values = pointsOf(parameter)
    points = points.flatMap(point =>
      isActive(parameter, point, fixed) ? values.map(value => ({ ...point, [parameter.name]: value })) : [point],
    )
    if (points.length > most)
      throw new GradpromptError('grid-too-large', `a grid over these options has more than ${most} points`, {
        found: space.map(parameter => `${parameter.name}: ${pointsOf(parameter).length}`).join(', '),
        expected: `at most ${most} in all`,
        hint: 'sweep.strategy: random or tpe tries some of them; sweep.trials says how many',
      })
  }
  points = shuffle(points.filter(allowed), seed, streams.sweep)
  known = { key, points }
  return points
}

function pointsOf({ name, domain }: Parameter): readonly unknown[] {
  if (domain.kind === 'list') return domain.values
  const { points, step } = domain
  const [low, high] = endsOf(domain)
  if (points !== undefined) {
    const places = Array.from({ length: points }, (_, i) => valueAt(domain, low + ((high - low) * i) / (points - 1)))
    return [...new Set(places)]
  }
  if (step !== undefined && domain.normal === undefined && !domain.log) {
    const count = Math.floor((high - low) / step + 1e-9) + 1
    if (count > most) throw tooFine(name, `${count} values`)
    return Array.from({ length: count }, (_, i) => valueAt(domain, low + i * step))
  }
  throw tooFine(name, `${valueText(domain.min)} to ${valueText(domain.max)}`)
}

const tooFine = (name: string, found: string) =>
  new GradpromptError('invalid-config', `a grid cannot go through all of sweep.over.${name}`, {
    found,
    expected: 'points (how many values), a step, or a list',
    hint: 'sweep.strategy: random or tpe takes ranges as they are',
  })
