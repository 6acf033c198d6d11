import { createHash } from 'node:crypto'
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs'
import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { readText, sizeOf } from '../data/read.js'
import { shorten } from '../data/readers/records.js'
import { GradpromptError, refuseFullDisk, writing } from '../errors.js'
import { isRecord } from '../json.js'
import { replaceText } from '../store/atomic.js'
import { isTestTime, type TestTimeScores } from './test-time-scores.js'

/** What became of one row of an evaluation: a line of `evaluations/NAME.jsonl`. */
export interface RowResult {
  /** The row's place in the data, counted from 0. */
  readonly index: number
  /** What the row itself says: the values of the columns that the template names. */
  readonly input?: string
  /** The text that was answered. */
  readonly prompt?: string
  /** The text that was generated. */
  readonly text?: string
  /** Of several texts that all count: each of them. */
  readonly texts?: readonly string[]
  /** Whether a stop string or token ended it, or the budget of tokens. */
  readonly finishReason?: 'stop' | 'length'
  /** The answer that was found in it; absent when no rule found one. */
  readonly extracted?: string
  /** The rule that found it, and where: `[start, end)` of `text`, in UTF-16 units. */
  readonly rule?: string
  readonly span?: readonly [start: number, end: number]
  /** The right answer. */
  readonly answer?: string
  /** What the row counts for; 0 when scoring failed. */
  readonly score: number
  /** Of a scorer that was asked for, or that a task has: its name. */
  readonly scorer?: string
  /** Where an answer is right or wrong. */
  readonly correct?: boolean
  /** Further scores by name. */
  readonly scores?: Readonly<Record<string, number>>
  /** Of the answer, in nats. */
  readonly logProbability?: number
  /** The tokens of the answer, each with its log-probability, in nats. */
  readonly tokens?: readonly AnswerToken[]
  /** Of a likeliest answer: the share of the candidates' probability that it has. */
  readonly confidence?: number
  /** Of a prompt that was tuned on the row itself. */
  readonly testTime?: TestTimeScores
  /** Why the row could not be scored. */
  readonly error?: string
  /** Hash of the row, by which results over other data are told apart. */
  readonly row?: string
  /** Hash of all that decides the text (`resultKey`), by which it is known again. */
  readonly textKey?: string
  /** Hash of that and of what scored it, by which a finished row is known again. */
  readonly key?: string
}

export interface AnswerToken {
  readonly token: string
  readonly logProbability: number
}

const longestTail = 1 << 26

/**
 * A file of results that grows by a line as soon as a row is finished, in whatever order. Each line is a single write, so that a kill
 * tears at most the last one, which is done again.
 */
export class RowResultFile {
  readonly path: string
  #file: number
  readonly #rows: Map<number, RowResult>

  readonly #earlier: ReadonlyMap<string, RowResult>

  private constructor(path: string, file: number, rows: readonly RowResult[], earlier: readonly RowResult[]) {
    this.path = path
    this.#earlier = new Map(earlier.flatMap(row => (row.textKey === undefined ? [] : [[row.textKey, row]])))
    this.#file = file
    this.#rows = new Map(rows.map(row => [row.index, row]))
  }

  /**
   * Opens a file, or makes one, with the rows that are finished.
   * @param earlier rows of other files, whose texts are taken where they are those of rows here
   * @throws GradpromptError `invalid-results`, `cannot-write`
   */
  static async open(path: string, earlier: readonly RowResult[] = []): Promise<RowResultFile> {
    const file = openForAppending(path)
    try {
      const { size } = fstatSync(file)
      const { length, tail } = wholeLines(file, size, path)
      const text = length === 0 ? '' : await readText(path, size, { isExtended: true, length })
      // Before anything is changed: what stands there may be somebody else's.
      const rows = parseRows(text + tornOrWhole(tail, path), path)
      if (isJson(tail)) writeSync(file, '\n')
      else if (tail !== '') ftruncateSync(file, length)
      return new RowResultFile(path, file, rows, earlier)
    } catch (error) {
      closeSync(file)
      throw error
    }
  }

  /** The finished result of a row, if it is the one that `key` stands for. */
  finished(index: number, key: string): RowResult | undefined {
    const row = this.#rows.get(index)
    return row?.key === key ? row : undefined
  }

  /** A row whose text is the one that `textKey` stands for, whatever has scored it. */
  generated(index: number, textKey: string): RowResult | undefined {
    const row = this.#rows.get(index)
    return row?.textKey === textKey ? row : this.#earlier.get(textKey)
  }

