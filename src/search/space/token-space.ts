import type { DataNotice } from '../../data/readers/reader.js'
import { type DataRecord, originOf, shorten } from '../../data/readers/records.js'
import { RowBuilder, type ScoringRow } from '../../data/rows/rows.js'
import { type AnswerEnd, answerEndNotices } from '../../data/texts/answer-end.js'
import type { LabelSet } from '../../data/texts/labels.js'
import { fillPrompt, PROMPT_COLUMN, requirePlace } from '../../data/texts/prompt-place.js'
import { compileMessages } from '../../data/texts/rendering.js'
import type { Template } from '../../data/texts/template.js'
import { GradpromptError } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import { type RowChoices, type SearchRow, writtenAnswer } from './search-row.js'

/** The prompt as a user writes it: text that is searched, and pieces of it that stay. */
export type PromptText = string | readonly (string | { readonly frozen: string })[]

/** What a space is made of. */
export interface TokenSpaceOptions {
  readonly template: Template
  readonly answer: string
  readonly labels: LabelSet | undefined
  readonly contextLength: number
  /** What ends an answer. */
  readonly end?: AnswerEnd | undefined
  readonly prompt: PromptText
  /** The model reasons, in so many tokens at most, before this text asks for the answer; it may have {column} placeholders. */
  readonly reasoning?: { readonly extractor: string; readonly maxNewTokens: number } | undefined
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
  /** What every answer ends with: of a closed set only where `overlap` asks for it. */
  readonly end: AnswerEnd | undefined
  /** Two labels of which the first one's tokens begin the second's. */
  readonly overlap: readonly [string, string] | undefined
  readonly #tokenizer: Tokenizer
  readonly #options: TokenSpaceOptions
  readonly #builder: RowBuilder
  /** Rows of extractor and answer. */
  readonly #answers: RowBuilder | undefined
  readonly #pieces: readonly { readonly text: string; readonly frozen: boolean }[]
  /** Ids of the frozen pieces, in their order. */
  readonly #frozen: readonly (readonly number[])[]

