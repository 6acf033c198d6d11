import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import type { OptionsDeclaration } from '../../config/typed-options.js'
import type { DataNotice } from '../../data/readers/reader.js'
import type { DraftScorer } from '../score/draft.js'
import type { Embedding } from '../score/embedding.js'
import type { Measure } from '../score/measure.js'
import type { Objective, ObjectiveOptions, PromptScore } from '../score/objective.js'
import type { SearchPrograms } from '../score/programs.js'
import type { Candidate } from '../space/candidates.js'
import type { SearchRow, TokenSpace } from '../space/token-space.js'
import type { Member } from './member.js'
import type { CaseBook, Judge, RoleModel, Writer } from './writer.js'

/** What a search step works with. */
export interface SearchContext {
  readonly space: TokenSpace
  readonly objective: Objective
  /** The model's embedding table. */
  readonly embedding: Embedding
  readonly programs: SearchPrograms
  /** Ids that may stand at a free position, in ascending order. */
  readonly allowed: Int32Array
  /** The questions of this step: all of them, or a batch drawn by step. */
  readonly rows: readonly SearchRow[]
  /** All questions of the search; those that come up in a step are behind them at once. */
  readonly questions: readonly SearchRow[]
  /** The questions differ from step to step, so that losses of two steps cannot be compared. */
  readonly isBatched: boolean
  readonly seed: number
  /** Steps done. */
  readonly step: number
  /** Steps there are to be. */
  readonly steps: number
  /** A generator of this step's own, so that a search goes on from anywhere; `stream` tells draws apart. */
  random(...stream: readonly number[]): RandomGenerator
  /**
   * Exact scores. Prompts that the tokenizer would not give back are left out, or score worse, as `search.drift` says; they are
   * counted either way.
   * @param rows by default the questions of this step
   * @returns best first; of equals the earlier
   */
  score(candidates: readonly Candidate[], rows?: readonly SearchRow[]): Promise<ScoredCandidate[]>
  /** Losses in 8 bits, in the order of the candidates: a guess at exact scores; undefined where it would not be faster. */
  guess(candidates: readonly Candidate[]): Promise<number[] | undefined>
  /** Whether the tokenizer gives a prompt's ids back; with `drift: allow` or a penalty all prompts count as such. */
  readsBack(ids: readonly number[]): boolean
  /** A prompt with as many of the changes as read back together, taken in their order; all of them unless drift is dropped. */
  settled(from: readonly number[], swaps: readonly { readonly position: number; readonly to: number }[]): Candidate
  /** The dev rows, which no method but a private choice reads. */
  readonly heldOut: readonly SearchRow[]
  /** Of private methods: the key of the run's noise, which is gone when the run has ended. */
  readonly secret?: Uint8Array | undefined
  /** A smaller model's losses, where the options name one. */
  readonly draft?: DraftScorer | undefined
  /** Vectors to begin with, [F, d], where the options name a run that has them. */
  readonly softPrompt?: Float32Array | undefined
  /** Of methods that let a model write. */
  readonly writer?: Writer | undefined
  /** Of methods that let a model judge. */
  readonly judge?: Judge | undefined
  /** Of methods that make questions of their own. */
  readonly cases?: CaseBook | undefined
  /** A question as people read it. */
  exampleOf(row: SearchRow): Example
  /** A question with its answer, as the template shows it behind the prompt; with what the model wrote before the answer, if that is given. */
  demoOf(row: SearchRow, reasoning?: readonly number[]): string
  /** Whether the vocabulary has all tokens of a prompt (any vocabulary: whether none is special). */
  mayHold(ids: readonly number[]): boolean
  /** Tokens that a prompt may have so that every row fits into the context. */
  readonly maxLength: number
}

/** A row's own text, and its right answer. */
export interface Example {
  readonly input: string
  readonly output: string
}

export interface ScoredCandidate extends Candidate, PromptScore {}

export interface EliminatedCandidate extends ScoredCandidate {
  /** Questions that it was scored on. */
  readonly questions: number
}

/** What a method keeps between steps: plain JSON, and arrays of numbers. It is written into checkpoints. */
export type SearchState = Readonly<Record<string, unknown>>

