import type { LabelSet } from '../data/labels.js'
import { type DataRecord, originOf, shorten } from '../data/records.js'
import { RowBuilder, type ScoringRow } from '../data/rows.js'
import { compileTemplate, type Template } from '../data/template.js'
import { GradpromptError } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { fillPrompt, PROMPT_COLUMN, requirePlace } from './prompt-place.js'

/** The prompt as a user writes it: text that is searched, and pieces of it that stay. */
export type PromptText = string | readonly (string | { readonly frozen: string })[]

/** A row cut at the prompt: `[...before, ...prompt, ...after, ...answer]`. */
export interface SearchRow {
  readonly index: number
  readonly before: readonly number[]
  /** From the prompt to the answer. */
  readonly after: readonly number[]
  /** The label tokens. */
  readonly answer: readonly number[]
  /** The text on both sides of the prompt; the answer's is the end of the second. */
  readonly text: { readonly before: string; readonly after: string }
}

/** What a space is made of. */
export interface TokenSpaceOptions {
  readonly template: Template
  readonly answer: string
  readonly labels: LabelSet | undefined
  readonly contextLength: number
  readonly prompt: PromptText
}

/**
 * Prompts as token ids between the ids of rows. The ids around a prompt are those that the whole text has with the first prompt in it;
 * they never change afterwards, and a prompt is never made from text again. `readsBack` tells whether the tokenizer, given the text,
 * would come to the same ids.
 */
export class TokenSpace {
  /** The first prompt. */
  readonly start: readonly number[]
  /** Positions that are searched. */
  readonly free: readonly number[]
  readonly #tokenizer: Tokenizer
  readonly #options: TokenSpaceOptions
  readonly #builder: RowBuilder
  readonly #pieces: readonly { readonly text: string; readonly frozen: boolean }[]

  /** @param record any row: the prompt's own ids are read off it */
  constructor(tokenizer: Tokenizer, options: TokenSpaceOptions, record: DataRecord) {
    requirePlace(options.template)
    this.#tokenizer = tokenizer
    this.#options = options
    const { prompt } = options
    this.#pieces = (typeof prompt === 'string' ? [prompt] : prompt).map(piece =>
      typeof piece === 'string' ? { text: piece, frozen: false } : { text: piece.frozen, frozen: true },
    )
    const { answer, labels, contextLength } = options
    const template = fillPrompt(options.template, this.startText)
    this.#builder = new RowBuilder(tokenizer, { template, answer, labels, contextLength, numVirtualTokens: 0 })
    const { before, beforeText } = this.#before(record, 0)
    // A piece begins where the ids of everything before it end.
    const borders = [before.length]
    let text = beforeText
    let ids = before
    for (const [i, piece] of this.#pieces.entries()) {
      text += piece.text
      const longer = this.#encode(text)
      if (!beginsWith(longer, ids)) throw inseparable(this.#pieces.slice(0, i + 1).map(piece => piece.text))
      ids = longer
      borders.push(longer.length)
    }
    this.start = ids.slice(before.length)
    this.free = this.start.flatMap((_, i) => {
      const piece = this.#pieces.findIndex((_, j) => before.length + i < borders[j + 1]!)
      return this.#pieces[piece]!.frozen ? [] : [i]
    })
    if (this.free.length === 0)
      throw new GradpromptError('nothing-to-search', 'the prompt has no token that may change', {
        found: `prompt: ${JSON.stringify(options.prompt)}`,
        expected: 'text that is not frozen',
      })
  }

  get startText(): string {
    return this.#pieces.map(({ text }) => text).join('')
  }

  /** The columns that rows need. */
  get columns(): string[] {
    return this.#builder.columns
  }

  text(prompt: readonly number[]): string {
    return this.#tokenizer.decode(prompt)
  }

