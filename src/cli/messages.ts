import type { NearestTokens } from '../evaluate/nearest-tokens.js'
import type { Evaluation, Metrics } from '../evaluate/score.js'
import type { Device } from '../program/session.js'
import type { GradpromptEvent, RunResult } from '../train/events.js'
import type { ErrorMessage } from './failure.js'

/** What the computing process can be asked for: each task's request and result. */
export interface Tasks {
  tune: { request: ConfigRequest; result: RunResult }
  resume: { request: { folder: string; steps?: number | undefined }; result: RunResult }
  evaluate: { request: EvaluateRequest; result: EvaluateResult }
  export: { request: { folder: string; to: string; out: string; model?: string | undefined }; result: ExportResult }
  /** What the vectors of a run's or a file's prompt read as. */
  nearest: { request: { prompt: string; model: string }; result: NearestTokens[] }
  report: { request: { folder: string }; result: { path: string } }
  /** A trial of a device with a small program. */
  device: { request: { device: Device }; result: { seconds: number } }
}

export type TaskName = keyof Tasks

export interface ConfigRequest {
  readonly configFile?: string | undefined
  readonly flags: Readonly<Record<string, string | boolean>>
}

export interface EvaluateRequest {
  readonly configFile?: string | undefined
  /** A run folder or a prompt file. */
  readonly prompt?: string | undefined
  readonly model?: string | undefined
  readonly data?: string | undefined
  readonly template?: string | undefined
  readonly answer?: string | undefined
  readonly columns?: readonly string[] | undefined
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly instruction?: string | undefined
  readonly limit?: number | undefined
  readonly seed?: number | undefined
  readonly batchSize?: number | undefined
  readonly device?: Device | undefined
  readonly threads?: number | undefined
  /** GB. */
  readonly memory?: number | undefined
  readonly control: boolean
}

export interface EvaluateResult extends Evaluation {
  readonly model: string
  readonly data: string
  readonly seconds: number
  readonly rowsPerSecond: number
  /** The base model on the same rows. */
  readonly control?: { readonly metrics: Metrics; readonly instruction: string | null }
}

export interface ExportResult {
  readonly folder: string
  readonly files: readonly string[]
}

/** To the computing process. */
export type ToWorker = { readonly task: TaskName; readonly request: unknown } | { readonly abort: true }

/** What it sends: events, as many as there are, then a result or an error. */
export type FromWorker =
  | { readonly event: GradpromptEvent }
  | { readonly progress: Progress }
  | { readonly result: unknown }
  | { readonly error: ErrorMessage }

export interface Progress {
  readonly what: string
  readonly done: number
  readonly total: number
}
