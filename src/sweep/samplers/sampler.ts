import type { Parameter, Values } from '../space/space.js'

/** A way of choosing the values of the next trial: one file each, and a line in `index.ts`. */

/** What a trial that has been begun came to so far. */
export interface Seen {
  readonly values: Values
  /** The lower the better, one number for each objective; undefined while it runs; infinite where it failed. */
  readonly losses: readonly number[] | undefined
  /** How far it came, where trials are stopped early: those that came further say more. */
  readonly rung: number
}

export interface Choice {
  readonly space: readonly Parameter[]
  readonly seen: readonly Seen[]
  /** Of the trial, counted from 0: with the seed it decides what is drawn. */
  readonly trial: number
  readonly seed: number
  /** The value of an option that does not vary. */
  readonly fixed: (name: string) => unknown
  /** Whether a trial may have these values. */
  readonly allowed: (values: Values) => boolean
  /** Whether a trial has these values already: the same run comes to the same again. */
  readonly tried: (values: Values) => boolean
}

export interface Sampler {
  /** In a few words, for the list of options. */
  readonly description: string
  /** @returns undefined where there are no more values */
  choose(choice: Choice): Values | undefined
}
