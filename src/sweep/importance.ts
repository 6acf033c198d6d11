import { type Parameter, placeOf, type Values } from './space/space.js'

/** Which options matter: what each explains, by itself, of how trials differ. */

const mostGroups = 4

/**
 * The share of the variance of the loss that lies between the groups of trials that have like values of an option (numbers fall in up to
 * four groups of equal size), less what chance would put there: epsilon squared (Kelley 1935), at least 0. Options that matter only
 * together show as little, and where values were not drawn evenly (tpe) one option may stand for another.
 */
export function importanceOf(
  space: readonly Parameter[],
  trials: readonly { readonly values: Values; readonly loss: number }[],
): { name: string; share: number; trials: number }[] {
  return space
    .map(parameter => {
      const own = trials.flatMap(({ values, loss }) => {
        const place = Object.hasOwn(values, parameter.name) ? placeOf(parameter, values[parameter.name]) : undefined
        return place === undefined ? [] : [{ place, loss }]
      })
      return { name: parameter.name, share: explained(grouped(parameter, own)), trials: own.length }
    })
    .sort((a, b) => b.share - a.share)
}

function grouped({ domain }: Parameter, trials: readonly { readonly place: number; readonly loss: number }[]): number[][] {
  const groups = new Map<number, number[]>()
  const put = (key: number, loss: number): void => {
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [loss])
    else group.push(loss)
  }
  const distinct = new Set(trials.map(({ place }) => place))
  if (domain.kind === 'list' || distinct.size <= mostGroups) for (const { place, loss } of trials) put(place, loss)
  else {
    const sorted = [...trials].sort((a, b) => a.place - b.place)
    const count = Math.min(mostGroups, Math.floor(sorted.length / 2))
    for (const [i, { loss }] of sorted.entries()) put(Math.floor((i * count) / sorted.length), loss)
  }
  return [...groups.values()]
}

function explained(groups: readonly (readonly number[])[]): number {
  const all = groups.flat()
  const rest = all.length - groups.length
  if (groups.length < 2 || rest < 1) return 0
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const spread = (values: readonly number[]) => {
    const centre = mean(values)
    return values.reduce((sum, value) => sum + (value - centre) ** 2, 0)
  }
  const total = spread(all)
  if (!(total > 0)) return 0
  const within = groups.reduce((sum, group) => sum + spread(group), 0)
  return Math.max(0, (total - within - (groups.length - 1) * (within / rest)) / total)
}
