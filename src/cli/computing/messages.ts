import type { PreferOptions, PreferStanding } from '../../api/choosing/prefer.js'
import type { Compared } from '../../api/compare.js'
import type { CompressedText, CompressOptions } from '../../api/compress.js'
import type { ExportOptions as PromptExportOptions } from '../../api/export.js'
import type { RejectingRun, RejectOptions } from '../../api/foreign/reject.js'
import type { HintsOptions, LearnedHints } from '../../api/hints/hints.js'
import type { Interviewed } from '../../api/interview/interview.js'
import type { JudgedRuns, JudgeOptions } from '../../api/judge.js'
import type { LabelNextOptions, RowsToLabel } from '../../api/prediction/label-next.js'
import type { PredictSummary } from '../../api/prediction/predict.js'
import type { Probed, ProbeOptions } from '../../api/probe.js'
import type { SweepEvent } from '../../api/sweep/worker.js'
import type { Synthesized, SynthesizeOptions } from '../../api/synthesis/synthesize.js'
import type { ColumnsGiven } from '../../data/columns-given.js'
import type { AnswerType } from '../../data/texts/answer-type.js'
import type { ErrorMessage } from '../../error-message.js'
import type { NearestTokens } from '../../evaluate/nearest-tokens.js'
import type { Choice } from '../../evaluate/score.js'
import type { AnswerRow } from '../../generate/finished-rows.js'
import type { LimitsAsked } from '../../generate/limits/asked.js'
import type { Products } from '../../generate/programs.js'
import type { GenerationSettings } from '../../generate/settings.js'
import type { WeightChoice } from '../../generate/width.js'
import type { DownloadEvent } from '../../hub/download.js'
import type { InterviewQuestion } from '../../interview/machine.js'
import type { DeviceChoice } from '../../program/devices.js'
import type { KeepingChoice } from '../../program/keeping.js'
import type { Precision } from '../../program/precision.js'
import type { SearchEvent, SearchResult } from '../../search/run/events.js'
import type { ServedRequest } from '../../serve/server.js'
import type { StrategyGiven } from '../../strategies/index.js'
import type { GradpromptEvent, RunResult } from '../../train/events.js'
import type { TestTimeInput } from '../../train/test-time/options.js'
import type { EvaluateRequest, EvaluateResult } from './evaluation-request.js'
import type { InterviewRequest } from './interview-request.js'

/** What the computing process can be asked for: each task's request and result. */
export interface Tasks {
  tune: { request: ConfigRequest; result: RunResult }
  compress: { request: CompressRequest; result: CompressResult }
  reject: { request: RejectRequest; result: RejectResult }
  hints: { request: HintsRequest; result: LearnedHints }
  resume: { request: ResumeRequest; result: RunResult }
  search: { request: ConfigRequest; result: SearchResult; news: SearchEvent }
  resumeSearch: { request: ResumeRequest; result: SearchResult; news: SearchEvent }
  /** One process's part in a sweep. */
  sweep: { request: SweepRequest; result: undefined; news: SweepEvent }
  evaluate: { request: EvaluateRequest; result: EvaluateResult }
  export: {
    request: { folder: string } & Omit<PromptExportOptions, 'model' | 'onWarning'> & { model?: string | undefined }
    result: ExportResult
  }
  /** What the vectors of a run's or a file's prompt read as. */
  nearest: { request: { prompt: string; model: string }; result: NearestTokens[] }
  generate: { request: GenerateRequest; result: GenerateResult; news: GenerateNews }
  predict: { request: PredictRequest; result: PredictResult; news: PredictNews }
  synthesize: {
    request: OwnFamilies &
      Omit<SynthesizeOptions, 'model' | 'examples' | 'signal' | 'onProgress' | 'onWarning'> & {
        readonly model?: string | undefined
        readonly examples?: string | undefined
      }
    result: Synthesized
  }
  labelNext: { request: LabelNextRequest; result: LabelNextResult }
  judge: { request: JudgeRequest; result: JudgedRuns }
  probe: {
    request: OwnFamilies &
      Omit<ProbeOptions, 'model' | 'signal' | 'onProgress' | 'onWarning'> & { readonly model?: string | undefined }
    result: Probed
  }
  prefer: { request: PreferRequest; result: undefined; news: PreferNews }
  interview: { request: InterviewRequest; result: Interviewed; news: InterviewQuestion }
  serve: { request: ServeRequest; result: undefined; news: ServeNews }
  report: { request: { folder: string }; result: { path: string } }
}

