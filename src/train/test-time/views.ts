import { uniformInt } from 'pure-rand/distribution/uniformInt'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { changedRecord, columnValue, type DataRecord } from '../../data/readers/records.js'
import type { RowBuilder, ScoringRow } from '../../data/rows/rows.js'
import { GradpromptError } from '../../errors.js'
import { hashOf } from '../../evaluate/row-results.js'
import { randomGenerator, streams } from '../../random.js'
import type { TestTimeOptions } from './options.js'

/**
 * The views of a row: texts that should belong to the same class. What is drawn is a function of the seed and of the row's own texts, so that
 * a row has the same views wherever it stands in the data. It knows no model: paraphrases come from whoever writes them.
 */

/** Writes a text in other words. @param seed of what is drawn @returns as many as came to something, none twice */
export type Paraphrase = (text: string, count: number, seed: number) => Promise<readonly string[]>

export interface ViewSource {
  /** Of the row under its template, then under each further one. */
  readonly builders: readonly RowBuilder[]
  /** The columns whose values are texts that words can be left out of. */
  readonly columns: readonly string[]
  readonly options: Pick<TestTimeOptions, 'views' | 'dropout' | 'paraphrases'>
  readonly seed: number
  readonly paraphrase?: Paraphrase | undefined
}

/** For each view that is wanted, how often words are drawn before a short text is taken to have no further one. */
const draws = 4

/**
 * The row itself, then its views under further templates, in other words, and with words left out. A text of few words has fewer of the last
 * than are asked for: none stands there twice.
 * @throws GradpromptError as making a row does
 */
export async function viewsOf(record: DataRecord, index: number, source: ViewSource): Promise<ScoringRow[]> {
  const { builders, columns, options, seed, paraphrase } = source
  const texts = Object.fromEntries(columns.map(column => [column, columnValue(record, column, index)]))
  const own = Number.parseInt(hashOf(texts).slice(0, 8), 16)
  const rows = builders.map(builder => builder.scoring(record, index))
  const seen = new Set([keyOf(texts)])
  const add = (changed: Readonly<Record<string, string>>) => {
    if (seen.has(keyOf(changed))) return
    seen.add(keyOf(changed))
    const row = fitting(builders[0]!, changedRecord(record, index, changed), index)
    if (row !== undefined) rows.push(row)
  }
  const longest = columns.reduce<string | undefined>(
    (most, column) => (most === undefined || texts[column]!.length > texts[most]!.length ? column : most),
    undefined,
  )
  if (paraphrase !== undefined && options.paraphrases > 0 && longest !== undefined && texts[longest]!.trim() !== '') {
    const drawn = uniformInt(randomGenerator(seed, streams.view, own, 1), 0, 2 ** 31 - 1)
    for (const text of await paraphrase(texts[longest]!, options.paraphrases, drawn)) add({ ...texts, [longest]: text })
  }
  const random = randomGenerator(seed, streams.view, own, 0)
  const parted = columns.map(column => [column, wordsOf(texts[column]!)] as const)
  for (let tries = draws * (options.views - rows.length); tries > 0 && rows.length < options.views; tries--)
    add(Object.fromEntries(parted.map(([column, text]) => [column, withoutWords(text, options.dropout, random)])))
  return rows
}

/** What is too long in other words, or spells a special token, is no view. */
function fitting(builder: RowBuilder, record: DataRecord, index: number): ScoringRow | undefined {
  try {
    return builder.scoring(record, index)
  } catch (error) {
    if (error instanceof GradpromptError && unfit.has(error.code)) return undefined
    throw error
  }
}

const unfit = new Set(['row-too-long', 'special-token-in-data'])

const keyOf = (texts: Readonly<Record<string, string>>) => JSON.stringify(Object.values(texts))

/** A text as its words and what stands between them. */
export interface PartedText {
  readonly parts: readonly string[]
  /** Places of the words among the parts. */
  readonly words: readonly number[]
}

/** Words as Unicode parts texts, so that those of languages without spaces are known as well. */
export function wordsOf(text: string): PartedText {
  const segments = [...new Intl.Segmenter('en', { granularity: 'word' }).segment(text)]
  return {
    parts: segments.map(({ segment }) => segment),
    words: segments.flatMap(({ isWordLike }, i) => (isWordLike === true ? [i] : [])),
  }
}

/**
 * A text in which each word, with the space behind it, is left out by chance: at least one, and never all. One of fewer than two words stays as
 * it is.
 */
export function withoutWords({ parts, words }: PartedText, rate: number, random: RandomGenerator): string {
  if (words.length < 2) return parts.join('')
  const dropped = new Set(words.filter(() => uniformInt(random, 0, resolution - 1) < rate * resolution))
  const drawn = words[uniformInt(random, 0, words.length - 1)]!
  if (dropped.size === 0) dropped.add(drawn)
  if (dropped.size === words.length) dropped.delete(drawn)
  const isSpace = (i: number) => parts[i]?.trim() === ''
  return parts
    .filter((_, i) => !dropped.has(i) && !(isSpace(i) && dropped.has(i - 1)))
    .join('')
    .trimEnd()
}

const resolution = 2 ** 30