  /**
   * A record's row.
   * @throws GradpromptError `prompt-not-separable`, `prompt-not-kept`, and as `RowBuilder.training` does
   */
  row(record: DataRecord, index: number): SearchRow {
    const { before, beforeText } = this.#before(record, index)
    const { ids, labels, segments } = this.#builder.training(record, index)
    const end = before.length + this.start.length
    const border = labels.findIndex(label => label !== -100)
    const afterText = segments
      .map(({ text }) => text)
      .join('')
      .slice(beforeText.length + this.startText.length)
    const text = { before: beforeText, after: afterText }
    const row = { index, before, after: ids.slice(end, border), answer: ids.slice(border), text }
    if (border >= end && beginsWith(ids.slice(before.length), this.start) && this.readsBack(this.start, row)) return row
    throw new GradpromptError(
      'prompt-not-separable',
      `in ${originOf(record, index)} the prompt shares a token with the text beside it`,
      {
        found: shorten(this.startText),
        expected: 'a prompt whose tokens are the same in every row',
        hint: 'begin the prompt with a space, and what follows it with a space or a line break',
      },
    )
  }

  /** What a record's answers are scored by, under some prompt. */
  scoring(record: DataRecord, index: number, prompt: readonly number[]): ScoringRow {
    const row = this.#builder.scoring(record, index)
    const { before } = this.#before(record, index)
    return { ...row, context: [...before, ...prompt, ...row.context.slice(before.length + this.start.length)] }
  }

  /** Whether the tokenizer gives a prompt's ids back in the middle of a row's text. */
  readsBack(prompt: readonly number[], { before, after, answer, text }: SearchRow): boolean {
    const ids = this.#encode(text.before + this.text(prompt) + text.after)
    const assembled = [...before, ...prompt, ...after, ...answer]
    return ids.length === assembled.length && assembled.every((id, i) => id === ids[i])
  }

  /** The same for a finished prompt, rendered anew through the template: some chat templates trim what they are given. */
  isFaithful(prompt: readonly number[], record: DataRecord, index: number): boolean {
    const text = this.text(prompt)
    return this.#isKept(text, record, index) && this.readsBack(prompt, this.row(record, index))
  }

  #isKept(text: string, record: DataRecord, index: number): boolean {
    const { before, after } = this.#cut(record, index)
    return before + text + after === this.#render(record, index, text)
  }

  /** Ids and text before the prompt. */
  #before(record: DataRecord, index: number): { before: number[]; beforeText: string } {
    if (!this.#isKept(this.startText, record, index))
      throw new GradpromptError('prompt-not-kept', "the model's chat template changes the prompt", {
        found: shorten(this.startText),
        expected: 'a prompt that stands in the rendered text as it is written',
        hint: 'many templates trim a message: let the prompt not begin or end one with a space',
      })
    const beforeText = this.#cut(record, index).before
    return { before: this.#encode(beforeText), beforeText }
  }

  /** The text before the answer, cut at the prompt. */
  #cut(record: DataRecord, index: number): { before: string; after: string } {
    // A character that the tokenizer never sees.
    const mark = '\u{f0000}'
    const [before, after, more] = this.#render(record, index, mark).split(mark)
    if (before === undefined || after === undefined || more !== undefined)
      throw new GradpromptError('special-token-in-data', `${originOf(record, index)} holds a character of the private use area`, {
        found: 'U+F0000',
        hint: 'take it out of the row',
      })
    return { before, after }
  }

  #render(record: DataRecord, index: number, prompt: string): string {
    const { template } = this.#options
    const filled = { ...record, [PROMPT_COLUMN]: prompt }
    if (typeof template === 'string') return compileTemplate(template).render(filled, index)
    const messages = template.map(({ role, content }) => ({ role, content: compileTemplate(content).render(filled, index) }))
    return this.#tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })
  }

  #encode(text: string): number[] {
    return this.#tokenizer.encode(text, { addSpecialTokens: typeof this.#options.template === 'string' })
  }
}

const beginsWith = (ids: readonly number[], beginning: readonly number[]) =>
  ids.length >= beginning.length && beginning.every((id, i) => id === ids[i])

const inseparable = (texts: readonly string[]) =>
  new GradpromptError('prompt-not-separable', 'the prompt, or a piece of it, shares a token with what stands before it', {
    found: shorten(texts.at(-1)!),
    expected: 'text that begins with a token of its own',
    hint: 'begin it with a space',
  })