export type TaskName = keyof Tasks

/** What a task says of itself on the way, beside events and progress. */
export type News<Name extends TaskName> = Tasks[Name] extends { news: infer Own } ? Own : never

export interface ConfigRequest {
  readonly configFile?: string | undefined
  readonly flags: Readonly<Record<string, string | boolean>>
  /** How flags were written, where that is not their dotted name. */
  readonly flagNames?: Readonly<Record<string, string>> | undefined
}

export type HintsRequest = ConfigRequest & Omit<HintsOptions, 'onEvent' | 'onProgress' | 'signal'>

export type CompressRequest = Omit<CompressOptions, 'model' | 'onEvent' | 'onProgress' | 'signal'> &
  OwnFamilies & { readonly model?: string | undefined }

export type CompressResult = Pick<CompressedText, 'result' | 'conversations' | 'textTokens' | 'retained'>

export type RejectRequest = Omit<RejectOptions, 'model' | 'onEvent' | 'onProgress' | 'signal'> &
  OwnFamilies & { readonly model?: string | undefined }

export type RejectResult = Pick<RejectingRun, 'result' | 'rejection' | 'foreignLabels' | 'texts' | 'measured'>

export interface ResumeRequest {
  readonly folder: string
  readonly steps?: number | undefined
  /** Where model and data are now, if they are not where they were. */
  readonly model?: string | undefined
  readonly device?: DeviceChoice | undefined
  readonly data: { readonly train?: string | undefined; readonly dev?: string | undefined; readonly test?: string | undefined }
}

export interface SweepRequest {
  readonly folder: string
  readonly trials?: number | undefined
  readonly maxFailures?: number | undefined
  readonly device?: DeviceChoice | undefined
}

/** Modules of model families of people's own, which are loaded before anything else. */
export interface OwnFamilies {
  readonly families?: readonly string[] | undefined
}

/** How a model is opened to generate. */
export interface EngineRequest extends OwnFamilies {
  readonly model?: string | undefined
  readonly weights?: WeightChoice | undefined
  readonly batchSize?: number | undefined
  readonly promptLookup: boolean
  readonly device?: DeviceChoice | undefined
  readonly threads?: number | undefined
  /** GB. */
  readonly memory?: number | undefined
  readonly keepWeights?: KeepingChoice | undefined
  readonly precision?: Precision | undefined
}

export interface GenerateRequest extends EngineRequest, LimitsAsked {
  /** A run folder, a prompt file or the folder of a PEFT adapter. */
  readonly prompt?: string | undefined
  /** Of a prompt of several tasks: which of them. */
  readonly promptTask?: string | undefined
  /** How strongly a prompt with a slider acts. */
  readonly strength?: number | undefined
  /** Several calls for each answer. */
  readonly strategy?: StrategyGiven | undefined
  /** A prompt to answer against, and how much. */
  readonly against?: string | undefined
  readonly contrast?: number | undefined
  /** A text, or columns of the template, to answer; or a file of rows and where their answers go. */
  readonly source:
    | { readonly asked: string | Readonly<Record<string, unknown>> }
    | { readonly input: string; readonly output: string; readonly columns?: ColumnsGiven | undefined }
  /** Through the chat template or not; by default as fits the model and the prompt. */
  readonly chat?: boolean | undefined
  /** Not in the template of the prompt. */
  readonly raw?: boolean | undefined
  readonly system?: string | undefined
  readonly variables: Readonly<Record<string, unknown>>
  readonly maxNewTokens?: number | undefined
  readonly settings: Omit<GenerationSettings, 'contrast'>
}

