import { type OptionNames, refuseUnknown } from './config/call-options.js'
import { LanguageModel, type LoadOptions } from './model/language-model.js'
import { requireModelName } from './model/with-model.js'

/**
 * Opens a model: a folder with `config.json` and `*.safetensors`, a `.gguf` file or a folder with one, or a model of the Hugging Face
 * Hub by its name (`owner/name[@revision][:file.gguf]`), which is downloaded where the cache lacks it. Its weights are dequantised into the
 * cache folder the first time.
 * @param options.keepWeights `compact` keeps them in 16 bits or 8, with the same values, where `fp32` would not fit
 * @param options.precision `fp16` or `bf16`: products, forward and backward, of 16 bits
 * @param options.memory the budget in bytes; by default what the machine has free
 * @throws GradpromptError `file-not-found`, `unknown-architecture`, `not-enough-memory`, … (see `LanguageModel.load`)
 */
export async function loadModel(name: string, options: LoadOptions = {}): Promise<LanguageModel> {
  refuseUnknown('loadModel', options, {
    device: true,
    threads: true,
    memory: true,
    keepWeights: true,
    precision: true,
    families: true,
    onProgress: true,
    onDownload: true,
  } satisfies OptionNames<LoadOptions>)
  requireModelName(name)
  return LanguageModel.load(name, options)
}

