/** What a `tokenizer.json` says, as the parts of the pipeline take it, and the errors that they have in common. */
import { GradpromptError } from '../../errors.js'

/** One entry of `added_tokens` in a `tokenizer.json`: matched in the text before anything else looks at it. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  /** Matched in the normalised text, itself normalised. */
  readonly normalized: boolean
  /** Takes the white space before it. */
  readonly lstrip?: boolean
  /** Takes the white space behind it. */
  readonly rstrip?: boolean
  /** Only where no character of a word stands before or behind it. */
  readonly single_word?: boolean
}

/** A step of the pipeline as `tokenizer.json` writes it: `{ type: 'ByteLevel', … }`. */
export type PipelineStep = { readonly type: string; readonly [field: string]: unknown } | null

/** A merge rule as `tokenizer.json` writes it: `'left right'`, or the pair where pieces may contain spaces. */
export type Merge = string | readonly [left: string, right: string]

/** What a `tokenizer.json` says, whether it was read from a file or put together from GGUF metadata. */
export interface TokenizerDefinition {
  /** For BPE, `vocab` and `merges` stand in `bpe` instead. */
  readonly model: { readonly type: string; readonly [field: string]: unknown }
  readonly bpe?: { readonly vocab: Map<string, number>; readonly merges: readonly Merge[] }
  readonly addedTokens: readonly AddedToken[]
  readonly normalizer: PipelineStep
  readonly preTokenizer: PipelineStep
  readonly postProcessor: PipelineStep
  readonly decoder: PipelineStep
}

/** Ids above this are refused: a file that names one would make every later allocation as large as it likes. */
export const maxTokenId = 2 ** 24

/** Steps within steps, and steps in a row: far beyond any tokenizer, and few enough for every stack. */
export const maxStepDepth = 8
export const maxSteps = 256

/** A file that contradicts itself or its format. */
export function invalid(
  message: string,
  found: string,
  expected: string,
  details: { hint?: string; cause?: unknown } = {},
): GradpromptError {
  const hint = 'get the model again from where it was published: this file is damaged, or was edited by hand'
  return new GradpromptError('invalid-tokenizer', message, { found: cut(found), expected, hint, ...details })
}

/** What is no error of the file but has no counterpart here. */
export function unsupported(
  message: string,
  found: string,
  expected: string,
  details: { hint?: string; cause?: unknown } = {},
): GradpromptError {
  const hint = 'language models with byte-level BPE or SentencePiece work: Llama, Qwen, Gemma, GPT-2 and their relatives'
  return new GradpromptError('unsupported-tokenizer', message, { found: cut(found), expected, hint, ...details })
}

export function checkId(id: unknown, content: string): number {
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < maxTokenId) return id
  throw invalid(
    `The token ${JSON.stringify(cut(content))} has an impossible id`,
    String(id),
    `an integer from 0 to ${maxTokenId - 1}`,
  )
}

/** Reads the fields of one step; what has another type than it should is `invalid-tokenizer`. */
export class StepFields {
  readonly #part: string

  constructor(
    readonly step: NonNullable<PipelineStep>,
    part: string,
  ) {
    this.#part = part
  }

  boolean(name: string, otherwise: boolean): boolean {
    const value = this.step[name] ?? otherwise
    return typeof value === 'boolean' ? value : this.#wrong(name, value, 'true or false')
  }

  string(name: string, otherwise: string): string {
    const value = this.step[name] ?? otherwise
    return typeof value === 'string' ? value : this.#wrong(name, value, 'a text')
  }

  /** One character. */
  character(name: string, otherwise: string): string {
    const value = this.string(name, otherwise)
    return [...value].length === 1 ? value : this.#wrong(name, value, 'one character')
  }

  count(name: string, otherwise: number): number {
    const value = this.step[name] ?? otherwise
    return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 31
      ? value
      : this.#wrong(name, value, 'a whole number from 0')
  }

  choice<T extends string>(name: string, choices: readonly T[], otherwise: T): T {
    const value = this.step[name] ?? otherwise
    return choices.find(choice => choice === value) ?? this.#wrong(name, value, `one of ${choices.join(', ')}`)
  }

  steps(name: string): readonly NonNullable<PipelineStep>[] {
    const value = this.step[name]
    if (!Array.isArray(value) || value.length > maxSteps) return this.#wrong(name, value, `a list of at most ${maxSteps} steps`)
    return value.map(item => stepOf(item, this.#part) ?? this.#wrong(name, item, 'a step'))
  }

  #wrong(name: string, value: unknown, expected: string): never {
    throw invalid(`The tokenizer's ${this.#part} ${this.step.type} cannot be read: ${name}`, describe(value), expected)
  }
}

/** A value of the file as a step. */
export function stepOf(value: unknown, part: string): PipelineStep {
  if (value === undefined || value === null) return null
  const type: unknown = typeof value === 'object' && !Array.isArray(value) ? (value as { type?: unknown }).type : undefined
  if (typeof type === 'string') return value as NonNullable<PipelineStep>
  throw invalid(`The tokenizer's ${part} cannot be read`, describe(value), 'an object with a type')
}

export function unknownStep(part: string, type: string, known: string): GradpromptError {
  return unsupported(`The tokenizer's ${part} is of a kind that is not known`, type, known)
}

export function checkDepth(depth: number, part: string): void {
  if (depth > maxStepDepth)
    throw invalid(`The tokenizer's ${part} is nested too deep`, `${depth} levels`, `at most ${maxStepDepth}`)
}

/** What stands before or behind the parts of a word is written at every character, and looked up with it. */
const mostAffixCharacters = 64

/**
 * A text that a model puts before or behind the parts of a word.
 * @throws GradpromptError `invalid-tokenizer`
 */
export function affix(name: string, value: unknown): string {
  if (typeof value !== 'string') throw invalid(`The tokenizer's model cannot be read: ${name}`, describe(value), 'a text')
  if (value.length <= mostAffixCharacters) return value
  throw invalid(`${name} of the tokenizer is too long`, `${value.length} characters`, `at most ${mostAffixCharacters}`)
}

export function describe(value: unknown): string {
  return value === undefined ? 'nothing' : typeof value === 'bigint' ? String(value) : cut(JSON.stringify(value) ?? typeof value)
}

function cut(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