  /** Appends a row before it returns. A row that is there already is replaced. */
  append(row: RowResult): void {
    const bytes = Buffer.from(lineOf(row))
    writing(this.path, () => {
      for (let written = 0; written < bytes.length; ) written += writeSync(this.#file, bytes, written)
    })
    this.#rows.set(row.index, row)
  }

  /** @throws GradpromptError `file-exists` where the file holds rows of other data, which stay as they are */
  requireOnly(belongs: (row: RowResult) => boolean): void {
    refuseOthers(this.path, this.rows, belongs)
  }

  /** In the order of the data. */
  get rows(): RowResult[] {
    return [...this.#rows.values()].sort((a, b) => a.index - b.index)
  }

  close(): void {
    closeSync(this.#file)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/**
 * Tells before any work whether results may be written to a path: there is nothing, or what stands there is of the same rows.
 * @throws GradpromptError `file-exists`, `invalid-results` where the file holds something else
 */
export async function refuseOtherRows(path: string, belongs: (row: RowResult) => boolean): Promise<void> {
  const size = (await stat(path).catch(() => undefined))?.size ?? 0
  if (size > 0) refuseOthers(path, await readRowResults(path), belongs)
}

function refuseOthers(path: string, rows: readonly RowResult[], belongs: (row: RowResult) => boolean): void {
  const other = rows.find(row => !belongs(row))
  if (other === undefined) return
  throw new GradpromptError('file-exists', `${path} holds the results of other rows`, {
    found: `row ${other.index + 1}, which is not scored now or holds other text (${rows.length} rows in all)`,
    expected: 'a file that does not exist, or results of the same rows',
    hint: 'name another file, or remove this one',
  })
}

/**
 * Writes the results of an evaluation that is never resumed, in the place of earlier ones.
 * @throws GradpromptError `cannot-write`
 */
export async function writeRowResults(path: string, rows: readonly RowResult[]): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true })
    await replaceText(path, rows.map(lineOf).join(''))
  } catch (cause) {
    refuseFullDisk(cause, path)
    throw cannotWrite(path, cause)
  }
}

/** The row's place comes first, so that a torn line is known. */
const lineOf = ({ index, ...row }: RowResult) => `${JSON.stringify({ index, ...row })}\n`

/**
 * Reads the results of an evaluation, in the order of the data: those of `RowResultFile`, or of another program, which needs on each line
 * no more than the row's number (`index` or `row`) and `score` or `correct`. A torn last line is left out; of several results of a row
 * the last counts.
 * @throws GradpromptError `file-not-found`, `invalid-results` (with the line), `data-too-large`, `invalid-encoding`
 */
export async function readRowResults(path: string): Promise<RowResult[]> {
  const size = await sizeOf(path)
  const rows = parseRows(await readText(path, size), path)
  if (rows.length === 0) throw invalid(path, 'has no results', 'no whole line')
  return [...new Map(rows.map(row => [row.index, row])).values()].sort((a, b) => a.index - b.index)
}

/** What decides a result. */
export interface ResultKey {
  /** Hash of the model. */
  readonly model: string
  /** Hash of what stands before the row's text: a soft prompt, an instruction, few-shot examples. */
  readonly prompt: string
  /** Hash of the row. */
  readonly row: string
  /** Whatever else has a say: sampling, seed, stop strings, task, width of the weights. */
  readonly settings?: unknown
}

/** The same for the same model, prompt, row and settings: 64 hexadecimal digits. */
export const resultKey = ({ model, prompt, row, settings = null }: ResultKey): string => hashOf([model, prompt, row, settings])

/** Of a value as JSON prints it, whatever the order of its keys: 64 hexadecimal digits (SHA-256). */
export const hashOf = (value: unknown): string =>
  createHash('sha256')
    .update(JSON.stringify(value, (_, part: unknown) => (isRecord(part) ? sorted(part) : part)))
    .digest('hex')

const sorted = (value: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))

function openForAppending(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true })
    return openSync(path, 'a+')
  } catch (cause) {
    refuseFullDisk(cause, path)
    throw cannotWrite(path, cause)
  }
}

const cannotWrite = (path: string, cause: unknown) =>
  new GradpromptError('cannot-write', `cannot write results to ${path}`, {
    found: cause instanceof Error ? cause.message : String(cause),
    cause,
  })

