import { type PairedComparison, pairedComparison } from './comparison.js'
import type { MetricValue } from './intervals.js'
import type { RowResult } from './row-results.js'

/**
 * Whether what was scored is better than what it is held against, in words, and by what test: the end of a run, a search, an evaluation.
 * It knows rows and names alone, not where they come from.
 */

export interface Verdict {
  readonly outcome: 'better' | 'not distinguishable' | 'worse'
  /** What is judged, as the sentence calls it: `the tuned prompt`. */
  readonly condition: string
  /** What it is held against: `the base model with its instruction`. */
  readonly baseline: string
  /** Which rows: `dev`, `test`, or those of an evaluation. */
  readonly rowsOf: string
  readonly rows: number
  /** What the difference is of: the share of right answers, the mean log-likelihood of an answer in nats, or a mean score. */
  readonly measure: 'accuracy' | 'logLikelihood' | 'score'
  /** On the same rows, in pairs, with the bootstrap's 95 % interval. */
  readonly difference: MetricValue
  /** `mcnemar`: the exact test decides at 5 %. `bootstrap`: the interval does, by whether it holds 0, from six rows on. */
  readonly test: 'mcnemar' | 'bootstrap'
  /** Of McNemar's test, two-sided. */
  readonly p?: number
  /** All of it in a sentence. */
  readonly text: string
  /** The same against a second baseline that scores higher than the first. */
  readonly stronger?: Verdict
}

/** Rows of one condition, and what a sentence calls it. */
export interface Judged {
  readonly name: string
  readonly rows: readonly RowResult[]
}

export interface VerdictOptions {
  /** Of the bootstrap. */
  readonly seed: number
  /** What the rows are called: `dev`, `test`, a file. */
  readonly rowsOf: string
  /** What makes the figures kinder than they are, as a half-sentence. */
  readonly caveat?: string | undefined
}

const significance = 0.05
/** Fewer rows that all differ one way do so by chance more often than that (2 / 2^rows): the bootstrap of so few knows no zero. */
const leastRows = 6

/** @returns nothing where the two were not scored on the same rows, or on none */
export function verdictOf(judged: Judged, baseline: Judged, options: VerdictOptions): Verdict | undefined {
  const compared = pairedComparison({ before: baseline.rows, after: judged.rows }, options.seed)
  if (compared === undefined) return undefined
  const { difference, mcnemar } = compared
  const isApart = judged.rows.length >= leastRows && (difference.low > 0 || difference.high < 0)
  const differs = mcnemar === undefined ? isApart : mcnemar.p < significance
  const verdict = {
    outcome: !differs ? 'not distinguishable' : difference.value > 0 ? 'better' : 'worse',
    condition: judged.name,
    baseline: baseline.name,
    rowsOf: options.rowsOf,
    rows: judged.rows.length,
    measure: measureOf(judged.rows, compared),
    difference,
    test: mcnemar === undefined ? 'bootstrap' : 'mcnemar',
    ...(mcnemar && { p: mcnemar.p }),
  } as const
  return { ...verdict, text: sentence(verdict, compared, options.caveat) }
}

/** A verdict against the first baseline, and against the second where that one scores higher. */
export function verdictAgainst(
  judged: Judged,
  [first, second]: readonly [Judged, Judged?],
  options: VerdictOptions,
): Verdict | undefined {
  const verdict = verdictOf(judged, first, options)
  if (verdict === undefined || second === undefined) return verdict
  const sum = ({ rows }: Judged) => rows.reduce((total, { score }) => total + score, 0)
  const stronger = sum(second) > sum(first) ? verdictOf(judged, second, options) : undefined
  return { ...verdict, ...(stronger && { stronger }) }
}

/** The sentences of a verdict, one for each baseline. */
export const verdictTexts = ({ text, stronger }: Verdict): string[] => [text, ...(stronger ? [stronger.text] : [])]

function measureOf(rows: readonly RowResult[], { mcnemar }: PairedComparison): Verdict['measure'] {
  if (mcnemar !== undefined) return 'accuracy'
  // Of free text a row counts for the log-likelihood of its own answer.
  return rows.every(({ score, logProbability }) => score === logProbability) ? 'logLikelihood' : 'score'
}

const relations = { better: 'better than', 'not distinguishable': 'not distinguishable from', worse: 'worse than' } as const

function sentence(
  { outcome, condition, baseline, rowsOf, rows, measure, difference, p }: Omit<Verdict, 'text'>,
  { rowsNeeded }: PairedComparison,
  caveat: string | undefined,
): string {
  const isShare = measure === 'accuracy'
  const digits = (value: number) => {
    const text = isShare ? (100 * value).toFixed(1) : value.toPrecision(3)
    return value > 0 ? `+${text}` : text
  }
  const unit = isShare ? ' points' : measure === 'logLikelihood' ? ' nats an answer' : ''
  const test =
    p === undefined
      ? `by the paired bootstrap, whose interval this is${rows < leastRows ? `; fewer than ${leastRows} rows show no difference` : ''}`
      : `by McNemar's exact test, ${p < 0.0001 ? 'p < 0.0001' : `p = ${p.toFixed(4)}`}; the interval is the paired bootstrap's`
  const needed =
    outcome === 'not distinguishable' && rowsNeeded !== null
      ? `; to tell a difference of this size takes about ${Math.max(leastRows, rowsNeeded).toLocaleString('en-US')} rows`
      : ''
  return (
    `${condition} is ${relations[outcome]} ${baseline}: ${digits(difference.value)}${unit} ` +
    `[${digits(difference.low)}, ${digits(difference.high)}] on ${rows.toLocaleString('en-US')} ${rowsOf} ${rows === 1 ? 'row' : 'rows'} ` +
    `(${test}${needed})${caveat === undefined ? '' : `; ${caveat}`}`
  )
}
