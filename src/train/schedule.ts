import { batchesPerEpoch } from '../data/batches.js'
import type { Config } from './config.js'
export interface Schedule {
  readonly schedule: 'linear' | 'cosine' | 'constant'
  /** Below 1 a fraction of `steps`, otherwise a number of steps. */
  readonly warmup: number
  /** All steps of the run; of a run resumed with more steps, the new total. */
  readonly steps: number
}

/**
 * The factor of the learning rate at a step, counted from 0.
 *
 * The rate rises linearly over the warm-up, reaches 1 at its last step, and then falls to 0 (which the step after the last
 * one would have) along a line or half a cosine, or stays. `linear` and `cosine` warm up for one step at least, `constant`
 * only when `warmup` is above 0.
 */
export function scheduleFactor({ schedule, warmup, steps }: Schedule, step: number): number {
  if (schedule === 'constant' && warmup <= 0) return 1
  const warmupSteps = Math.max(1, Math.trunc(warmup < 1 ? warmup * steps : warmup))
  if (step < warmupSteps) return (step + 1) / warmupSteps
  if (schedule === 'constant') return 1
  if (step >= steps) return 0
  const remaining = (steps - step) / (steps - warmupSteps)
  return schedule === 'linear' ? remaining : 0.5 * (1 - Math.cos(Math.PI * remaining))
}

/** Optimiser steps of a run: an epoch's last, partial batch is left for another epoch's shuffle. */
export function totalSteps({ steps, epochs = 1, batchSize, accumulate }: Config['train'], rows: number): number {
  return steps ?? Math.max(1, Math.ceil((epochs * batchesPerEpoch(rows, batchSize)) / accumulate))
}