/** How many bytes of a file end with a line break, and what follows them. @throws GradpromptError `invalid-results` */
function wholeLines(file: number, size: number, path: string): { readonly length: number; readonly tail: string } {
  const chunk = Buffer.allocUnsafe(1 << 16)
  let length = 0
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - chunk.length)
    readSync(file, chunk, 0, end - start, start)
    const at = chunk.subarray(0, end - start).lastIndexOf(10)
    if (at !== -1) {
      length = start + at + 1
      break
    }
    end = size - start > longestTail ? 0 : start
  }
  if (size - length > longestTail) throw invalid(path, 'ends with what is no result', `${size - length} bytes without a line end`)
  const tail = Buffer.alloc(size - length)
  readSync(file, tail, 0, tail.length, length)
  return { length, tail: tail.toString('utf8') }
}

/**
 * A last line that has no end: one that lacks no more than that, or nothing where a kill has torn it.
 * @throws GradpromptError `invalid-results` where it is no beginning of a result
 */
function tornOrWhole(tail: string, path: string): string {
  if (isJson(tail)) return tail
  if (tail.startsWith(beginning) || beginning.startsWith(tail)) return ''
  throw invalid(path, 'ends with what is no result', shorten(tail))
}

const beginning = '{"index":'

function isJson(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'object'
  } catch {
    return false
  }
}

function parseRows(text: string, path: string): RowResult[] {
  const rows: RowResult[] = []
  const lines = text.split('\n')
  lines.forEach((line, i) => {
    if (line.trim() === '') return
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      if (i === lines.length - 1) return
      throw invalid(`${path}:${i + 1}`, 'is not JSON', shorten(line))
    }
    rows.push(toRow(value, `${path}:${i + 1}`))
  })
  return rows
}

function toRow(value: unknown, place: string): RowResult {
  if (!isRecord(value)) throw invalid(place, 'is not a result', shorten(JSON.stringify(value)))
  const index = value.index ?? value.row
  if (!Number.isSafeInteger(index) || (index as number) < 0)
    throw invalid(place, 'does not say which row it is', `index: ${shorten(JSON.stringify(index) ?? 'nothing')}`)
  const correct = value.correct === 0 || value.correct === 1 ? value.correct === 1 : value.correct
  if (correct !== undefined && typeof correct !== 'boolean')
    throw invalid(place, 'has no valid "correct"', `correct: ${shorten(JSON.stringify(correct))}`)
  const score = value.score ?? (correct === undefined ? undefined : Number(correct))
  if (typeof score !== 'number' || !Number.isFinite(score))
    throw invalid(place, 'has no score', `score: ${shorten(JSON.stringify(score) ?? 'nothing')}`)
  const row = isRecord(value) && typeof value.row === 'string' ? { row: value.row } : {}
  const texts = textFields.flatMap(name => (typeof value[name] === 'string' ? [[name, value[name]]] : []))
  return {
    index: index as number,
    ...Object.fromEntries(texts),
    ...(isTexts(value.texts) && { texts: value.texts }),
    ...(isSpan(value.span) && { span: value.span }),
    ...((value.finishReason === 'stop' || value.finishReason === 'length') && { finishReason: value.finishReason }),
    score,
    ...(correct !== undefined && { correct }),
    ...(isScores(value.scores) && { scores: value.scores }),
    ...(typeof value.logProbability === 'number' && { logProbability: value.logProbability }),
    ...(isTokens(value.tokens) && { tokens: value.tokens }),
    ...(isShare(value.confidence) && { confidence: value.confidence }),
    ...(isTestTime(value.testTime) && { testTime: value.testTime }),
    ...row,
  }
}

const textFields = ['input', 'prompt', 'text', 'extracted', 'rule', 'answer', 'scorer', 'error', 'textKey', 'key'] as const

const isTokens = (value: unknown): value is AnswerToken[] =>
  Array.isArray(value) &&
  value.every(one => isRecord(one) && typeof one.token === 'string' && typeof one.logProbability === 'number')

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(text => typeof text === 'string')

const isShare = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 1

const isSpan = (value: unknown): value is [number, number] =>
  Array.isArray(value) && value.length === 2 && value.every(place => Number.isSafeInteger(place))

const isScores = (value: unknown): value is Record<string, number> =>
  isRecord(value) && Object.values(value).every(score => Number.isFinite(score))

const invalid = (place: string, what: string, found: string) =>
  new GradpromptError('invalid-results', `${place} ${what}`, {
    found,
    expected: 'lines such as {"index": 0, "score": 1} or {"row": 0, "correct": true}',
  })
