/** A place outside a run's folder, or a format beside it, in which the figures of a run are followed: one file each, and a line in `index.ts`. */

/** What a tracker is told of a run. */
export interface TrackedRun {
  /** Of the run. */
  readonly folder: string
  /** The folder's own name. */
  readonly name: string
  /** Resolved, every default filled in. */
  readonly config: Readonly<Record<string, unknown>>
  /** Steps that are done: more than 0 where a run goes on. What was told of later steps is told again. */
  readonly step: number
}

/** A figure of a step: `train/loss`, `dev/accuracy`, `result/accuracy`. */
export interface Scalar {
  readonly name: string
  readonly step: number
  readonly value: number
}

export interface Tracking {
  /** In the order of the steps; the next are told when these are done with. */
  scalars(scalars: readonly Scalar[]): void | Promise<void>
  /** @param outcome `finished`; `stopped`, where the run can go on; `failed` */
  close(outcome: 'finished' | 'stopped' | 'failed'): void | Promise<void>
}

export interface Tracker {
  readonly name: string
  /** In a few words, for the list of options. */
  readonly description: string
  /** What it throws, here or later, is a warning of the run and ends the tracking, never the run. */
  open(run: TrackedRun): Tracking | Promise<Tracking>
}
