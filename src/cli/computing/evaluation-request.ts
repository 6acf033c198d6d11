import type { EvaluateResult as ApiResult, EvaluatedControl } from '../../api/evaluation/evaluate.js'
import type { ColumnsGiven } from '../../data/columns-given.js'
import type { AnswerType } from '../../data/texts/answer-type.js'
import type { RunCodeOptions } from '../../evaluate/sandbox/running.js'
import type { Choice } from '../../evaluate/score.js'
import type { LimitsAsked } from '../../generate/limits/asked.js'
import type { WeightChoice } from '../../generate/width.js'
import type { DeviceChoice } from '../../program/devices.js'
import type { KeepingChoice } from '../../program/keeping.js'
import type { Precision } from '../../program/precision.js'
import type { StrategyGiven } from '../../strategies/index.js'
import type { TestTimeInput } from '../../train/test-time/options.js'
import type { OwnFamilies } from './messages.js'

/** What `gradprompt evaluate` asks the computing process for, and what it says. */

export interface EvaluateRequest extends OwnFamilies {
  readonly configFile?: string | undefined
  /** A run folder, a prompt file or the folder of a PEFT adapter. */
  readonly prompt?: string | undefined
  readonly model?: string | undefined
  readonly data?: string | undefined
  readonly template?: string | undefined
  readonly answer?: string | undefined
  readonly answerEnd?: string | undefined
  readonly columns?: ColumnsGiven | undefined
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly answerType?: AnswerType | undefined
  readonly instruction?: string | undefined
  readonly choose?: Choice | undefined
  readonly testTime?: boolean | TestTimeInput | undefined
  readonly ensemble?: number | undefined
  readonly limit?: number | undefined
  readonly seed?: number | undefined
  readonly batchSize?: number | undefined
  /** A prompt of another model of the same width is used all the same. */
  readonly force?: boolean | undefined
  /** How strongly a prompt with a slider acts. */
  readonly strength?: number | undefined
  readonly device?: DeviceChoice | undefined
  readonly threads?: number | undefined
  /** GB. */
  readonly memory?: number | undefined
  readonly keepWeights?: KeepingChoice | undefined
  readonly precision?: Precision | undefined
  readonly control: boolean
  /** Answers are generated and read, instead of scored by their likelihood. */
  readonly generation?: GenerationSettingsOfEvaluation | undefined
  /** Where each row's result is written; by default into the run. */
  readonly rows?: string | undefined
  /** Where the report is written; by default into the run. */
  readonly report?: string | undefined
}

export interface GenerationSettingsOfEvaluation extends LimitsAsked, RunCodeOptions {
  readonly task?: string | undefined
  readonly examples?: string | undefined
  readonly shots?: number | undefined
  readonly scorer?: string | undefined
  readonly weights?: WeightChoice | undefined
  readonly maxNewTokens?: number | undefined
  readonly temperature?: number | undefined
  readonly strategy?: StrategyGiven | undefined
  readonly against?: string | undefined
  readonly contrast?: number | undefined
}

/** What is printed of an evaluation: of its rows the file's path alone. */
export type EvaluateResult = Omit<ApiResult, 'predictions' | 'results' | 'rowsFile' | 'control'> & {
  /** The base model, or the prompt that a search began with, on the same rows. */
  readonly control?: Omit<EvaluatedControl, 'results'>
  /** File of the rows' results. */
  readonly results?: string
}
