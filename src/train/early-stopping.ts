/** Metrics of which less is better; of all others, more is. */
const lowerIsBetter: ReadonlySet<string> = new Set(['loss', 'perplexity', 'calibrationError'])

export const metricMode = (metric: string): 'min' | 'max' => (lowerIsBetter.has(metric) ? 'min' : 'max')

export interface EarlyStoppingOptions {
  /** Its name decides the direction, see `metricMode`. */
  readonly metric: string
  /** Evaluations without a gain before it stops; without it only the best is tracked. */
  readonly patience?: number | undefined
  /** A gain smaller than this does not renew the patience (yet may be the best). Default 0. */
  readonly minDelta?: number | undefined
}

/** Plain JSON, for checkpoints. `bestStep` is null before the first evaluation. */
export interface EarlyStoppingState {
  readonly best: number | null
  readonly bestStep: number | null
  /** The value that must be beaten by `minDelta`. */
  readonly reference: number | null
  /** Evaluations since it was. */
  readonly waited: number
}

export interface EarlyStopping {
  readonly state: EarlyStoppingState
  /** `improved`: the best value so far (the earlier of equals stays). `stop`: the patience is used up. NaN never improves. */
  update(step: number, value: number): { improved: boolean; stop: boolean }
}

export function createEarlyStopping(options: EarlyStoppingOptions, from?: EarlyStoppingState): EarlyStopping {
  const { metric, patience = Number.POSITIVE_INFINITY, minDelta = 0 } = options
  const sign = metricMode(metric) === 'max' ? 1 : -1
  const gain = (value: number, over: number | null): number =>
    Number.isNaN(value) ? Number.NEGATIVE_INFINITY : over === null ? Number.POSITIVE_INFINITY : sign * (value - over)

  let state: EarlyStoppingState = from ?? { best: null, bestStep: null, reference: null, waited: 0 }
  return {
    get state() {
      return state
    },
    update(step, value) {
      const improved = gain(value, state.best) > 0
      const renewed = gain(value, state.reference) > minDelta
      state = {
        ...(improved ? { best: value, bestStep: step } : { best: state.best, bestStep: state.bestStep }),
        ...(renewed ? { reference: value, waited: 0 } : { reference: state.reference, waited: state.waited + 1 }),
      }
      return { improved, stop: state.waited >= patience }
    },
  }
}