export interface StepOutcome<State> {
  readonly state: State
  /** Where the search stands now. */
  readonly prompt: readonly number[]
  readonly objective: number
  /** What was scored, best first. */
  readonly candidates: readonly ScoredCandidate[]
  /** What was given up after some of the questions: reported, and never the result. */
  readonly eliminated?: readonly EliminatedCandidate[]
  /** Of `candidates`: the one that the search moved to. */
  readonly accepted?: ScoredCandidate | undefined
  /** The search has reached its aim. */
  readonly done?: boolean
  /** The questions are others than before: of all prompts so far, `candidates` alone have scores that compare. */
  readonly renewed?: boolean
  /** Further figures of the step. */
  readonly figures?: Readonly<Record<string, number>>
  /** All that the method has tried: kept in the run's `candidates.json`. */
  readonly pool?: readonly Member[]
}

/** Common options of a search that does not say. */
export interface SearchDefaults {
  readonly prompt?: string
  readonly fluency?: number
  readonly vocabulary?: 'ascii' | 'words' | 'any'
  readonly measure?: Measure
}

/** What a method has opened for it, as its options say. */
export interface SearchNeeds {
  /** A run with a static soft prompt: the context has its vectors as `softPrompt`, and the prompt as many tokens. */
  readonly softPrompt?: string | undefined
  /** A smaller model with the same tokenizer: the context has its losses as `draft`. */
  readonly draft?: string | undefined
  /** A model that writes in place of the searched one, with `writes`. */
  readonly writer?: RoleModel | undefined
  /** A model that judges in place of the searched one, with `judges`. */
  readonly judge?: RoleModel | undefined
  /** Questions come up during the search, so that there may be none to begin with: the context has `cases`. Texts have so many tokens at most. */
  readonly cases?: { readonly tokens: number } | undefined
  /** Training rows that the first prompt shows, each followed by the separator; they are then no questions. */
  readonly shots?: { readonly count: number; readonly separator: string } | undefined
}

/** What a row may show through a prompt that was found: at most a factor of e^epsilon, but for a chance of delta. */
export interface PromptPrivacy {
  readonly epsilon: number
  readonly delta: number
  /** What it was reached by. */
  readonly [figure: string]: number
}

/** What a private method has to work with. */
export interface PrivateSizes {
  readonly rows: number
  /** Dev rows. */
  readonly heldOut: number
  readonly steps: number
  /** Of the model that writes. */
  readonly vocabulary?: number | undefined
}

/** What a forecast knows. */
export interface ForecastSizes {
  readonly questions: number
  readonly steps: number
}

/** Of a whole search, at most. */
export interface Forecast {
  /** Answers of the searched model: a question under a prompt each. */
  readonly answers: number
  /** Texts that a critic writes. */
  readonly written: number
  /** Comparisons of a judge. */
  readonly judged?: number
}

/** A way of searching for a prompt. A method is one file: its options, how it starts, and what a step does. */
export interface SearchMethod<Options extends { readonly type: string } = { readonly type: string }, State = SearchState> {
  readonly type: Options['type']
  readonly paper: string
  /** Its options beside `type`; without a declaration it has none. */
  readonly options?: OptionsDeclaration
  /** Steps of a search that does not say. */
  readonly steps: number
  readonly defaults?: SearchDefaults | ((options: Options & { readonly extractor?: string | undefined }) => SearchDefaults)
  /** A model writes prompts as text: there is a `writer`. */
  readonly writes?: boolean
  /** A model compares answers: there is a `judge`. */
  readonly judges?: boolean
  /** It draws its own parts of the questions, so that `batchSize` has no effect. */
  readonly drawsRows?: boolean
  /**
   * Its prompts show little of any one row: it has all rows and the run's `secret`, what would break that is refused, and no score of
   * a row decides what the result is. It has a `choose`.
   */
  readonly isPrivate?: boolean
  /** Refuses sizes under which nothing can come of it, and says what it will do. @throws GradpromptError */
  check?(options: Options, sizes: PrivateSizes): readonly DataNotice[]
  /**
   * Which prompt is the result, in place of the best by its scores.
   * @returns its ids, and what is kept with it
   */
  choose?(
    state: State,
    options: Options,
    context: SearchContext,
  ): Promise<{ readonly ids: readonly number[]; readonly privacy?: PromptPrivacy | undefined }>
  /** What a whole search asks for at most, before it begins. */
  forecast?(options: Options, sizes: ForecastSizes): Forecast
  /** What it works with that is opened before the first step. */
  needs?(options: Options): SearchNeeds
  /** What the method changes in losses and gradients. */
  objective?(options: Options): Pick<ObjectiveOptions, 'temperature' | 'scoredFluency'>
  start(options: Options, context: SearchContext): Promise<State>
  step(state: State, options: Options, context: SearchContext): Promise<StepOutcome<State>>
}
