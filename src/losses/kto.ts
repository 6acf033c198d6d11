import { z } from 'zod'
import { tf } from '../../kernels/tf.js'
import { declareCode } from '../code-identity.js'
import { GradpromptError } from '../errors.js'
import { mean } from '../numbers.js'
import type { ContextRow, Loss, LossContext } from './loss.js'
import { referenceFeed } from './preferences.js'
import { sequenceDims, sequenceFeeds, sequenceInputs, sequenceLogProbabilities } from './sequences.js'

/**
 * Learning from single answers that people liked or did not (Ethayarajh et al. 2024, arXiv 2402.01306): 1 - sigmoid(beta (gain - z)) of
 * those liked, 1 - sigmoid(beta (z - gain)) of the others. z is how far the prompt has moved altogether: the mean gain of answers that
 * belong to other texts of the batch, at least 0, through which no gradient goes. Pairs are two such answers each.
 */
export const ktoSchema = z.strictObject({
  type: z.literal('kto').describe('Kahneman-Tversky optimisation: single answers that people liked or did not'),
  beta: z.number().positive().default(0.1).describe('what a gain of one nat counts'),
  likedWeight: z.number().min(0).default(1).describe('of answers that people liked'),
  dislikedWeight: z
    .number()
    .min(0)
    .default(1)
    .describe('of the others; liked answers times their weight should be about as many'),
  reference: z
    .enum(['start', 'none'])
    .default('start')
    .describe(
      'what gains are counted from: the prompt before its first step; none: the model without a prompt, at which nothing starts',
    ),
})

export type KtoOptions = z.output<typeof ktoSchema>

/** What a batch brings. */
export interface Thumbs {
  /** Of each row, what the reference says of its labels. */
  readonly reference: readonly Float32Array[]
  readonly liked: readonly boolean[]
  /** Mean gain of answers to other texts, in nats, at least 0. */
  readonly moved: number
}

/** The mean over answers. */
export const kto: Loss<KtoOptions, Thumbs> = declareCode(import.meta.url, {
  type: 'kto',
  paper: 'Ethayarajh et al. 2024, KTO: Model Alignment as Prospect Theoretic Optimization (arXiv 2402.01306)',
  preferences: 'pairs or thumbs',
  leastBatch: 2,
  reference: ({ reference }) => reference,
  reward: ({ beta }, { logProbability, reference }) => beta * (logProbability - reference),
  data:
    ({ reference }, context) =>
    rows =>
      thumbs(rows, reference, context),
  dims: sequenceDims,
  inputs: () => ({
    ...sequenceInputs,
    reference: { shape: ['C'], dtype: 'float32' },
    side: { shape: ['C'], dtype: 'float32' },
    weight: { shape: ['C'], dtype: 'float32' },
    liked: { shape: ['C'], dtype: 'float32' },
    moved: { shape: [1], dtype: 'float32' },
  }),
  compute({ beta }, read) {
    const { reference, side, weight, liked, moved } = read.given
    const gained = tf.sub(sequenceLogProbabilities(read), reference!) // [C]
    const worth = tf.sigmoid(tf.mul(tf.mul(tf.sub(gained, moved!), side!), beta)) // [C]
    const sum = (values: tf.Tensor): tf.Scalar => tf.sum(tf.mul(values, beta))
    return {
      loss: tf.sum(tf.mul(weight!, tf.sub(1, worth))),
      figures: {
        chosenReward: sum(tf.mul(gained, liked!)),
        rejectedReward: sum(tf.mul(gained, tf.sub(1, liked!))),
        rewardAccuracy: tf.sum(tf.cast(tf.greater(tf.mul(gained, side!), 0), 'float32')),
      },
    }
  },
  feed({ likedWeight, dislikedWeight }, { reference, liked, moved }, part) {
    const { sequences, batch } = part
    const vector = (of: (row: number) => number) => ({ data: Float32Array.from(sequences, of), shape: [sequences.length] })
    return {
      ...sequenceFeeds(part),
      ...referenceFeed(reference, part),
      side: vector(row => (liked[row] ? 1 : -1)),
      weight: vector(row => (liked[row] ? likedWeight : dislikedWeight) / batch.sequences),
      liked: vector(row => Number(liked[row])),
      moved: Float32Array.of(moved),
    }
  },
  /** Means of each side, where the batch has it. */
  figures(_, { liked, moved }, { chosenReward, rejectedReward, rewardAccuracy }) {
    const count = liked.filter(Boolean).length
    const [chosen, rejected] = [
      count > 0 ? chosenReward! / count : undefined,
      count < liked.length ? rejectedReward! / (liked.length - count) : undefined,
    ]
    return {
      chosenReward: chosen,
      rejectedReward: rejected,
      rewardMargin: chosen === undefined || rejected === undefined ? undefined : chosen - rejected,
      rewardAccuracy: rewardAccuracy! / liked.length,
      klDivergence: moved,
    }
  },
})

async function thumbs(rows: readonly ContextRow[], under: 'start' | 'none', context: LossContext): Promise<Thumbs> {
  const liked = rows.map(row => {
    if (row.liked !== undefined) return row.liked
    throw new GradpromptError('missing-thumb', 'A row of the batch does not say whether its answer was liked', {
      expected: 'liked: true or false of every row',
    })
  })
  const reference = await context.logProbabilities(under, rows)
  const others = mismatched(rows, context.answers)
  const [now, then] = [await context.logProbabilities('now', others), await context.logProbabilities(under, others)]
  const sums = (said: readonly Float32Array[]) => said.map(values => values.reduce((sum, value) => sum + value, 0))
  const [after, before] = [sums(now), sums(then)]
  return { reference, liked, moved: Math.max(0, mean(after.map((value, i) => value - before[i]!))) }
}

/**
 * Each row's text with the answer of the next record in the batch, cut to what the longest row has.
 * @param step rows that each record makes
 * @throws GradpromptError `batch-too-small`
 */
export function mismatched(rows: readonly ContextRow[], step: number): ContextRow[] {
  if (rows.length <= step)
    throw new GradpromptError('batch-too-small', 'kto compares answers with those to other texts of the batch', {
      found: 'a batch of one record',
      expected: 'train.batchSize of at least 2, and as many rows',
    })
  const longest = Math.max(...rows.map(({ ids }) => ids.length))
  const borders = rows.map(({ labels }) => labels.findIndex(label => label !== -100))
  return rows.map((row, i) => {
    const from = (i + step) % rows.length
    const context = row.ids.slice(0, borders[i])
    const answer = rows[from]!.ids.slice(borders[from]).slice(0, longest - context.length)
    return { ...row, ids: [...context, ...answer], labels: [...context.map(() => -100), ...answer] }
  })
}
