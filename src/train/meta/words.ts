import type { MetaOptions } from './options.js'

/** What is told of a run's steps where a start is learned. */

interface Batches {
  readonly batchSize: number
  readonly accumulate: number
  readonly meta?: MetaOptions | undefined
}

/** Training rows that a step computes: with `train.meta` those of all inner steps, where tasks have as many. */
export const stepRows = ({ batchSize, accumulate, meta }: Batches): number =>
  meta === undefined
    ? batchSize * accumulate
    : batchSize * meta.tasksPerStep * (meta.inner.steps + (meta.update === 'maml' ? 1 : 0))

export const metaWords = ({ tasks, update, tasksPerStep, inner, filter }: MetaOptions): string =>
  `${update} over the tasks of ${tasks}, ${tasksPerStep} a step; inner steps: ${inner.steps} of ${inner.optimizer}, learning rate ${inner.learningRate}; filter: ${filter}`