export type { AttentionCall, HiddenInputs, ModelConfig, ModelFamily, WeightSpec } from '../models/blocks/family.js'
export {
  type PreferOptions,
  type PreferQuestion,
  type PreferSession,
  type PreferStanding,
  prefer,
  type Side,
} from './api/choosing/prefer.js'
export { type Compared, type CompareOptions, compareRuns, type RunComparison } from './api/compare.js'
export {
  type CompressedText,
  type CompressOptions,
  type CompressProgress,
  compress,
  type Retained,
} from './api/compress.js'
export {
  type PlayedPrompt,
  type SearchEnvironmentOptions,
  type SearchedEnvironment,
  searchEnvironment,
} from './api/environment.js'
export {
  type EvaluatedControl,
  type EvaluateOptions,
  type EvaluateResult,
  evaluate,
  type GeneratedFigures,
  type Prediction,
  type TestTimeFigures,
} from './api/evaluation/evaluate.js'
export { type ScoredPredictions, type ScorePredictionsOptions, scorePredictions } from './api/evaluation/score.js'
export { type ExportOptions, exportPrompt } from './api/export.js'
export { type Extensions, extend } from './api/extend.js'
export type { Measured } from './api/foreign/measure.js'
export { type RejectingRun, type RejectOptions, type RejectProgress, reject } from './api/foreign/reject.js'
export {
  type AnswerOptions,
  type GeneratedAnswer,
  type GeneratedFile,
  type GeneratedPiece,
  type GenerateFileOptions,
  type GenerateOptions,
  generate,
} from './api/generation/generate.js'
export { type HintsOptions, type HintsProgress, hints, type LearnedHints } from './api/hints/hints.js'
export type { ConditionFigures, ConditionName, Difference } from './api/hints/measure.js'
export type { RoundFigures } from './api/hints/rounds.js'
export { type Interviewed, type InterviewOptions, interview } from './api/interview/interview.js'
export { type JudgedRuns, type JudgeGiven, type JudgeOptions, judgeRuns } from './api/judge.js'
export { type LabelNextOptions, labelNext, type RowsToLabel, type RowToLabel } from './api/prediction/label-next.js'
export {
  type PredictedFile,
  type PredictedRow,
  type PredictFileOptions,
  type PredictOptions,
  type PredictSummary,
  predict,
} from './api/prediction/predict.js'
export { type Probed, type ProbeOptions, type ProbeResult, type ProbeVerdict, probe } from './api/probe.js'
export { type ReportOptions, writeReport } from './api/report.js'
export { type ResumeOptions, resume } from './api/resume.js'
export { listRuns, type RunList, type RunRecord, readRun, type SearchRecord, type TuneRecord } from './api/runs/record.js'
export { type RunSummaries, type RunSummary, summarizeRuns } from './api/runs/summary.js'
export {
  type ResumeSearchOptions,
  resumeSearch,
  type SearchInput,
  type SearchOptions,
  type SearchRun,
  search,
} from './api/search.js'
export { type ServeOptions, type Server, serve } from './api/serve.js'
export type { SweepSummary, SweepTrial } from './api/sweep/summary.js'
export { addTrial, type SweepCallOptions, type SweepInput, sweep } from './api/sweep/sweep.js'
export type { SweepEvent } from './api/sweep/worker.js'
export { type Synthesized, type SynthesizeOptions, synthesize } from './api/synthesis/synthesize.js'
export { type TuneInput, type TuneOptions, type TuneRun, tune } from './api/tune.js'
export type { OptionsDeclaration } from './config/typed-options.js'
export type { Row, Rows } from './data/memory-rows.js'
export type { DataInput, DataNotice, DataReader, ReadOptions, Table } from './data/readers/index.js'
export type { RecordTask } from './data/task-records.js'
export { GradpromptError } from './errors.js'
export { bestShown, type Comparison, nextPair, simulatedPerson } from './evaluate/choosing/bandit.js'
export type { MetricValue } from './evaluate/intervals.js'
export { type NearestToken, nearestTokens } from './evaluate/nearest-tokens.js'
export type { RowResult } from './evaluate/row-results.js'
export type { Metrics } from './evaluate/score.js'
export type { OwnScorer, Scorer, ScorerFunction, ScorerResult } from './evaluate/scorer.js'
export type { OwnTask } from './evaluate/tasks/index.js'
export type { Filter, GenerationTask } from './evaluate/tasks/task.js'
export type { TestTimeScores } from './evaluate/test-time-scores.js'
export type { Verdict } from './evaluate/verdict.js'
export type { SelfTest } from './export/self-test.js'
export type { ExportContext, ExportTarget } from './export/target.js'
export type { Tokenizer } from './formats/tokenizer.js'
export type { Generation } from './generate/request.js'
export type { WeightChoice } from './generate/width.js'
export type { DownloadEvent } from './hub/download.js'
export type { Brief, Field } from './interview/brief.js'
export type { InterviewQuestion } from './interview/machine.js'
export type { InterviewModel } from './interview/model-turns.js'
export type { StateName } from './interview/state.js'
export type * from './losses/loss.js'
export type { SoftPrompt } from './model/active-prompt.js'
export type { ForwardPass, ForwardPassOptions, HookInput, LayerHook, RowGradient } from './model/inspection.js'
export { LanguageModel, type LoadOptions } from './model/language-model.js'
export type { LabelledRow } from './model/row.js'
export type { ModulePath } from './own-modules.js'
export { type CompileSpec, compile, type InputTensors } from './program/compile.js'
export type { Device, DeviceChoice } from './program/devices.js'
export { runEagerly } from './program/eager.js'
export { type InputSpec, Program, type ProgramInput } from './program/program.js'
export type * from './prompts/method.js'
export type { OwnSearch, SearchConfig, SearchConfigInput } from './search/config.js'
export type { ClimbStep, Tried } from './search/environment/climb.js'
export type { Environment, Episode, Failure, Message, Moment } from './search/environment/environment.js'
export type { SearchContext, SearchMethod, SearchNeeds, SearchState, StepOutcome } from './search/moves/method.js'
export type { SearchEvent, SearchResult } from './search/run/events.js'
export type { PromptGiven } from './sources/open.js'
export type { PromptFile } from './store/prompt-file.js'
export type { OwnStrategy, StrategyGiven } from './strategies/index.js'
export type * from './strategies/strategy.js'
export type { Scalar, TrackedRun, Tracker, Tracking } from './track/tracker.js'
export type { Config, ConfigInput, OwnLoss, OwnMethod } from './train/config.js'
export type * from './train/events.js'
