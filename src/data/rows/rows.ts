import { changedRecord, type DataRecord, originOf, setOrigin, shorten } from '../readers/records.js'
import { type AnswerEnd, beginningOf, withEnd } from '../texts/answer-end.js'
import type { Encoder } from '../texts/encoder.js'
import { labelWord } from '../texts/labels.js'
import { isLiked } from '../texts/preferences.js'
import { type CompiledMessages, compileMessages, plainRecord, valuesOf } from '../texts/rendering.js'
import { readableText, refusePredicted, softEncoder, softTexts } from '../texts/soft-tokens.js'
import { type CompiledTemplate, compileTemplate } from '../texts/template.js'
import { classWords } from '../texts/verbalizer.js'
import { commonPrefix, requireBorder } from './border.js'
import { largestFit, mostCharacters, rowTooLong, shorteningOf } from './cut.js'
import { contextKinds, type ExampleRow } from './examples.js'
import { MarkupGuard } from './markup.js'
import {
  candidateOf,
  type RowOptions,
  rowTask,
  type ScoringRow,
  type Segment,
  type TrainingRow,
  taskCandidates,
} from './types.js'

export * from './types.js'

interface Fitted {
  readonly record: DataRecord
  readonly truncated: boolean
}

// A tokenizer gives at most one id a byte; besides, it may add BOS, EOS and a leading space.
const addedIds = 4

const noRoom = 'the virtual tokens alone leave no room for a text: have fewer of them (method.numVirtualTokens)'

/**
 * Makes rows of token ids from records, when they are asked for.
 *
 * Text is tokenised jointly: context and answer as one text, and the answer is what follows the longest beginning that it shares with
 * the context's own ids. So the ids are those that any consumer of the joined text sees, and a token that straddles the border is
 * part of the answer. A text template is encoded with the special tokens that the tokenizer adds; chat messages are rendered by the
 * model's chat template, which writes its own. What ends an answer is no part of that text: its ids follow.
 */
export class RowBuilder {
  readonly #tokenizer: Encoder
  readonly #options: RowOptions
  readonly #template: CompiledMessages
  readonly #softTexts: readonly (readonly string[])[] | undefined
  readonly #answer: CompiledTemplate
  readonly #other: CompiledTemplate | undefined
  readonly #trainingRows = new WeakMap<DataRecord, TrainingRow>()
  readonly #scoringRows = new WeakMap<DataRecord, ScoringRow>()
  readonly #fitted = new WeakMap<DataRecord, Fitted>()
  readonly #markup: MarkupGuard
  /** The token that ends any text. */
  #last: number | undefined
  #overlap: { readonly words: readonly [string, string] | undefined } | undefined

