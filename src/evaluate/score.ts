import type { RowBuilder, ScoringRow } from '../data/rows/rows.js'
import type { LabelSet } from '../data/texts/labels.js'
import { classScores } from '../data/texts/verbalizer.js'
import { GradpromptError, refuseAborted } from '../errors.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { logSumExp } from '../numbers.js'
import { inOrder } from '../program/runtime/in-order.js'
import { answerMetrics } from './answer-metrics.js'
import type { MetricValue } from './intervals.js'
import { classificationMetrics } from './metrics.js'
import { isPreference, preferenceMetrics, type Rewards, rewardsOf } from './preferences.js'

/** Figures by name, each with its 95 % interval. */
export type Metrics = Readonly<Record<string, MetricValue>>

export interface Evaluation {
  readonly metrics: Metrics
  readonly rows: number
  /** The candidates, where answers are a closed set. */
  readonly labels?: readonly string[]
  /** `confusion[target][prediction]`: numbers of rows. */
  readonly confusion?: readonly (readonly number[])[]
}

export interface ScoreOptions {
  /** Rows that are scored at once; by default as many as fill a run. */
  readonly batchSize?: number | undefined
  readonly onProgress?: ((rows: number, total: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface ScoredRows extends Evaluation {
  /** For each row and candidate, in nats: the sum over the answer's tokens; of several words what `classScores` makes of them. */
  readonly logLikelihoods: readonly (readonly number[])[]
  /** The likeliest candidate of each row, calibrated where it was asked for; all 0 without a label set. */
  readonly predictions: readonly number[]
  /** Without one: the log-probability of each token of the row's own answer. */
  readonly tokens?: readonly (readonly number[])[]
  /** Where rows are preferences and have rewards: those of each candidate. */
  readonly rewards?: readonly (readonly number[])[]
  /** With a label set: the share of the candidates' probability that the prediction has, of each row. */
  readonly confidences?: readonly number[]
}

/** Tokens after which a further row would only make a run longer. */
const tokensPerRun = 2048

/** How likelihoods decide. */
export interface DecisionOptions {
  /** Of rows that are preferences: what an answer is worth. */
  readonly rewards?: Rewards | undefined
  /** Learned weights of the label words: see `classScores`. */
  readonly weights?: Float32Array | undefined
  /**
   * A row that says nothing: its log-likelihoods are subtracted from those of every row before they decide (contextual calibration,
   * after Zhao et al. 2021, arXiv 2102.09690). The figure `logLikelihood` stays as it is.
   */
  readonly contentFree?: ScoringRow | undefined
  /** An answer's log-likelihood is divided by its bytes before it decides, so that long answers are not at a disadvantage. */
  readonly perByte?: boolean | undefined
}

/**
 * By which likelihood an answer is chosen: its own; that by byte of the answer (`acc_norm` of lm-evaluation-harness); or less that of
 * the answer without the text (pointwise mutual information, Holtzman et al. 2021, arXiv 2104.08315).
 */
export const choices = ['plain', 'length', 'unconditional'] as const
export type Choice = (typeof choices)[number]

/** What stands for a text that says nothing. */
const contentFreeText = 'N/A'

/**
 * The row that calibrates the scores of others.
 * @param calibrate its text, or true for `N/A`
 * @throws GradpromptError `invalid-config` when answers are free text
 */
export function contentFreeRow(
  calibrate: boolean | string | undefined,
  builder: RowBuilder,
  labels: LabelSet | undefined,
): ScoringRow | undefined {
  if (calibrate === undefined || calibrate === false) return undefined
  if (labels === undefined)
    throw new GradpromptError('invalid-config', 'evaluate.calibrate needs answers of a closed set', {
      found: 'free-text answers',
      expected: 'data.labels, or few values in the label column',
    })
  return builder.contentFree(calibrate === true ? contentFreeText : calibrate)
}

/**
 * Scores rows by the likelihood of their candidates' whole answers. Without a label set the only candidate is the row's own answer,
 * and the figures are those of `answerMetrics`.
 * @throws GradpromptError `no-rows`, `not-finite`, `aborted`
 */
export async function scoreRows(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  rows: readonly ScoringRow[],
  labels: LabelSet | undefined,
  { seed, weights, contentFree, perByte, rewards: worth, ...options }: ScoreOptions & DecisionOptions & { seed: number },
): Promise<ScoredRows> {
  if (labels === undefined && prompt?.members !== undefined) throw averagesClasses()
  if (labels === undefined && rows.some(isPreference)) {
    const words = await candidateLikelihoods(model, prompt, rows, options)
    const rewards = worth && (await rewardsOf(rows, words, worth))
    const scored = rows.map(({ liked }, i) => ({ logLikelihoods: words[i]!, rewards: rewards?.[i], liked }))
    return {
      metrics: preferenceMetrics(scored, { seed }),
      rows: rows.length,
      logLikelihoods: words,
      predictions: words.map(([chosen, rejected = Number.NEGATIVE_INFINITY]) => Number(!(chosen! > rejected))),
      ...(rewards && { rewards }),
    }
  }
  if (labels === undefined) {
    const tokens = await rowTokens(model, prompt, rows, options)
    const logLikelihoods = tokens.map(candidates => candidates.map(sum))
    const answers = rows.map((row, i) => ({ logLikelihood: logLikelihoods[i]![0]!, tokens: row.candidates[0]!.ids.length }))
    return {
      metrics: answerMetrics(answers, { seed }),
      rows: rows.length,
      logLikelihoods,
      predictions: rows.map(() => 0),
      tokens: tokens.map(([own]) => own!),
    }
  }
  const scores = await scoreClasses(model, prompt, rows, labels, { weights, contentFree, perByte, ...options })
  const logLikelihoods = scores.map(row => row.logLikelihoods)
  const scored = rows.map(({ target }, i) => ({ target, ...scores[i]! }))
  const { metrics, confusion, predictions, confidences } = classificationMetrics(scored, labels.candidates, { seed })
  return {
    metrics: { ...metrics },
    rows: rows.length,
    labels: labels.candidates,
    confusion,
    logLikelihoods,
    predictions,
    confidences,
  }
}

/** What the classes of one row come to. */
export interface ClassScores {
  /** Of each class's whole answer, in nats; of several words what `classScores` makes of them. */
  readonly logLikelihoods: readonly number[]
  /** What decides between them, where that is not the likelihood alone. */
  readonly scores?: readonly number[]
}

/**
 * The scores of each row's classes; which of them is right need not be known.
 * @throws GradpromptError `aborted`
 */
export async function scoreClasses(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  rows: readonly ScoringRow[],
  labels: LabelSet,
  { weights, contentFree, perByte, ...options }: ScoreOptions & DecisionOptions,
): Promise<ClassScores[]> {
  if (prompt?.members !== undefined)
    return averagedClasses(prompt.members, rows, (member, place) => {
      const { onProgress } = options
      const ofAll =
        onProgress &&
        ((done: number, total: number) => onProgress(Math.floor((place * total + done) / prompt.members!.length), total))
      return scoreClasses(model, member, rows, labels, { weights, contentFree, perByte, ...options, onProgress: ofAll })
    })
  const tokens = await rowTokens(model, prompt, rows, options)
  const prejudice = contentFree && (await prejudices(model, prompt, rows, contentFree))
  return rows.map((row, i) => classesOf(row, tokens[i]!.map(sum), labels, { weights, bias: prejudice?.get(row.task), perByte }))
}

/**
 * What an ensemble says: the mean of its members' shares of the classes decides, and an answer is as likely as it is in the mean.
 * @param score under one of them
 */
async function averagedClasses(
  members: readonly ActivePrompt[],
  rows: readonly ScoringRow[],
  score: (member: ActivePrompt, place: number) => Promise<ClassScores[]>,
): Promise<ClassScores[]> {
  const said: ClassScores[][] = []
  for (const [place, member] of members.entries()) said.push(await score(member, place))
  const meanOf = (logs: readonly (readonly number[])[]) =>
    logs[0]!.map((_, j) => logSumExp(logs.map(own => own[j]!)) - Math.log(logs.length))
  return rows.map((_, i) => {
    const own = said.map(member => member[i]!)
    const shares = own.map(({ logLikelihoods, scores = logLikelihoods }) => {
      const all = logSumExp(scores)
      return scores.map(x => x - all)
    })
    return { logLikelihoods: meanOf(own.map(({ logLikelihoods }) => logLikelihoods)), scores: meanOf(shares) }
  })
}

const averagesClasses = () =>
  new GradpromptError('invalid-option', 'an ensemble averages shares of classes, and answers here have none', {
    found: 'answers without a closed set of labels',
    expected: 'data.labels (--labels), or one prompt: no ensemble',
  })

/**
 * The scores of a row's classes from those of their words.
 * @param words log-likelihoods of all words, class after class, in nats
 * @param bias of the words, which is subtracted before they decide
 */
export function classesOf(
  { among, candidates }: Pick<ScoringRow, 'among' | 'candidates'>,
  words: readonly number[],
  labels: LabelSet,
  { weights, bias, perByte }: Pick<DecisionOptions, 'weights' | 'perByte'> & { readonly bias?: readonly number[] | undefined },
): ClassScores {
  const logLikelihoods = classScores(labels, words, weights)
  const deciding = (score: number, j: number) =>
    (score - (bias?.[j] ?? 0)) / (perByte ? Math.max(1, Buffer.byteLength(candidates[j]!.label)) : 1)
  const chosen = bias || perByte ? classScores(labels, words.map(deciding), weights) : undefined
  const scores = among ? scoresAmong({ among }, chosen ?? logLikelihoods) : chosen
  return { logLikelihoods, ...(scores && { scores }) }
}

/** What another task answers cannot be the answer of this one. */
export const scoresAmong = ({ among }: Pick<ScoringRow, 'among'>, scores: readonly number[]): readonly number[] =>
  among === undefined ? scores : scores.map((score, j) => (among.includes(j) ? score : Number.NEGATIVE_INFINITY))

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

/** The words' log-likelihoods where a row says nothing, under the prompt of each task that rows have. */
async function prejudices(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  rows: readonly ScoringRow[],
  contentFree: ScoringRow,
): Promise<ReadonlyMap<number | undefined, readonly number[]>> {
  const tasks = [...new Set(rows.map(({ task }) => task))]
  const asked = tasks.map(task => (task === undefined ? contentFree : { ...contentFree, task }))
  const scores = await model.logLikelihoods(prompt, asked)
  return new Map(tasks.map((task, i) => [task, scores[i]!]))
}

/** The part of a scoring that belongs into a run's files. */
export const summary = ({ metrics, rows, labels, confusion }: Evaluation): Evaluation => ({
  metrics,
  rows,
  ...(labels && { labels }),
  ...(confusion && { confusion }),
})

/** Log-likelihoods of each row's candidates under a prompt, in nats. */
export async function candidateLikelihoods(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  rows: readonly ScoringRow[],
  options: ScoreOptions,
): Promise<number[][]> {
  const tokens = await rowTokens(model, prompt, rows, options)
  return tokens.map(candidates => candidates.map(sum))
}

/** Rows of similar length go together, so that little is padded. */
async function rowTokens(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  rows: readonly ScoringRow[],
  { batchSize, onProgress, signal }: ScoreOptions,
): Promise<number[][][]> {
  const lengths = rows.map(({ context, candidates }) => candidates.reduce((sum, { ids }) => sum + ids.length - 1, context.length))
  const order = [...rows.keys()].sort((a, b) => lengths[a]! - lengths[b]! || a - b)
  const results: number[][][] = new Array(rows.length)
  function* batches() {
    for (let start = 0; start < order.length; ) {
      refuseAborted(signal)
      const end = nextBatch(order, lengths, start, batchSize)
      const batch = order.slice(start, end)
      start = end
      yield async () => ({
        batch,
        scores: await model.tokenLogProbabilities(
          prompt,
          batch.map(i => rows[i]!),
        ),
      })
    }
  }
  let done = 0
  await inOrder(batches(), model.atOnce, ({ batch, scores }) => {
    for (const [i, row] of batch.entries()) results[row] = scores[i]!
    done += batch.length
    onProgress?.(done, order.length)
  })
  return results
}

function nextBatch(order: readonly number[], lengths: readonly number[], start: number, batchSize: number | undefined): number {
  if (batchSize !== undefined) return start + batchSize
  let end = start + 1
  let tokens = lengths[order[start]!]!
  while (end < order.length && tokens + lengths[order[end]!]! <= tokensPerRun) tokens += lengths[order[end++]!]!
  return end
}
