import { randomUUID } from 'node:crypto'
import { columnValue, type DataRecord, originOf } from '../data/records.js'
import { Registry } from '../registry.js'
import { compilePattern } from './answers/extraction.js'
import { exactMatch, rougeL, squadF1 } from './answers/text-metrics.js'

/** What a text counts for. */
export interface Score {
  /** Any finite number; the built-in scorers give 0 to 1. */
  readonly score: number
  /** Where the text is right or wrong. */
  readonly correct?: boolean
  /** Further scores by name. */
  readonly scores?: Readonly<Record<string, number>>
}

/** Scores the text that was generated for a row. */
export interface Scorer {
  readonly name: string
  /** Tells apart what a scorer of the user's own was at different times: a hash of its file. */
  readonly version?: string
  /** @throws whatever it likes: `applyScorer` turns that into a row that is counted as failed */
  score(row: DataRecord, text: string): unknown
}

/** A scorer of the user's own: the default export of a module, or its export `score`. It may be asynchronous. */
export type ScorerFunction = (row: DataRecord, text: string) => ScorerResult | Promise<ScorerResult>
export type ScorerResult = number | boolean | (Score & Readonly<Record<string, unknown>>)

/** What people's own scorers are: a function, or an object with one. */
export type OwnScorer = ScorerFunction | Pick<Scorer, 'name' | 'score'>

/** The built-in scorers compare the text with the row's column `answer`. */
const builtIn: readonly Scorer[] = [
  {
    name: 'exact-match',
    score: (row: DataRecord, text: string) => exactMatch(text.trim(), columnValue(row, 'answer', 0).trim()),
  },
  { name: 'f1', score: (row: DataRecord, text: string) => squadF1(text, columnValue(row, 'answer', 0)) },
  { name: 'rouge-l', score: (row: DataRecord, text: string) => rougeL(text, columnValue(row, 'answer', 0)) },
  {
    name: 'regular-expression',
    score: (row: DataRecord, text: string) => compilePattern(columnValue(row, 'answer', 0), 'u').test(text),
  },
]

/** Every scorer by its name; people's own join in. */
export const scorers = new Registry<Scorer>(
  {
    word: 'scorer',
    exports: ['score', 'scorer'],
    name: 'name',
    requires: { score: 'a function' },
    complete: given => (typeof given === 'function' ? { name: given.name || 'own scorer', score: given } : given),
    // A row is a scorer's to change. What a function in memory computes is nobody's to tell: scores of another process do not count.
    prepare: ({ name, score }, version = randomUUID()) => ({ name, version, score: (row, text) => score({ ...row }, text) }),
  },
  builtIn.map((scorer): [string, Scorer] => [scorer.name, scorer]),
)

/**
 * A built-in scorer by its name, or one of people's own: a function, an object, or the path of a module (`./my-scorer.js`).
 * @throws GradpromptError `unknown-scorer`, `file-not-found`, `invalid-scorer`
 */
export const loadScorer = async (given: string | OwnScorer): Promise<Scorer> => scorers.get(await scorers.load(given))

/**
 * What a scorer says of a text. One that throws, or gives back what is no score, does not end the evaluation: the row counts 0 and
 * says why.
 * @param index the row's place, counted from 0
 */
export async function applyScorer(
  scorer: Scorer,
  row: DataRecord,
  index: number,
  text: string,
): Promise<Score & { readonly error?: string }> {
  try {
    return toScore(await scorer.score(row, text))
  } catch (error) {
    return { score: 0, error: `${originOf(row, index)}: ${messageOf(error)}` }
  }
}

function toScore(value: unknown): Score {
  if (typeof value === 'boolean') return { score: Number(value), correct: value }
  if (typeof value === 'number' && Number.isFinite(value)) return { score: value }
  if (typeof value !== 'object' || value === null || !('score' in value)) throw notAScore(value)
  const { score, correct, ...rest } = value as Readonly<Record<string, unknown>>
  if (typeof score === 'object' || (correct !== undefined && typeof correct !== 'boolean')) throw notAScore(value)
  const scores = Object.entries(rest).filter((entry): entry is [string, number] => Number.isFinite(entry[1]))
  return {
    ...toScore(score),
    ...(correct !== undefined && { correct }),
    ...(scores.length > 0 && { scores: Object.fromEntries(scores) }),
  }
}

const notAScore = (value: unknown) =>
  new Error(`the scorer gave ${describe(value)}; expected a number, a boolean, or { score, correct }`)

function describe(value: unknown): string {
  try {
    return (typeof value === 'object' ? JSON.stringify(value) : String(value)).slice(0, 80)
  } catch {
    return `the ${typeof value} ${Object.prototype.toString.call(value)}`
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
