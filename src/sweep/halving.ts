import type { SweepOptions } from './config.js'

/**
 * Which trials go on. Successive halving (Jamieson and Talwalkar 2016): all trials come to the first rung, the best of them to the next,
 * and so on; a trial that is not among them waits, and nothing of it is lost. Workers do not wait for each other: while trials still run
 * towards a rung, of those that are there the best go on (ASHA, Li et al. 2020). Hyperband (Li et al. 2018): several halvings, each of
 * which begins a rung later than the one before; a trial belongs to one of them.
 */

export interface Stage {
  /** Trials of this halving alone are compared. */
  readonly bracket: number
  /** Steps of each rung, rising; behind the last a trial goes on to its end. */
  readonly rungs: readonly number[]
}

export type Stop = NonNullable<SweepOptions['stop']>

/** @param steps of a whole run */
export function stageOf(stop: Stop | undefined, trial: number, steps: number): Stage {
  if (stop === undefined) return { bracket: 0, rungs: [] }
  const { min, factor } = stop
  const rungs: number[] = []
  for (let step = min; step < steps; step *= factor) rungs.push(step)
  if (stop.type === 'halving' || rungs.length === 0) return { bracket: 0, rungs }
  // As much work goes into each: the earlier a halving begins, the more trials it has.
  const shares = Array.from({ length: rungs.length + 1 }, (_, bracket) =>
    Math.ceil(((rungs.length + 1) * factor ** (rungs.length - bracket)) / (rungs.length + 1 - bracket)),
  )
  let place = trial % shares.reduce((sum, share) => sum + share, 0)
  const bracket = shares.findIndex(share => {
    place -= share
    return place < 0
  })
  return { bracket, rungs: rungs.slice(bracket) }
}

/** A trial as a halving sees it. */
export interface Runner {
  readonly number: number
  readonly bracket: number
  readonly state: 'running' | 'waiting' | 'stopped' | 'finished' | 'failed'
  /** Rungs reached. */
  readonly rung: number
  /** What it came to at each; the lower the better. */
  readonly losses: readonly number[]
}

/**
 * The stopped trial that goes on next: the best of the lowest rung where one may, so that a rung has all its trials before one leaves it
 * for the last. Undefined where none may.
 */
export function promoted(trials: readonly Runner[], factor: number): Runner | undefined {
  const waiting = trials.filter(({ state }) => state === 'stopped')
  const byRung = [...waiting].sort((a, b) => a.rung - b.rung || a.losses.at(-1)! - b.losses.at(-1)! || a.number - b.number)
  return byRung.find(trial => {
    const rung = trial.rung - 1
    const own = trials.filter(({ bracket }) => bracket === trial.bracket)
    const there = own.filter(({ losses }) => losses[rung] !== undefined)
    // One goes on of however few, when no more are to come.
    const isWhole = !own.some(
      other => (other.state === 'running' || other.state === 'waiting') && other.losses[rung] === undefined,
    )
    const places = Math.floor(there.length / factor) || (isWhole ? 1 : 0)
    const better = there.filter(
      other =>
        other.losses[rung]! < trial.losses[rung]! || (other.losses[rung] === trial.losses[rung] && other.number < trial.number),
    )
    // Those that went on while fewer were there have taken their places.
    const gone = there.filter(other => other.rung > trial.rung || other.state !== 'stopped')
    return better.length < places && gone.length < places
  })
}
