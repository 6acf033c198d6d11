import { randomUUID } from 'node:crypto'
import { columnValue, type DataRecord, originOf } from '../data/readers/records.js'
import { Registry } from '../registry.js'
import { compilePattern } from './answers/extraction.js'
import type { Scorer, ScorerAsked } from './answers/scorer-kind.js'
import { exactMatch, rougeL, squadF1 } from './answers/text-metrics.js'
import { commentBleu } from './code/bleu.js'
import { codeBleuScorers } from './code/codebleu/scorers.js'
import { passes } from './code/passes.js'
import { describeThrown, type Score, ScoringThread, scoreHere, toScore, usualSeconds } from './scoring.js'

export type { Score, Scorer, ScorerAsked }

/** A scorer of the user's own: the default export of a module, or its export `score`. It may be asynchronous. */
export type ScorerFunction = (row: DataRecord, text: string) => ScorerResult | Promise<ScorerResult>
export type ScorerResult = number | boolean | (Score & Readonly<Record<string, unknown>>)

/** What people's own scorers are: a function, or an object with one. */
export type OwnScorer = ScorerFunction | Pick<Scorer, 'name' | 'score' | 'seconds'>

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
  { name: 'bleu', score: (row: DataRecord, text: string) => commentBleu(text, columnValue(row, 'answer', 0)) },
  ...codeBleuScorers,
  passes,
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
    prepare: ({ name, score, seconds = usualSeconds }, source) => {
      const thread = source === undefined ? undefined : new ScoringThread(name, seconds)
      return {
        name,
        version: source ?? randomUUID(),
        seconds,
        own: score,
        score: (row, text) => (thread === undefined ? scoreHere(score, row, text, seconds) : inOne(thread.score(row, text))),
      }
    },
  },
  builtIn.map((scorer): [string, Scorer] => [scorer.name, scorer]),
)

/** A score as a scorer gives it: further scores stand beside it. */
const inOne = async (given: Promise<Score>): Promise<unknown> => {
  const { scores, ...score } = await given
  return { ...scores, ...score }
}

/**
 * A built-in scorer by its name, or one of people's own: a function, an object, or the path of a module (`./my-scorer.js`).
 * @throws GradpromptError `unknown-scorer`, `file-not-found`, `invalid-scorer`, and as the scorer does that lacks what it needs
 */
export async function loadScorer(given: string | OwnScorer, asked: ScorerAsked = {}): Promise<Scorer> {
  const scorer = scorers.get(await scorers.load(given))
  return (await scorer.open?.(asked)) ?? scorer
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
    return { score: 0, error: `${originOf(row, index)}: ${describeThrown(error)}` }
  }
}
