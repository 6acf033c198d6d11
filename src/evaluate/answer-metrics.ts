import { GradpromptError } from '../errors.js'
import { bootstrap, type MetricValue, type Statistic } from './intervals.js'

export interface ScoredAnswer {
  /** Of the whole answer, in nats. */
  readonly logLikelihood: number
  /** Tokens of the answer, at least 1. */
  readonly tokens: number
}

export interface AnswerMetrics {
  /** Mean log-likelihood of an answer, in nats. */
  readonly logLikelihood: MetricValue
  /** Mean log-likelihood of an answer token, in nats. */
  readonly tokenLogLikelihood: MetricValue
  /** `exp` of the negative mean over all answer tokens. */
  readonly perplexity: MetricValue
}

/**
 * The figures of free-text answers, each with the bootstrap's 95 % interval (1,000 resamples of the rows).
 * @throws GradpromptError `no-rows`; `not-finite` when a likelihood is not a number or infinite
 */
export function answerMetrics(
  answers: readonly ScoredAnswer[],
  { seed }: { seed: number },
): Readonly<Record<keyof AnswerMetrics, MetricValue>> {
  if (answers.length === 0) throw new GradpromptError('no-rows', 'there are no rows to evaluate')
  const bad = answers.findIndex(({ logLikelihood }) => !Number.isFinite(logLikelihood))
  if (bad !== -1) {
    throw new GradpromptError('not-finite', `the log-likelihood of the answer in row ${bad + 1} is not a finite number`, {
      found: String(answers[bad]!.logLikelihood),
      hint: 'the prompt or the weights hold numbers that are too large; a lower learning rate keeps the prompt in range',
      exitCode: 1,
    })
  }
  const perToken: Statistic = rows => {
    let sum = 0
    let tokens = 0
    for (const row of rows) {
      sum += answers[row]!.logLikelihood
      tokens += answers[row]!.tokens
    }
    return sum / tokens
  }
  const statistics = {
    logLikelihood: (rows: Int32Array) => rows.reduce((sum, row) => sum + answers[row]!.logLikelihood, 0) / rows.length,
    tokenLogLikelihood: perToken,
    perplexity: (rows: Int32Array) => Math.exp(-perToken(rows)),
  }
  return bootstrap(answers.length, statistics, { seed })
}
