import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { columnValue, type DataRecord, originOf } from '../data/records.js'
import { GradpromptError, nearest } from '../errors.js'
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

/** The built-in scorers compare the text with the row's column `answer`. */
export const scorers: ReadonlyMap<string, Scorer> = new Map(
  [
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
  ].map(scorer => [scorer.name, scorer]),
)

/**
 * A built-in scorer by its name, or one of the user's own by its file's path (`./my-scorer.js`), which is loaded and run.
 * @throws GradpromptError `unknown-scorer`, `file-not-found`, `invalid-scorer`
 */
export async function loadScorer(name: string): Promise<Scorer> {
  const builtIn = scorers.get(name)
  if (builtIn !== undefined) return builtIn
  if (!isPath(name)) {
    const known = [...scorers.keys()]
    const meant = nearest(name, known)
    throw new GradpromptError('unknown-scorer', 'there is no such scorer', {
      found: name,
      expected: `one of ${known.join(', ')}, or the path of a JavaScript file`,
      hint: meant === undefined ? 'a path begins with ./ or ends in .js or .mjs' : `did you mean ${meant}?`,
    })
  }
  const path = resolve(name)
  const found = await stat(path).catch(() => undefined)
  if (!found?.isFile())
    throw new GradpromptError('file-not-found', `there is no scorer at ${name}`, {
      expected: 'a JavaScript file',
      hint: 'paths are relative to the working directory',
    })
  const module = await importModule(path, name)
  const score = module.default ?? module.score
  if (typeof score === 'function') {
    const version = createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
    return { name, version, score: (row, text) => (score as ScorerFunction)({ ...row }, text) }
  }
  throw new GradpromptError('invalid-scorer', `${name} does not export a scorer`, {
    found: `the exports ${Object.keys(module).join(', ') || '(none)'}`,
    expected: 'export default (row, text) => a number, a boolean, or { score, correct }',
  })
}

const isPath = (name: string) => isAbsolute(name) || /^\.{1,2}[\\/]/.test(name) || /\.[cm]?js$/.test(name)

async function importModule(path: string, name: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>
  } catch (cause) {
    throw new GradpromptError('invalid-scorer', `${name} cannot be loaded`, { found: messageOf(cause), cause })
  }
}

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
