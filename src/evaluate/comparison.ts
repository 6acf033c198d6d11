import { GradpromptError } from '../errors.js'
import { mean } from '../numbers.js'
import { ownCommand } from '../own-command.js'
import { randomGenerator } from '../random.js'
import { type MetricValue, wilsonInterval } from './intervals.js'
import type { RowResult } from './row-results.js'

/** A prompt or a model that was evaluated: the results of each seed, over the same rows. */
export interface Condition {
  readonly name: string
  readonly seeds: readonly (readonly RowResult[])[]
}

export interface ConditionSummary {
  readonly name: string
  readonly seeds: number
  /**
   * Mean score of the rows and seeds; with one seed of right and wrong answers Wilson's interval, otherwise the bootstrap's, over
   * rows and seeds.
   */
  readonly mean: MetricValue
  /** Standard deviation between the means of the seeds, when there are several. */
  readonly seedDeviation?: number
}

export interface PairedComparison {
  readonly name: string
  readonly baseline: string
  /** Mean score less the baseline's on the same rows, with the bootstrap's interval. */
  readonly difference: MetricValue
  /** Where both have one seed and answers are right or wrong. */
  readonly mcnemar?: McNemar
  /** Rows at which a difference like this one would be found significant at 5 % in 80 of 100 experiments; null when there is none. */
  readonly rowsNeeded: number | null
}

export interface Comparison {
  readonly rows: number
  /** Whether every score is 0 or 1, so that its mean is an accuracy. */
  readonly binary: boolean
  /** What every score is of, where rows name it; files that do not are in `unnamed`, and are taken for the same. */
  readonly scorer?: string
  /** Conditions whose rows name no scorer beside others that do. */
  readonly unnamed?: readonly string[]
  readonly conditions: readonly ConditionSummary[]
  /** Each condition but the first, against the first. */
  readonly comparisons: readonly PairedComparison[]
}

/** What the mean of a comparison is called. */
export const measureOf = ({ binary, scorer }: Pick<Comparison, 'binary' | 'scorer'>): string =>
  scorer ?? (binary ? 'accuracy' : 'mean score')

/** One condition and another over the same rows. */
export interface Sides {
  readonly before: readonly RowResult[]
  readonly after: readonly RowResult[]
}

/** How two conditions differ on the same rows; undefined when they are not the same. */
export function pairedComparison({ before, after }: Sides, seed: number): PairedComparison | undefined {
  if (before.length === 0 || before.length !== after.length || before.some(({ index }, i) => index !== after[i]!.index))
    return undefined
  const condition = (name: string, rows: readonly RowResult[]) => ({ name, seeds: [rows] })
  return compareConditions([condition('before', before), condition('after', after)], { seed }).comparisons[0]
}

// So that the quantiles at 2.5 % and 97.5 % are resamples themselves.
const resamples = 2001

/**
 * Compares conditions over the same rows, each with the first.
 * @throws GradpromptError `different-rows` naming the first row that differs, `different-scorers`, `no-rows`
 */
export function compareConditions(conditions: readonly Condition[], { seed }: { seed: number }): Comparison {
  const [first, ...others] = conditions
  if (first === undefined || first.seeds.length === 0 || first.seeds[0]!.length === 0)
    throw new GradpromptError('no-rows', 'there are no results to compare')
  requireSameRows(conditions)
  const scored = scorersOf(conditions)
  const scores = conditions.map(({ seeds }) => seeds.map(rows => Float64Array.from(rows, row => row.score)))
  const isBinary = scores.every(seeds => seeds.every(rows => rows.every(score => score === 0 || score === 1)))
  // A graded score may happen to be 0 or 1 in every row.
  const binary = isBinary && !conditions.some(({ seeds }) => seeds.some(isGraded))
  return {
    rows: first.seeds[0]!.length,
    binary,
    ...scored,
    conditions: conditions.map(({ name }, i) => summarize(name, scores[i]!, binary, seed)),
    comparisons: others.map(({ name }, i) => ({
      name,
      baseline: first.name,
      ...compareScores(scores[0]!, scores[i + 1]!, binary, seed),
    })),
  }
}

function summarize(name: string, seeds: readonly Float64Array[], binary: boolean, seed: number): ConditionSummary {
  const means = seeds.map(mean)
  const value = mean(means)
  const rows = seeds[0]!.length
  const interval =
    binary && seeds.length === 1
      ? wilsonInterval(Math.round(value * rows), rows)
      : resampled(rows, [seeds], ([own]) => own!, seed)
  return {
    name,
    seeds: seeds.length,
    mean: containing(value, interval),
    ...(seeds.length > 1 && { seedDeviation: deviation(means) }),
  }
}

