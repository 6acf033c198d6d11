import type { MetricValue } from '../../evaluate/intervals.js'
import type { ObjectivesGiven } from './entries.js'

/** What a sweep is for: a figure of a trial and which way it is better, or two of them. What a trial is is unknown here. */

export interface Objective {
  /** Undefined until the first trial says which figure matters most. */
  readonly metric: string | undefined
  readonly direction: 'maximize' | 'minimize' | undefined
}

const lower = new Set([
  'parameters',
  'virtualTokens',
  'promptTokens',
  'seconds',
  'steps',
  'generatedTokens',
  'computedTokens',
  'calibrationError',
  'perplexity',
  'objective',
])

export function objectivesOf(objective: ObjectivesGiven | undefined): Objective[] {
  if (objective === undefined) return [{ metric: undefined, direction: undefined }]
  return [objective]
    .flat()
    .map(one =>
      typeof one === 'string' ? { metric: one, direction: undefined } : { metric: one.metric, direction: one.direction },
    )
}

/** Figures of a trial by their names. */
export type Figures = Readonly<Record<string, MetricValue>>

/** The name of the figure that an objective is of, where a trial has come to something. */
export const metricOf = ({ metric }: Objective, figures: Figures): string | undefined => metric ?? Object.keys(figures)[0]

/** Whether less of a figure is better. */
export const isLower = ({ direction }: Objective, metric: string): boolean =>
  direction === undefined ? lower.has(metric) : direction === 'minimize'

/** The lower the better; undefined where the figure is absent. */
export function lossOf(objective: Objective, figures: Figures): number | undefined {
  const metric = metricOf(objective, figures)
  const value = metric === undefined ? undefined : figures[metric]?.value
  return value === undefined ? undefined : isLower(objective, metric!) ? value : -value
}

interface Ranked {
  readonly losses: readonly number[] | undefined
  readonly rung: number
}

/**
 * Trials, the best first. What came further goes before what was stopped earlier; of two objectives what none beats comes first (its
 * front by how much room each has beside its neighbours, as in NSGA-II of Deb et al. 2002), then what these alone beat, and so on.
 */
export function bestFirst<Trial extends Ranked>(trials: readonly Trial[]): Trial[] {
  const rungs = [...new Set(trials.map(({ rung }) => rung))].sort((a, b) => b - a)
  return rungs.flatMap(rung => {
    let rest = trials.filter(trial => trial.rung === rung)
    const isSingle = rest.every(({ losses }) => (losses?.length ?? 0) < 2)
    if (isSingle)
      return rest
        .map((trial, i) => ({ trial, i }))
        .sort((a, b) => order(a.trial) - order(b.trial) || a.i - b.i)
        .map(({ trial }) => trial)
    const ordered: Trial[] = []
    while (rest.length > 0) {
      const front = frontOf(rest)
      ordered.push(...byRoom(front))
      rest = rest.filter(trial => !front.includes(trial))
    }
    return ordered
  })
}

const order = ({ losses }: Ranked): number => {
  const [loss = Number.MAX_VALUE] = losses ?? []
  return Number.isFinite(loss) ? loss : Number.MAX_VALUE
}

/** The trials that no other beats: is as good in everything, and better in something. */
export const frontOf = <Trial extends Ranked>(trials: readonly Trial[]): Trial[] =>
  trials.filter(({ losses = [] }) => !trials.some(other => beats(other.losses ?? [], losses)))

const beats = (a: readonly number[], b: readonly number[]): boolean =>
  a.length > 0 && a.every((loss, i) => loss <= b[i]!) && a.some((loss, i) => loss < b[i]!)

function byRoom<Trial extends Ranked>(front: readonly Trial[]): Trial[] {
  const room = new Map<Trial, number>(front.map(trial => [trial, 0]))
  const dimensions = front[0]?.losses?.length ?? 0
  for (let d = 0; d < dimensions; d++) {
    const sorted = [...front].sort((a, b) => a.losses![d]! - b.losses![d]!)
    const range = sorted.at(-1)!.losses![d]! - sorted[0]!.losses![d]! || 1
    sorted.forEach((trial, i) => {
      const [before, after] = [sorted[i - 1], sorted[i + 1]]
      const own = before && after ? (after.losses![d]! - before.losses![d]!) / range : Number.POSITIVE_INFINITY
      room.set(trial, room.get(trial)! + own)
    })
  }
  return [...front].sort((a, b) => room.get(b)! - room.get(a)!)
}
