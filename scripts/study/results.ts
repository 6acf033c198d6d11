import type { MetricValue } from '../../src/evaluate/intervals.js'

/** A finished run of the study: a line of `results/soft-prompts.jsonl`. */
export interface StudyRun {
  readonly task: string
  /** A method's type, `zero-shot` or `few-shot`. */
  readonly method: string
  readonly seed: number
  readonly steps: number
  /** The method's options and its highest learning rate, as they were: none for the controls. */
  readonly settings?: {
    readonly learningRate: number
    readonly method: Readonly<Record<string, unknown>>
    /** Where one was learned. */
    readonly answerEnd?: string
  }
  /** The metrics of the kept checkpoint on dev rows. */
  readonly dev?: Readonly<Record<string, number>>
  readonly bestStep?: number | null
  readonly test: Readonly<Record<string, MetricValue>>
  /** For each test row, whether it was right (1) or not (0). */
  readonly right: string
  readonly parameters?: number
  /** Processor time of a step, all threads together: the median. */
  readonly processorSecondsPerStep?: number
  /** The most that the process has held, mapped files included. */
  readonly peakMemoryBytes: number
  /** Wall time of everything, other work beside it included. */
  readonly seconds: number
}