  constructor(tokenizer: Encoder, options: RowOptions) {
    const { template, answer, other, soft } = options
    this.#tokenizer = soft ? softEncoder(tokenizer, soft) : tokenizer
    this.#softTexts = soft && softTexts(template, soft)
    this.#options = options
    this.#template = compileMessages(template)
    this.#answer = compileTemplate(answer)
    this.#other = other === undefined ? undefined : compileTemplate(other)
    const encodePlain = (plain: DataRecord) => {
      const answers = Object.fromEntries(this.#answer.columns.map(column => [column, 'x']))
      return this.#encode(this.#contextText(plain, 0) + this.#answer.render({ ...plain, ...answers }))
    }
    this.#markup = new MarkupGuard(this.#tokenizer, this.#template, encodePlain, this.#softTexts)
    refusePredicted(this.#answer)
  }

  /** The columns that rows need: the template's, then the answer's. */
  get columns(): string[] {
    return [...new Set([...this.#template.columns, ...this.#answer.columns, ...(this.#other?.columns ?? [])])]
  }

  /**
   * Two label words of which the first one's tokens begin the second's, as they stand in a row whose text says nothing: all labels are
   * then scored with their ends, where there are any.
   */
  get overlap(): readonly [string, string] | undefined {
    this.#overlap ??= { words: this.#findOverlap() }
    return this.#overlap.words
  }

  /**
   * What is learned behind every answer. Labels of which none begins another are told apart without an end, and from few rows learning one
   * costs accuracy: they have it only where somebody has named it.
   */
  get learnedEnd(): AnswerEnd | undefined {
    const { end, isEndNamed, labels } = this.#options
    if (end === undefined || labels === undefined || isEndNamed) return end
    return this.overlap === undefined ? undefined : end
  }

  #findOverlap(): readonly [string, string] | undefined {
    const { labels } = this.#options
    if (labels === undefined) return undefined
    const { texts, border } = this.#candidates(this.#sayingNothing('x'), 0)
    const found = beginningOf(texts.map(ids => ids.slice(border)))
    const words = classWords(labels).flat()
    return found && [words[found[0]]!, words[found[1]]!]
  }

  /**
   * The row that is learned from: the context, then the record's own answer and its end.
   * @param index the record's place, counted from 0; it names the row in messages when no file does
   * @throws GradpromptError `missing-column`, `unknown-label`, `row-too-long`, `special-token-in-data`, `empty-answer`, `empty-context`
   */
  training(record: DataRecord, index: number): TrainingRow {
    const known = this.#trainingRows.get(record)
    if (known !== undefined) return known.index === index ? known : { ...known, index }
    const { record: fitted, truncated } = this.#fit(record, index)
    const context = this.#contextText(fitted, index)
    const answer = this.#ownAnswer(fitted, index)
    const contextIds = this.#encode(context)
    const text = this.#joint(context, answer, fitted, index)
    const end = this.learnedEnd
    const { ids, length } = this.#ended(text, end)
    const texts = [text, ...(this.#other ? [this.#joint(context, this.#other.render(fitted, index), fitted, index)] : [])]
    const border = texts.reduce((shortest, one) => Math.min(shortest, commonPrefix(one, contextIds)), contextIds.length)
    requireBorder(border, texts, originOf(fitted, index), this.#options)
    const isClean = border === contextIds.length
    const [before, after] = [ids.slice(0, border), ids.slice(border, length)]
    const segments: Segment[] = [
      { role: 'context', ids: before, text: this.#readable(isClean ? context : this.#tokenizer.decode(before)) },
      { role: 'label', ids: after, text: isClean ? answer : this.#tokenizer.decode(after) },
      { role: 'end', ids: ids.slice(length), text: end?.text ?? '' },
    ]
    const labels = ids.map((id, i) => (i < border ? -100 : id))
    const row = {
      index,
      ids,
      labels,
      segments: segments.filter(segment => segment.ids.length > 0),
      truncated,
      ...this.#task(record, index),
      ...this.#liked(record, index),
    }
    this.#trainingRows.set(record, row)
    return row
  }

  /**
   * The row that is scored: the context that all candidates share, and what each adds to it.
   * @throws GradpromptError as `training` does
   */
  scoring(record: DataRecord, index: number): ScoringRow {
    const known = this.#scoringRows.get(record)
    if (known !== undefined) return known.index === index ? known : { ...known, index }
    const task = this.#options.tasks?.ofAnswer ? {} : this.#task(record, index)
    const own = { ...task, ...this.#among(record, index), ...this.#liked(record, index) }
    const row = { ...this.#scored(record, index), ...own }
    this.#scoringRows.set(record, row)
    return row
  }

  #scored(record: DataRecord, index: number): ScoringRow {
    const { labels, tasks } = this.#options
    const { record: fitted, truncated } = this.#fit(record, index)
    const end = labels === undefined || this.overlap !== undefined ? this.#options.end : undefined
    const { answers, contextIds, texts, border } = this.#candidates(fitted, index)
    requireBorder(border, texts, originOf(fitted, index), this.#options)
    const joints = texts.map(text => this.#ended(text, end).ids)
    const word = labels === undefined ? undefined : labelWord(labels, fitted, index)
    const words = labels && classWords(labels).flat()
    return {
      index,
      context: contextIds.slice(0, border),
      candidates: joints.map((ids, i) => candidateOf(words?.[i] ?? answers[i]!, ids.slice(border), tasks)),
      target: labels === undefined ? 0 : word === undefined ? -1 : labels.candidates.indexOf(word),
      truncated,
    }
  }

  /** The ids of a row with each of its answers, and how many of these all have in common with the context. */
  #candidates(record: DataRecord, index: number) {
    const context = this.#contextText(record, index)
    const answers = this.#answers(record, index)
    const texts = answers.map(answer => this.#joint(context, answer, record, index))
    const contextIds = this.#encode(context)
    const border = texts.reduce((shortest, ids) => Math.min(shortest, commonPrefix(ids, contextIds)), contextIds.length)
    return { answers, contextIds, texts, border }
  }

  /**
   * A row that says nothing: a text stands where the template has columns. What the model answers all the same is its prejudice.
   * @returns a row without a label and without a task
   */
  contentFree(text: string): ScoringRow {
    return this.#scored(this.#sayingNothing(text), 0)
  }

  #sayingNothing(text: string): DataRecord {
    const { labels } = this.#options
    const columns = this.columns.filter(column => column !== labels?.column)
    const record = { ...Object.fromEntries(columns.map(column => [column, text])), ...plainRecord(this.#template, text) }
    if (labels !== undefined) delete record[labels.column]
    setOrigin(record, `the content-free text ${shorten(text)}`)
    return record
  }

  /** A training row to show before others: without the special tokens that the tokenizer puts before a text, and without its end. */
  example(record: DataRecord, index: number): ExampleRow {
    const { ids: all, labels, segments } = this.training(record, index)
    const ids = segments.at(-1)?.role === 'end' ? all.slice(0, -segments.at(-1)!.ids.length) : all
    const { record: fitted } = this.#fit(record, index)
    const context = ids.slice(
      0,
      labels.findIndex(label => label !== -100),
    )
    const kinds = contextKinds(context, valuesOf(this.#template, fitted, index), part => this.#tokenizer.decode(part))
    const added = commonPrefix(context, this.#encode(''))
    return {
      ids: ids.slice(added),
      kinds: [...kinds.slice(added), ...ids.slice(context.length).map(() => 'label' as const)],
    }
  }

  /** Throws what `training` would for a row too long or with an unknown label; tokenises few rows. @returns whether text is cut */
  check(record: DataRecord, index: number): boolean {
    this.#ownAnswer(record, index)
    this.#task(record, index)
    return this.#fit(record, index).truncated
  }

  /** The UTF-8 bytes of a row's text, and the tokens of its end: grows with its tokens, and costs no tokenisation. */
  byteLength(record: DataRecord, index: number): number {
    const bytes = Buffer.byteLength(this.#contextText(record, index)) + Buffer.byteLength(this.#ownAnswer(record, index))
    return bytes + this.#endLength
  }

  #task(record: DataRecord, index: number): { readonly task?: number } {
    return rowTask(record, index, this.#options)
  }

  #liked(record: DataRecord, index: number): { readonly liked?: boolean } {
    const { liked } = this.#options
    if (liked === undefined) return {}
    return { liked: typeof liked === 'boolean' ? liked : isLiked(record, liked.column, index) }
  }

  #among(record: DataRecord, index: number): { readonly among?: readonly number[] } {
    const { tasks, labels } = this.#options
    const among = tasks && labels && taskCandidates(record, index, tasks, labels)
    return among === undefined ? {} : { among }
  }

  #contextText(record: DataRecord, index: number): string {
    const rendered = this.#template.render(record, index, this.#softTexts)
    if (typeof rendered === 'string') return rendered
    return this.#tokenizer.applyChatTemplate(rendered, { addGenerationPrompt: true })
  }

  #readable(text: string): string {
    const { soft } = this.#options
    return soft ? readableText(text, soft) : text
  }

  #ownAnswer(record: DataRecord, index: number): string {
    const { labels } = this.#options
    const word = labels === undefined ? undefined : labelWord(labels, record, index)
    return word === undefined ? this.#answer.render(record, index) : this.#answerWith(word, record, index)
  }

  /** A candidate's text each; when there is no label set the record's own answer, and in pairs the other one. */
  #answers(record: DataRecord, index: number): string[] {
    const { labels } = this.#options
    if (labels === undefined) return [this.#ownAnswer(record, index), ...(this.#other ? [this.#other.render(record, index)] : [])]
    return classWords(labels).flatMap(words => words.map(word => this.#answerWith(word, record, index)))
  }

  #answerWith(word: string, record: DataRecord, index: number): string {
    const { labels } = this.#options
    if (labels === undefined) return this.#answer.render(record, index)
    return this.#answer.render(changedRecord(record, index, { [labels.column]: word }), index)
  }

  #encode(text: string): number[] {
    return this.#tokenizer.encode(text, { addSpecialTokens: typeof this.#options.template === 'string' })
  }

  #joint(context: string, answer: string, record: DataRecord, index: number): number[] {
    const text = context + answer
    const ids = this.#encode(text)
    this.#markup.check(text, ids, record, index)
    return ids
  }

  #ended(text: readonly number[], end: AnswerEnd | undefined) {
    this.#last ??= end && this.#encode('x').at(-1)
    return withEnd(text, end, this.#last === this.#tokenizer.eosTokenId ? this.#last : undefined)
  }

  get #endLength(): number {
    return this.learnedEnd?.ids.length ?? 0
  }

  /** The record, or one whose longest text is cut so that every candidate fits: training and scoring then see the same text. */
  #fit(record: DataRecord, index: number): Fitted {
    const known = this.#fitted.get(record)
    if (known !== undefined) return known
    const room = this.#options.contextLength - this.#options.numVirtualTokens
    const context = this.#contextText(record, index)
    const answers = this.#answers(record, index)
    const bytes = Buffer.byteLength(context) + Math.max(...answers.map(answer => Buffer.byteLength(answer)))
    if (bytes + addedIds + this.#endLength <= room) return { record, truncated: false }
    // A text of megabytes is refused, or cut, before it is tokenised as a whole.
    const most = mostCharacters(room, this.#tokenizer)
    const isFar = context.length > most
    const length = isFar ? context.length : this.#length(record, index)
    const virtual = this.#options.numVirtualTokens
    const size = isFar
      ? `${length} characters, and ${virtual} virtual tokens`
      : `${length + virtual} tokens, ${virtual} of them virtual`
    const fitted = !isFar && length <= room ? { record, truncated: false } : this.#cut(record, index, size, room, most)
    this.#fitted.set(record, fitted)
    return fitted
  }

  #cut(record: DataRecord, index: number, size: string, room: number, most: number): Fitted {
    const refused = (hint: string) =>
      rowTooLong(originOf(record, index), size, this.#options.contextLength, room > 0 ? hint : noRoom)
    if (!this.#options.truncate) throw refused('cut the text with train.truncate (--truncate), or drop the row')
    const answered = [...this.#answer.columns, ...(this.#other?.columns ?? [])]
    const columns = this.columns.filter(column => !answered.includes(column))
    const shortening = shorteningOf(record, index, columns, this.#template.conversations)
    const fits = (kept: number) => this.#length(shortening!.to(kept), index) <= room
    if (shortening === undefined || !fits(0))
      throw refused('the template and the answer leave no room for the text: shorten them')
    return { record: shortening.to(largestFit(Math.min(shortening.size, most), fits)), truncated: true }
  }

  /** Tokens of the row with its longest candidate, soft prompt excluded. */
  #length(record: DataRecord, index: number): number {
    const context = this.#contextText(record, index)
    const lengths = this.#answers(record, index).map(answer => this.#joint(context, answer, record, index).length)
    return Math.max(...lengths) + this.#endLength
  }
}
