import type { Figures } from '../space/objectives.js'
import type { Values } from '../space/space.js'

/** The lines of a sweep's journal, and the trials that they come to. */

export type SweepRecord =
  /** What is swept, by the hash of it: one folder has one sweep. */
  | { readonly type: 'sweep'; readonly plan: string }
  /** How many trials there are to be; the latest counts. */
  | { readonly type: 'trials'; readonly count: number }
  /** Values that somebody wants tried, before others are chosen. */
  | { readonly type: 'add'; readonly values: Values }
  /** A worker has begun a trial. `added`: which of the values that were added these are, counted from 0. */
  | {
      readonly type: 'begun'
      readonly trial: number
      readonly values: Values
      readonly worker: string
      readonly at: string
      readonly added?: number
    }
  /** A worker goes on with a trial: behind a rung, or where another has left it. */
  | { readonly type: 'taken'; readonly trial: number; readonly worker: string }
  /** A worker was stopped, and leaves the trial to others. */
  | { readonly type: 'left'; readonly trial: number }
  /** A trial has come to a rung, and waits there. */
  | { readonly type: 'reached'; readonly trial: number; readonly rung: number; readonly step: number; readonly figures: Figures }
  | {
      readonly type: 'finished'
      readonly trial: number
      readonly figures: Figures
      readonly steps: number
      /** Of work, over all of its runs. */
      readonly seconds: number
    }
  | { readonly type: 'failed'; readonly trial: number; readonly code: string; readonly message: string }

export interface Trial {
  readonly number: number
  readonly values: Values
  /** `waiting`: nobody works on it, and it is to be gone on with. `stopped`: it waits at a rung, and was not among the best there so far. */
  state: 'running' | 'waiting' | 'stopped' | 'finished' | 'failed'
  /** Who works on it. */
  worker: string | undefined
  /** Rungs reached; where it has finished one more than there are. */
  rung: number
  /** Of each rung that it has reached. */
  readonly reached: Figures[]
  /** The latest that are known. */
  figures: Figures
  steps: number
  seconds: number | undefined
  error: { readonly code: string; readonly message: string } | undefined
  readonly began: string
}

/** All that a journal says, grown line by line. */
export class Trials {
  plan: string | undefined
  wanted: number | undefined
  readonly trials: Trial[] = []
  readonly added: Values[] = []
  /** Of the values that were added, how many have been begun. */
  begunAdded = 0
  /** Trials that failed one after the other, up to now. */
  failuresInRow = 0

  /** @returns what is wrong where a line before this one is missing: nothing is changed then */
  hear(record: SweepRecord): string | undefined {
    const { length } = this.trials
    if (record.type === 'begun' && record.trial !== length)
      return `trial ${record.trial} is begun where trial ${length} would be the next`
    if ('trial' in record && record.type !== 'begun' && !(record.trial < length)) return `trial ${record.trial} was never begun`
    if (record.type === 'sweep') this.plan ??= record.plan
    else if (record.type === 'trials') this.wanted = record.count
    else if (record.type === 'add') this.added.push(record.values)
    else if (record.type === 'begun') {
      const { trial, values, worker, at, added } = record
      if (added !== undefined) this.begunAdded = added + 1
      this.trials[trial] = {
        ...{ number: trial, values, state: 'running', worker, rung: 0, reached: [], figures: {}, steps: 0, began: at },
        ...{ seconds: undefined, error: undefined },
      }
    } else this.#change(record)
    return undefined
  }

  #change(record: Exclude<SweepRecord, { type: 'sweep' | 'trials' | 'add' | 'begun' }>): void {
    const trial = this.trials[record.trial]
    if (trial === undefined) return
    trial.worker = record.type === 'taken' ? record.worker : undefined
    if (record.type === 'taken') trial.state = 'running'
    else if (record.type === 'left') trial.state = 'waiting'
    else if (record.type === 'reached') {
      trial.state = 'stopped'
      trial.rung = record.rung + 1
      trial.reached[record.rung] = record.figures
      trial.figures = record.figures
      trial.steps = record.step
    } else if (record.type === 'finished') {
      const { figures, steps, seconds } = record
      Object.assign(trial, { state: 'finished', rung: Number.MAX_SAFE_INTEGER, figures, steps, seconds })
      this.failuresInRow = 0
    } else {
      const { code, message } = record
      Object.assign(trial, { state: 'failed', error: { code, message } })
      this.failuresInRow++
    }
  }
}
