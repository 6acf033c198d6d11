import type { NamedTensor } from '../store/checkpoints.js'

export interface GaussianWeights {
  /** Where in the run the weights are largest, as a share of its steps. */
  readonly mean: number
  /** As a share of the steps. */
  readonly deviation: number
}

/** What a checkpoint holds of an average beside its tensors. */
export interface AverageState {
  /** Logarithm of the sum of all weights so far: far from the mean they are smaller than any number. */
  readonly logWeight: number
  /** The steps of the run for which the weights were made. */
  readonly steps: number
}

/**
 * The mean of the parameters over the steps of a run, weighted by a Gaussian over the steps (Khattak et al. 2023, PromptSRC, arXiv
 * 2307.06948): early prompts know nothing yet, the last ones fit the training rows too well. With it, this mean is the prompt.
 */
export interface Average {
  /** The mean so far; of the first step, its parameters. */
  readonly parameters: ReadonlyMap<string, Float32Array>
  /** Takes the parameters behind a step, counted from 1, into the mean. */
  add(step: number, parameters: ReadonlyMap<string, Float32Array>): void
  state(): AverageState
  /** Goes on from `state()`. An average that was made for another number of steps begins anew: its weights mean something else. */
  restore(state: AverageState, tensors: readonly NamedTensor[]): void
}

export function createAverage(
  start: ReadonlyMap<string, Float32Array>,
  { mean, deviation }: GaussianWeights,
  steps: number,
): Average {
  const parameters = new Map([...start].map(([name, values]) => [name, values.slice()]))
  let logWeight = Number.NEGATIVE_INFINITY
  return {
    parameters,
    add(step, current) {
      const own = -0.5 * ((step / steps - mean) / deviation) ** 2
      const highest = Math.max(own, logWeight)
      logWeight = highest + Math.log(Math.exp(own - highest) + Math.exp(logWeight - highest))
      const share = Math.exp(own - logWeight)
      for (const [name, average] of parameters) {
        const values = current.get(name)!
        for (let i = 0; i < average.length; i++) average[i]! += share * (values[i]! - average[i]!)
      }
    },
    state: () => ({ logWeight, steps }),
    restore(state, tensors) {
      if (state.steps !== steps) return
      logWeight = state.logWeight
      for (const { name, data } of tensors) parameters.get(name)!.set(data)
    },
  }
}
