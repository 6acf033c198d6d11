import type { PairedComparison } from '../../evaluate/comparison.js'
import type { Evaluation, Metrics } from '../../evaluate/score.js'
import type { Verdict } from '../../evaluate/verdict.js'
import type { CheckpointEvent, WarningEvent } from '../../store/events.js'
import type { Forecast, PromptPrivacy } from '../moves/method.js'
import type { BudgetLimits, RoleSpending } from '../score/budget.js'

/** A candidate of a step: what would change, what the gradient says of it, and what it comes to. */
export interface SwapReport {
  /** Of the first token that changes. */
  readonly position: number
  /** Empty where a token is put in. */
  readonly from: string
  /** Empty where a token is dropped. */
  readonly to: string
  /** Tokens that change. */
  readonly changed: number
  /** The change of loss that the gradient predicts; null where there is no gradient. */
  readonly gradientScore: number | null
  /** The loss by forward passes. */
  readonly exactScore: number
  /** Questions that it is of, where it was given up before all. */
  readonly questions?: number
  readonly accepted: boolean
}

/** A part of the work that takes its time: answers that are generated, texts of a critic, or rows that are scored. */
export interface SearchActivity {
  readonly what: 'answers' | 'texts' | 'rows'
  readonly done: number
  readonly total: number
}

/** The model stands ready, before the first step. */
export interface SearchLoadedEvent {
  readonly event: 'loaded'
  readonly model: string
  readonly rows: { readonly train: number; readonly dev: number; readonly test: number }
  readonly steps: number
  /** What may end the search before its last step. */
  readonly budget: BudgetLimits
  /** What the search asks for at most, where its method says. */
  readonly forecast?: Forecast
  /** Tokens that are searched, and the size of the vocabulary that they are chosen from. */
  readonly freeTokens: number
  readonly vocabulary: number
  readonly folder: string
  readonly seconds: number
}

/** Of a search with an extractor: what the model makes of a few questions under the first prompt. */
export interface PreflightEvent {
  readonly event: 'preflight'
  readonly questions: number
  /** Share of the reasonings that are cut. */
  readonly cut: number
  /** Probability of all answers together behind the extractor, or of the right one where there are many. */
  readonly answerMass: number
  /** Share of right answers, with its 95 % interval. */
  readonly accuracy: { readonly value: number; readonly low: number; readonly high: number }
  /** Of reasoning, a mean. */
  readonly tokensPerAnswer: number
  /** What the answers to all questions under one prompt cost: what a step scores is a multiple of it. */
  readonly tokensPerPrompt: number
}

/** The prompt that the search begins with. */
export interface InitialEvent {
  readonly event: 'initial'
  readonly prompt: string
  readonly objective: number
  /** Of the dev rows; empty without a dev set. */
  readonly metrics: Metrics
}

/** An optimisation step, counted from 1. */
export interface SearchStepEvent {
  readonly event: 'step'
  readonly step: number
  /** Where the search stands after the step. */
  readonly prompt: string
  readonly ids: readonly number[]
  readonly objective: number
  /** The best prompt so far. */
  readonly best: { readonly prompt: string; readonly objective: number }
  /** The candidate that was moved to, or the best of those that were not; null when there was none. */
  readonly swap: SwapReport | null
  /** The best few of the step, in rising order of the exact score. */
  readonly shortlist: readonly SwapReport[]
  readonly candidates: number
  /** Spearman's, of gradient scores and exact scores over the candidates; null where it says nothing. */
  readonly rankCorrelation: number | null
  /** Prompts so far whose text the tokenizer reads as other tokens. */
  readonly drifted: number
  readonly generatedTokens: number
  readonly computedTokens: number
  readonly roles?: Readonly<Record<string, RoleSpending>>
  readonly figures?: Readonly<Record<string, number>>
  readonly seconds: number
}

export interface SearchDevEvent {
  readonly event: 'dev'
  readonly step: number
  readonly prompt: string
  readonly metrics: Metrics
  readonly rows: number
  readonly seconds: number
}

/** A prompt with what it comes to. */
export interface JudgedPrompt {
  readonly prompt: string
  readonly ids: readonly number[]
  /** Loss over the questions. */
  readonly objective: number
  /** Of the dev rows; empty without a dev set. */
  readonly metrics: Metrics
}

/** What a search came to: `result.json`, and the last event. */
export interface SearchResult extends JudgedPrompt {
  /** Dev rows scored. */
  readonly rows: number
  readonly initial: JudgedPrompt
  /** The prompts that were re-ranked on dev, best first. */
  readonly ranking: readonly JudgedPrompt[]
  /** The test rows, scored once with the chosen prompt and with the first. */
  readonly test?: Evaluation & { readonly initial: Evaluation; readonly comparison?: PairedComparison }
  /** Against the first prompt, in words; of the test rows where there are some, otherwise of dev. Absent where nothing was scored. */
  readonly verdict?: Verdict
  /** Of a private search: what a row may show through the prompt; null where it was without noise, and promises nothing. */
  readonly privacy?: PromptPrivacy | null
  readonly steps: number
  readonly drifted: number
  readonly generatedTokens: number
  readonly computedTokens: number
  /** Calls and tokens of each role; of endpoints with their cost. */
  readonly roles?: Readonly<Record<string, RoleSpending>>
  /** Of work, over all the times the search was resumed. */
  readonly seconds: number
  /** The most memory that the process has held so far, in bytes. */
  readonly peakMemory: number
  readonly folder: string
}

export type SearchResultEvent = { readonly event: 'result' } & SearchResult

export type SearchEvent =
  | SearchLoadedEvent
  | PreflightEvent
  | InitialEvent
  | SearchStepEvent
  | SearchDevEvent
  | CheckpointEvent
  | WarningEvent
  | SearchResultEvent