  /** @param record any row: the prompt's own ids are read off it */
  constructor(tokenizer: Tokenizer, options: TokenSpaceOptions, record: DataRecord) {
    requirePlace(options.template)
    this.#tokenizer = tokenizer
    this.#options = options
    const { prompt } = options
    this.#pieces = (typeof prompt === 'string' ? [prompt] : prompt).map(piece =>
      typeof piece === 'string' ? { text: piece, frozen: false } : { text: piece.frozen, frozen: true },
    )
    const { answer, labels, contextLength, end, reasoning } = options
    const template = fillPrompt(options.template, this.startText)
    const rows = { template, answer, labels, contextLength, numVirtualTokens: 0 }
    const unended = new RowBuilder(tokenizer, rows)
    // A search is scored by what it compares: a label's end counts where it tells labels apart. What stands behind reasoning is read on.
    const isEnded = reasoning === undefined && (labels === undefined || unended.overlap !== undefined)
    this.end = isEnded ? end : undefined
    this.overlap = reasoning === undefined ? unended.overlap : undefined
    this.#builder = this.end === undefined ? unended : new RowBuilder(tokenizer, { ...rows, end })
    if (reasoning !== undefined) this.#answers = new RowBuilder(tokenizer, { ...rows, template: reasoning.extractor })
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
    this.#frozen = this.#pieces.flatMap(({ frozen }, i) => (frozen ? [ids.slice(borders[i], borders[i + 1])] : []))
    if (this.free.length === 0)
      throw new GradpromptError('nothing-to-search', 'the prompt has no token that may change', {
        found: `prompt: ${JSON.stringify(options.prompt)}`,
        expected: 'text that is not frozen',
      })
  }

  get startText(): string {
    return this.#pieces.map(({ text }) => text).join('')
  }

  /** What a prompt on its own begins behind: BOS, or EOS where there is none. */
  get beginning(): number {
    const { bosTokenId, eosTokenId } = this.#tokenizer
    return bosTokenId ?? eosTokenId ?? 0
  }

  /**
   * The searched positions of a prompt, which may have become shorter or longer than the first: all but those of the frozen pieces,
   * which are found in their order.
   */
  freeOf(prompt: readonly number[]): readonly number[] {
    if (prompt.length === this.start.length) return this.free
    const frozen = new Set<number>()
    let from = 0
    for (const piece of this.#frozen) {
      const place = prompt.findIndex((_, i) => i >= from && piece.every((id, j) => prompt[i + j] === id))
      if (place < 0) continue
      for (let j = 0; j < piece.length; j++) frozen.add(place + j)
      from = place + piece.length
    }
    return [...prompt.keys()].filter(position => !frozen.has(position))
  }

  /** What is to be said of how answers end. */
  notices(answerEnd: string): DataNotice[] {
    return this.#answers === undefined ? answerEndNotices({ answerEnd }, this.#options.end, this.overlap) : []
  }

  /** The columns that rows need. */
  get columns(): string[] {
    return [...new Set([...this.#builder.columns, ...(this.#answers?.columns ?? [])])]
  }

  /** Whether a search may append tokens: not behind a piece that is frozen. */
  get canGrow(): boolean {
    return this.free.at(-1) === this.start.length - 1
  }

  /** Whether there is one piece that is searched, which can be said in other words as a whole. */
  get isOnePiece(): boolean {
    return this.#pieces.filter(({ frozen }) => !frozen).length === 1
  }

  /** What a prompt says in that piece. */
  wordingOf(prompt: readonly number[]): string {
    const { head, tail } = this.#around()
    const text = this.text(prompt)
    return text.slice(head.length, text.length - tail.length).trim()
  }

  /**
   * Ids of a prompt that says a text in that piece, with the white space that the first prompt had around its own: as the tokenizer
   * reads it in a row, or by itself where it is joined to what stands beside it there, or where no row is to have a say.
   */
  rewritten(wording: string, row?: SearchRow): number[] {
    const { head, tail } = this.#around()
    const whole = head + wording + tail
    if (row === undefined) return this.#tokenizer.encode(whole, { addSpecialTokens: false })
    const { before, after, text } = row
    const ids = this.#encode(text.before + whole + text.after)
    const behind = [...after, ...(this.#answers === undefined ? writtenAnswer(row) : [])]
    const end = ids.length - behind.length
    const isCut = end > before.length && beginsWith(ids, before) && behind.every((id, i) => ids[end + i] === id)
    return isCut ? ids.slice(before.length, end) : this.#tokenizer.encode(whole, { addSpecialTokens: false })
  }

  /** Tokens of a row around its prompt, with its longest answer. */
  lengthAround({ before, after, extractor, answer, choices }: SearchRow): number {
    const words = choices?.words.map(word => choices.after.length + word.length) ?? []
    const behind = Math.max(after.length + extractor.length + answer.length, ...words)
    return before.length + behind + (this.#options.reasoning?.maxNewTokens ?? 0)
  }

  /** Whether a prompt is text alone. */
  isPlain(prompt: readonly number[]): boolean {
    return prompt.every(id => !this.#tokenizer.specialTokenIds.has(id))
  }

  /** What stays on both sides of the one searched piece: frozen text, and the piece's own white space. */
  #around(): { head: string; tail: string } {
    const place = this.#pieces.findIndex(({ frozen }) => !frozen)
    const { text } = this.#pieces[place]!
    const join = (pieces: readonly { readonly text: string }[]) => pieces.map(piece => piece.text).join('')
    const words = text.trim()
    const start = text.indexOf(words)
    return {
      head: join(this.#pieces.slice(0, place)) + text.slice(0, words === '' ? text.length : start),
      tail: (words === '' ? '' : text.slice(start + words.length)) + join(this.#pieces.slice(place + 1)),
    }
  }

  text(prompt: readonly number[]): string {
    return this.#tokenizer.decode(prompt)
  }

  /**
   * A record's row.
   * @throws GradpromptError `prompt-not-separable`, `prompt-not-kept`, and as `RowBuilder.training` does; `row-too-long` when there is no
   *   room for the reasoning
   */
  row(record: DataRecord, index: number): SearchRow {
    const { before, beforeText } = this.#before(record, index)
    if (this.#answers !== undefined) return this.#reasoningRow(this.#answers, record, index)
    const { ids, labels, segments } = this.#builder.training(record, index)
    const end = before.length + this.start.length
    const border = labels.findIndex(label => label !== -100)
    const last = segments.at(-1)!
    const afterText = segments
      .filter(({ role }) => role !== 'end')
      .map(({ text }) => text)
      .join('')
      .slice(beforeText.length + this.startText.length)
    const text = { before: beforeText, after: afterText }
    const choices = this.#choices(record, index, end)
    const row = {
      index,
      before,
      after: ids.slice(end, border),
      extractor: [],
      answer: ids.slice(border),
      ...(last.role === 'end' && { end: last.ids }),
      text,
      ...(choices && { choices }),
    }
    const isWhole = border >= end && (choices === undefined || choices.words.every(word => word.length > 0))
    if (isWhole && beginsWith(ids.slice(before.length), this.start) && this.readsBack(this.start, row)) return row
    throw this.#joined(record, index)
  }

  #reasoningRow(answers: RowBuilder, record: DataRecord, index: number): SearchRow {
    const { before: beforeText, after: afterText } = this.#cut(record, index)
    const before = this.#encode(beforeText)
    const context = this.#encode(beforeText + this.startText + afterText)
    // A token that straddles the border belongs to the answer, so the answer is never empty.
    const { ids, kinds } = answers.example(record, index)
    const border = kinds.indexOf('label')
    const end = before.length + this.start.length
    const text = { before: beforeText, after: afterText }
    const row = { index, before, after: context.slice(end), extractor: ids.slice(0, border), answer: ids.slice(border), text }
    if (!beginsWith(context.slice(before.length), this.start)) throw this.#joined(record, index)
    const { contextLength, reasoning } = this.#options
    const length = context.length + reasoning!.maxNewTokens + ids.length
    if (length <= contextLength) return row
    throw new GradpromptError('row-too-long', `${originOf(record, index)} and its reasoning do not fit into the context`, {
      found: `${context.length} tokens with the prompt, ${reasoning!.maxNewTokens} for the reasoning, ${ids.length} for extractor and answer`,
      expected: `at most ${contextLength} in all`,
      hint: 'lower search.maxNewTokens, or leave such rows out',
    })
  }

  #joined(record: DataRecord, index: number): GradpromptError {
    return new GradpromptError(
      'prompt-not-separable',
      `in ${originOf(record, index)} the prompt shares a token with the text beside it`,
      {
        found: shorten(this.startText),
        expected: 'a prompt whose tokens are the same in every row',
        hint: 'begin the prompt with a space, and what follows it with a space or a line break',
      },
    )
  }

  /** What the closed set of answers makes of a record; `end` is where the prompt ends. A word is empty where it would eat into the prompt. */
  #choices(record: DataRecord, index: number, end: number): RowChoices | undefined {
    if (this.#options.labels === undefined) return undefined
    const { context, candidates, target } = this.#builder.scoring(record, index)
    return { after: context.slice(end), words: candidates.map(({ ids }) => (context.length < end ? [] : ids)), target }
  }

  /** What a record's answers are scored by, under some prompt. */
  scoring(record: DataRecord, index: number, prompt: readonly number[]): ScoringRow {
    const row = this.#builder.scoring(record, index)
    const { before } = this.#before(record, index)
    return { ...row, context: [...before, ...prompt, ...row.context.slice(before.length + this.start.length)] }
  }

  /** Whether the tokenizer gives a prompt's ids back in the middle of a row's text. */
  readsBack(prompt: readonly number[], row: SearchRow): boolean {
    const { before, after, text } = row
    const ids = this.#encode(text.before + this.text(prompt) + text.after)
    // Behind an extractor the answer follows tokens of the model's own, which no text stands for.
    const assembled = [...before, ...prompt, ...after, ...(this.#answers === undefined ? writtenAnswer(row) : [])]
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
    const rendered = compileMessages(template).render(filled, index)
    return typeof rendered === 'string' ? rendered : this.#tokenizer.applyChatTemplate(rendered, { addGenerationPrompt: true })
  }

  #encode(text: string): number[] {
    return this.#tokenizer.encode(text, { addSpecialTokens: typeof this.#options.template === 'string' })
  }
}

export type { RowChoices, SearchRow } from './search-row.js'

/** By which prompts are told apart. */
export const keyOf = (prompt: readonly number[]) => prompt.join(' ')

const beginsWith = (ids: readonly number[], beginning: readonly number[]) =>
  ids.length >= beginning.length && beginning.every((id, i) => id === ids[i])

const inseparable = (texts: readonly string[]) =>
  new GradpromptError('prompt-not-separable', 'the prompt, or a piece of it, shares a token with what stands before it', {
    found: shorten(texts.at(-1)!),
    expected: 'text that begins with a token of its own',
    hint: 'begin it with a space',
  })