function compareScores(
  baseline: readonly Float64Array[],
  other: readonly Float64Array[],
  binary: boolean,
  seed: number,
): Omit<PairedComparison, 'name' | 'baseline'> {
  const rows = baseline[0]!.length
  const value = mean(other.map(mean)) - mean(baseline.map(mean))
  const interval = resampled(rows, [baseline, other], ([a, b]) => b! - a!, seed)
  const [a, b] = [rowMeans(baseline), rowMeans(other)]
  const isSingle = baseline.length === 1 && other.length === 1
  const mcnemar = binary && isSingle ? mcnemarTest(a, b) : undefined
  return {
    difference: containing(value, interval),
    ...(mcnemar && { mcnemar }),
    rowsNeeded:
      mcnemar === undefined
        ? rowsForMean(b.map((score, i) => score - a[i]!))
        : rowsForDiscordance(mcnemar.onlyBaseline / rows, mcnemar.onlyOther / rows),
  }
}

const containing = (value: number, { low, high }: { low: number; high: number }): MetricValue => ({
  value,
  low: Math.min(value, low),
  high: Math.max(value, high),
})

/**
 * The bootstrap's 95 % interval of a figure of the conditions' mean scores. All conditions draw the same rows; where there are several
 * seeds, they are drawn as well, each condition's for itself (the pigeonhole bootstrap of Owen 2007).
 */
function resampled(
  rows: number,
  conditions: readonly (readonly Float64Array[])[],
  figure: (means: readonly number[]) => number,
  seed: number,
): { low: number; high: number } {
  const random = randomGenerator(seed)
  const draw = (count: number) => Math.floor(((random.next() >>> 0) / 0x1_0000_0000) * count)
  const drawn = new Int32Array(rows)
  const figures = new Float64Array(resamples)
  for (let resample = 0; resample < resamples; resample++) {
    for (let i = 0; i < rows; i++) drawn[i] = draw(rows)
    const means = conditions.map(seeds => {
      let total = 0
      for (let i = 0; i < seeds.length; i++) {
        const scores = seeds[seeds.length === 1 ? 0 : draw(seeds.length)]!
        for (let j = 0; j < rows; j++) total += scores[drawn[j]!]!
      }
      return total / (rows * seeds.length)
    })
    figures[resample] = figure(means)
  }
  figures.sort()
  return { low: figures[0.025 * (resamples - 1)]!, high: figures[0.975 * (resamples - 1)]! }
}

export interface McNemar {
  /** Rows that only the baseline gets right. */
  readonly onlyBaseline: number
  /** Rows that only the other gets right. */
  readonly onlyOther: number
  /** Two-sided. */
  readonly p: number
}

/** McNemar's test (1947) of two conditions on the same rows, exact. */
function mcnemarTest(baseline: Float64Array, other: Float64Array): McNemar {
  let [onlyBaseline, onlyOther] = [0, 0]
  baseline.forEach((score, i) => {
    if (score > other[i]!) onlyBaseline++
    else if (score < other[i]!) onlyOther++
  })
  return { onlyBaseline, onlyOther, p: mcnemarExact(onlyBaseline, onlyOther) }
}

/**
 * The exact two-sided p-value of McNemar's test: how likely a fair coin splits `onlyBaseline + onlyOther` rows at least this unevenly.
 * 1 when there are none.
 */
export function mcnemarExact(onlyBaseline: number, onlyOther: number): number {
  const count = onlyBaseline + onlyOther
  const fewer = Math.min(onlyBaseline, onlyOther)
  if (2 * fewer === count) return 1
  // The terms relative to the last, which is the largest, from it downwards: nothing overflows.
  let term = 1
  let sum = 0
  for (let k = fewer; k >= 0 && term > 1e-18 * sum; k--) {
    sum += term
    term *= k / (count - k + 1)
  }
  return Math.min(1, 2 * Math.exp(logChoose(count, fewer) - count * Math.LN2 + Math.log(sum)))
}

function logChoose(n: number, k: number): number {
  let sum = 0
  for (let i = 1; i <= k; i++) sum += Math.log((n - k + i) / i)
  return sum
}

/** Quantiles of the standard normal distribution: two-sided 5 %, and 80 %. */
const [significance, power] = [1.959963984540054, 0.8416212335729143]

/**
 * Pairs of rows at which McNemar's test finds a difference at 5 % with a power of 80 % (Connor 1987); null without a difference.
 * @param onlyBaseline share of rows that only the baseline gets right
 */
export function rowsForDiscordance(onlyBaseline: number, onlyOther: number): number | null {
  const difference = onlyOther - onlyBaseline
  const discordant = onlyBaseline + onlyOther
  if (difference === 0) return null
  const root = significance * Math.sqrt(discordant) + power * Math.sqrt(discordant - difference ** 2)
  return Math.ceil((root / difference) ** 2)
}

