import type { OptionSchema } from '../../../config/options.js'
import type { LanguageModel } from '../../../model/language-model.js'
import type { Figures } from '../../../sweep/space/objectives.js'
import type { ControlStore } from '../../../train/control.js'

/** What a trial of a sweep is: a run of `tune` or `search`, or an evaluation. One file each, and a line in `index.ts`. */

export interface TrialKind {
  /** The options that may vary. */
  schema(): OptionSchema
  /** Loads people's own entries that a config names. */
  load(config: unknown): Promise<unknown>
  /** Checks a config and fills its defaults in. @throws GradpromptError what is wrong with it */
  parse(config: unknown, source: string): Promise<TrialConfig>
  /** The option by which dev is scored every so many steps, for trials that may be stopped; undefined where there are no steps. */
  readonly evaluateEvery?: string
  run(config: unknown, options: TrialOptions): Promise<TrialOutcome>
}

/** What a sweep asks of a config, whatever it is of. */
export interface TrialConfig {
  readonly model: string
  /** Whether there are rows that trials are chosen by. */
  readonly hasDev: boolean
  /** Steps of a whole run, where the config says them. */
  readonly steps: number | undefined
  /** The value of an option by its dotted name, defaults included. */
  readonly resolved: unknown
  /** Of the training rows, for a folder's name. */
  readonly name: string
}

export interface TrialOptions {
  /** Of the run; it may hold what an earlier worker has left. */
  readonly folder: string
  readonly model: LanguageModel
  /** The step at whose dev score the run is left; undefined: it is done to its end. */
  readonly until: number | undefined
  readonly signal: AbortSignal | undefined
  readonly onEvent: (event: { readonly event: string }) => void
  readonly controls: ControlStore
}

export interface TrialOutcome {
  readonly figures: Figures
  readonly steps: number
  readonly seconds: number
}