export interface GenerateResult {
  readonly model: string
  readonly weights: Products
  /** Of generating alone. */
  readonly seconds: number
  /** New tokens. */
  readonly tokens: number
  /** Of a text. */
  readonly answer?: AnswerRow & { readonly promptTokens: number }
  /** Of a file. */
  readonly file?: { readonly output: string; readonly rows: number; readonly resumed: number }
}

/** A piece of the answer to a text. */
export interface GenerateNews {
  readonly text: string
}

export interface PredictRequest extends OwnFamilies {
  /** A run folder, a prompt file or the folder of a PEFT adapter. */
  readonly prompt: string
  /** A file, or `-` for standard input. */
  readonly data: string
  /** A file; without one rows are told as they are written. */
  readonly output?: string | undefined
  readonly format?: string | undefined
  readonly keep?: readonly string[] | undefined
  readonly model?: string | undefined
  readonly template?: string | undefined
  readonly answer?: string | undefined
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly answerType?: AnswerType | undefined
  readonly columns?: ColumnsGiven | undefined
  readonly choose?: Choice | undefined
  /** Below the run's own threshold, or below this number. */
  readonly reject?: boolean | number | undefined
  readonly testTime?: boolean | TestTimeInput | undefined
  readonly ensemble?: number | undefined
  readonly truncate?: boolean | undefined
  readonly force?: boolean | undefined
  /** How strongly a prompt with a slider acts. */
  readonly strength?: number | undefined
  readonly promptTask?: string | undefined
  readonly maxNewTokens?: number | undefined
  readonly weights?: WeightChoice | undefined
  readonly batchSize?: number | undefined
  readonly device?: DeviceChoice | undefined
  readonly threads?: number | undefined
  /** GB. */
  readonly memory?: number | undefined
  readonly keepWeights?: KeepingChoice | undefined
  readonly precision?: Precision | undefined
}

export type PredictResult = PredictSummary & { readonly output?: string }

/** Rows as they are written, where they go to standard output. */
export interface PredictNews {
  readonly text: string
}

export interface LabelNextRequest
  extends OwnFamilies,
    Omit<LabelNextOptions, 'prompt' | 'data' | 'model' | 'signal' | 'onProgress' | 'onWarning' | 'onColumns'> {
  readonly prompts: readonly string[]
  readonly data: string
  readonly model?: string | undefined
  /** A file; without one the rows come back as text. */
  readonly output?: string | undefined
  readonly format: string
}

export type LabelNextResult = Omit<RowsToLabel, 'columns'> & ({ readonly output: string } | { readonly text: string })

export interface JudgeRequest extends OwnFamilies, Omit<JudgeOptions, 'judges' | 'signal' | 'onProgress' | 'onWarning'> {
  readonly runs: readonly [Compared, Compared]
  readonly judges: readonly (string | { readonly url: string; readonly model: string; readonly key?: string | undefined })[]
}

export type PreferRequest = OwnFamilies &
  Omit<PreferOptions, 'prompts' | 'model' | 'signal' | 'onProgress' | 'onWarning'> & {
    readonly prompts: string
    readonly model?: string | undefined
    readonly host: string
    readonly port: number
    readonly token: string
  }

export type PreferNews =
  | ({ readonly event: 'listening'; readonly url: string; readonly port: number; readonly model: string } & PreferStanding)
  | ({ readonly event: 'stopping' } & PreferStanding)

export interface ServeRequest extends EngineRequest {
  /** How strongly prompts with a slider act. */
  readonly strength?: number | undefined
  readonly prompts: readonly { readonly name?: string | undefined; readonly path: string }[]
  /** Several calls for each answer. */
  readonly strategy?: StrategyGiven | undefined
  readonly host: string
  readonly port: number
  readonly token: string | undefined
  readonly maxNewTokens: number
}

export type ServeNews =
  | { readonly event: 'listening'; readonly url: string; readonly models: readonly string[]; readonly weights: Products }
  | ({ readonly event: 'request' } & ServedRequest)
  | { readonly event: 'stopping'; readonly active: number }

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
  | { readonly news: unknown }
  | { readonly download: DownloadEvent }
  | { readonly result: unknown }
  | { readonly error: ErrorMessage }

export interface Progress {
  readonly what: string
  readonly done: number
  readonly total: number
}
