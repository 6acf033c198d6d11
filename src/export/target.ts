import type { Template } from '../data/texts/template.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import type { PromptMethod } from '../prompts/method.js'
import type { FoundRun } from '../sources/run.js'
import type { PromptFile } from '../store/prompt-file.js'
import type { SelfTest } from './self-test.js'

/** What every target of an export is: the interface of one. Which targets there are stands in `index.ts`. */

/** What is exported, and where its files go. */
export interface ExportContext {
  /** What was learned: options, tensors, template, labels. */
  readonly prompt: PromptFile
  /** The same as it acts on the model. */
  readonly active: ActivePrompt
  readonly model: LanguageModel
  /** The base model as the run's config names it: a folder, a file, or a Hub id. */
  readonly baseModel: string
  /** What a consumer has to compute; `self-test.json` holds it already. */
  readonly selfTest: SelfTest
  /** As of `FoundContext`; read when it is asked for. */
  answeredRows(): Promise<FoundContext['rows']>
  /** What was asked for beside the target; only what the target takes. */
  readonly options: TargetOptions
  /** The folder to write into. It gets its own name when all is written, and is gone when something throws. */
  readonly folder: string
  /** That name. */
  readonly out: string
}

/** What is exported of a search, and where its files go. */
export interface FoundContext {
  readonly found: FoundRun
  /** With the found words where the prompt stands. */
  readonly template: Template
  readonly answer: string
  /** The words of the answers, where these are a closed set that the config names. */
  readonly labels: readonly string[] | undefined
  /** A few rows that nothing was searched on where there are such: the columns' values, and what the answer to them is. */
  readonly rows: readonly { readonly values: Readonly<Record<string, string>>; readonly answer: string }[]
  /** As of `ExportContext`. */
  readonly folder: string
}

export const writtenTypes = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1'] as const

export type WrittenType = (typeof writtenTypes)[number]

/** Options of single targets. */
export interface TargetOptions {
  /** Type of the weights that are written anew: of a GGUF file in `hf`, of a Hugging Face folder in `gguf`, which alone has those of blocks. */
  readonly dtype?: WrittenType | undefined
  /** Write what changes alone, and a script that puts it into the base model. */
  readonly delta?: boolean | undefined
}

/** A place where learned prompts are used: one file a target. */
export interface ExportTarget {
  readonly name: string
  /** What is written, in a few words. */
  readonly description: string
  /** Whether prompts of this method can be written for it. */
  holds(method: PromptMethod): boolean
  /** How it holds a method's prompts, in a few words, for the table of `docs/exports.md`; undefined: exactly, in its one form. */
  form?(method: PromptMethod): string | undefined
  /** Why it cannot hold those of a method, in words. */
  reason?(method: PromptMethod): string | undefined
  /** Options that it takes. */
  readonly takes?: readonly (keyof TargetOptions)[]
  /** What it writes needs gradprompt, or an endpoint that has the prompt already: no other tool runs the prompt by it. */
  readonly needsGradprompt?: boolean
  /** What it holds of a prompt does not do what the prompt does, so that it is named nowhere in place of another target. */
  readonly inexact?: boolean
  /** Has a place for soft tokens inside a template. */
  readonly softTokens?: boolean
  /** Takes a prompt of several tasks whole: of every method that has them, or of some; others take none. */
  readonly severalTasks?: boolean | ((method: PromptMethod) => boolean)
  /** @throws GradpromptError `not-exportable` where this prompt cannot be written, though its method's prompts can */
  write(context: ExportContext): Promise<void>
  /** Writes words that a search has found; a target without it takes soft prompts alone. */
  writeFound?(context: FoundContext): Promise<void>
}