/** Rows at which a mean of paired differences is told from 0 at 5 % with a power of 80 %, by the normal approximation; null at a mean of 0. */
export function rowsForMean(differences: Float64Array): number | null {
  const shift = mean(differences)
  if (shift === 0) return null
  return Math.max(2, Math.ceil((((significance + power) * deviation(differences)) / shift) ** 2))
}

/** Rows of a scorer by name, none of which it calls right or wrong. */
const isGraded = (rows: readonly RowResult[]): boolean =>
  rows.some(({ scorer }) => scorer !== undefined) && rows.every(({ correct }) => correct === undefined)

/**
 * By what all rows were scored, where they name it.
 * @throws GradpromptError `different-scorers`
 */
function scorersOf(conditions: readonly Condition[]): Pick<Comparison, 'scorer' | 'unnamed'> {
  const sources = conditions.map(({ name, seeds }) => {
    const named = [...new Set(seeds.flatMap(rows => rows.map(({ scorer }) => scorer)))].filter(scorer => scorer !== undefined)
    const isRight = named.length === 0 && seeds.every(rows => rows.every(({ correct }) => correct !== undefined))
    return { name, named, isGraded: seeds.some(isGraded), isRight }
  })
  const all = new Set(sources.flatMap(({ named }) => named))
  // Of right and wrong answers a graded score says nothing, whoever judged them.
  const isMixed = sources.some(({ isGraded }) => isGraded) && sources.some(({ isRight }) => isRight)
  if (all.size > 1 || isMixed)
    throw new GradpromptError('different-scorers', 'these results were scored by different scorers', {
      found: sources
        .map(({ name, named, isRight }) => `${name}: ${named.join(' and ') || (isRight ? 'right or wrong' : 'not named')}`)
        .join(', '),
      expected: 'one scorer for all',
      hint: `score all with the same --scorer: ${ownCommand`evaluate`} keeps the answers that it has, and ${ownCommand`score FILE`} takes those from elsewhere`,
    })
  const [scorer] = all
  if (scorer === undefined) return {}
  const unnamed = sources.flatMap(({ name, named }) => (named.length === 0 ? [name] : []))
  return { scorer, ...(unnamed.length > 0 && { unnamed }) }
}

/** @throws GradpromptError `different-rows` */
function requireSameRows(conditions: readonly Condition[]): void {
  const sources = conditions.flatMap(({ name, seeds }) =>
    seeds.map((rows, i) => ({ name: seeds.length === 1 ? name : `${name} (${i + 1} of ${seeds.length})`, rows })),
  )
  const [first, ...others] = sources
  const places = new Map(first!.rows.map(row => [row.index, row]))
  for (const other of others) {
    const between = `${first!.name} and ${other.name} were scored on different rows`
    const extra = other.rows.find(row => !places.has(row.index))
    const own = new Set(other.rows.map(row => row.index))
    const absent = first!.rows.find(row => !own.has(row.index))
    const alone = extra === undefined ? absent && ([absent, first!] as const) : ([extra, other] as const)
    if (alone !== undefined)
      throw differentRows(between, {
        found: `row ${alone[0].index} in ${alone[1].name} alone (${first!.rows.length} rows and ${other.rows.length})`,
        hint: 'score both on the same file, with the same --limit and --seed',
      })
    for (const row of other.rows) {
      const same = places.get(row.index)!
      const differs = (name: 'row' | 'answer') => same[name] !== undefined && row[name] !== undefined && same[name] !== row[name]
      if (differs('row') || differs('answer'))
        throw differentRows(between, {
          found: differs('answer')
            ? `the answer of row ${row.index} is ${JSON.stringify(same.answer)} in one and ${JSON.stringify(row.answer)} in the other`
            : `row ${row.index} holds other text`,
          hint: 'score both on the same file',
        })
    }
  }
}

const differentRows = (message: string, { found, hint }: { found: string; hint: string }) =>
  new GradpromptError('different-rows', message, {
    found,
    expected: 'results over the same rows, which are compared in pairs',
    hint,
  })

/** Of a sample. */
function deviation(values: ArrayLike<number>): number {
  const all = Array.from(values)
  const centre = mean(all)
  return Math.sqrt(all.reduce((sum, value) => sum + (value - centre) ** 2, 0) / Math.max(1, all.length - 1))
}

/** Each row's mean over the seeds. */
const rowMeans = (seeds: readonly Float64Array[]): Float64Array =>
  Float64Array.from(seeds[0]!, (_, row) => mean(seeds.map(scores => scores[row]!)))
