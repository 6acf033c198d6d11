import { z } from 'zod'
import { tf } from '../../kernels/tf.js'
import { declareCode } from '../code-identity.js'
import { GradpromptError } from '../errors.js'
import type { ProgramInput } from '../program/program.js'
import type { Loss, LossPart } from './loss.js'
import { sequenceDims, sequenceFeeds, sequenceInputs, sequenceLengths, sequenceLogProbabilities } from './sequences.js'

/**
 * Losses over pairs of answers, of which people preferred the first. All are a formula over what each answer has gained: its
 * log-probability less that under a reference, which is the prompt as it stood before its first step (Rafailov et al. 2023, arXiv
 * 2305.18290: a frozen copy of what learning starts from), so that both gains are 0 at the start. Where the data come from, and which of
 * two texts is the preferred one, is unknown here: a group's first row is.
 */

/** Gains of the two sides of each pair, in nats, [E] each; by token where a formula says so. */
interface Gains {
  readonly chosen: tf.Tensor
  readonly rejected: tf.Tensor
}

/** Options by which formulas differ, beside those that all have. */
interface FormulaOptions {
  readonly beta: number
  readonly labelSmoothing: number
  readonly gamma: number
  readonly variant: 'zero' | 'down'
}

/** What tells one of the family from another. */
interface Formula {
  readonly paper: string
  /** Gains are means over an answer's tokens. */
  readonly perToken?: boolean
  /** Log-probabilities count as they are. */
  readonly withoutReference?: boolean
  /** Of each pair, [E]. */
  loss(options: FormulaOptions, gains: Gains): tf.Tensor
}

export interface PairOptions {
  readonly type: string
  readonly beta: number
  readonly sft: number
  readonly reference?: 'start' | 'none'
}

/** -log sigmoid(x) */
const logistic = (x: tf.Tensor) => tf.softplus(tf.neg(x))
/** Beta times how much more the chosen side has gained, [E]. */
const margin = ({ beta }: { readonly beta: number }, { chosen, rejected }: Gains) => tf.mul(tf.sub(chosen, rejected), beta)

const beta = (by: number) =>
  z.number().positive().default(by).describe('what a gain of one nat counts: high values hold the prompt nearer to the reference')
const sft = z
  .number()
  .min(0)
  .default(0)
  .describe('weight of the mean cross entropy of the preferred answer, which keeps it likely; 0: none')
const reference = z
  .enum(['start', 'none'])
  .default('start')
  .describe(
    'what gains are counted from: the prompt before its first step; none: the model without a prompt, at which nothing starts',
  )
const labelSmoothing = z
  .number()
  .min(0)
  .lt(0.5)
  .default(0.1)
  .describe('share of the pairs that are taken to be the wrong way round')

export const dpoSchema = z.strictObject({
  type: z.literal('dpo').describe('direct preference optimisation: the logistic loss of the margin'),
  ...{ beta: beta(0.1), sft, reference },
})
const ipoSchema = z.strictObject({
  type: z.literal('ipo').describe('identity preference optimisation: the margin a token is drawn to 1 / (2 beta)'),
  ...{ beta: beta(0.1), sft, reference },
})
const simpoSchema = z.strictObject({
  type: z
    .literal('simpo')
    .describe('likelihood a token instead of gains, without a reference, and with a margin that is asked for'),
  ...{ beta: beta(2), sft },
  gamma: z.number().min(0).default(0.5).describe('the margin of rewards that is asked for'),
})
const hingeSchema = z.strictObject({
  type: z.literal('hinge').describe('pairs count until their margin of rewards is 1 (SLiC-HF)'),
  ...{ beta: beta(0.1), sft, reference },
})
const cdpoSchema = z.strictObject({
  type: z.literal('cdpo').describe('dpo that takes a share of the pairs to be the wrong way round, and stops at a finite margin'),
  ...{ beta: beta(0.1), sft, reference, labelSmoothing },
})
const robustSchema = z.strictObject({
  type: z.literal('robust').describe('dpo that is unbiased where a known share of the pairs is the wrong way round'),
  ...{ beta: beta(0.1), sft, reference, labelSmoothing },
})
const apoSchema = z.strictObject({
  type: z.literal('apo').describe('anchored preference optimisation: says for each side whether it is to become likelier'),
  ...{ beta: beta(0.1), sft, reference },
  variant: z
    .enum(['zero', 'down'])
    .default('zero')
    .describe('zero: the preferred answer up, the other down; down: both down, the other further'),
})

const dpo: Formula = {
  paper: 'Rafailov et al. 2023, Direct Preference Optimization (arXiv 2305.18290)',
  loss: (options, gains) => logistic(margin(options, gains)),
}
const ipo: Formula = {
  paper: 'Azar et al. 2023, A General Theoretical Paradigm to Understand Learning from Human Preferences (arXiv 2310.12036)',
  perToken: true,
  loss: ({ beta }, { chosen, rejected }) => tf.square(tf.sub(tf.sub(chosen, rejected), 1 / (2 * beta))),
}
const simpo: Formula = {
  paper: 'Meng, Xia and Chen 2024, SimPO: Simple Preference Optimization with a Reference-Free Reward (arXiv 2405.14734)',
  perToken: true,
  withoutReference: true,
  loss: (options, gains) => logistic(tf.sub(margin(options, gains), options.gamma)),
}
const hinge: Formula = {
  paper: 'Zhao et al. 2023, SLiC-HF: Sequence Likelihood Calibration with Human Feedback (arXiv 2305.10425)',
  loss: (options, gains) => tf.relu(tf.sub(1, margin(options, gains))),
}
const cdpo: Formula = {
  paper: 'Mitchell 2023, A note on DPO with noisy preferences and relationship to IPO',
  loss(options, gains) {
    const m = margin(options, gains) // [E]
    const { labelSmoothing: share } = options
    return tf.add(tf.mul(logistic(m), 1 - share), tf.mul(logistic(tf.neg(m)), share))
  },
}
const robust: Formula = {
  paper:
    'Chowdhury, Kini and Natarajan 2024, Provably Robust DPO: Aligning Language Models with Noisy Feedback (arXiv 2403.00409)',
  loss(options, gains) {
    const m = margin(options, gains) // [E]
    const { labelSmoothing: share } = options
    return tf.div(tf.sub(tf.mul(logistic(m), 1 - share), tf.mul(logistic(tf.neg(m)), share)), 1 - 2 * share)
  },
}
const apo: Formula = {
  paper: "D'Oosterlinck et al. 2024, Anchored Preference Optimization and Contrastive Revisions (arXiv 2408.06266)",
  loss({ beta, variant }, { chosen, rejected }) {
    const likely = (gain: tf.Tensor) => tf.sigmoid(tf.mul(gain, beta)) // [E]
    return variant === 'zero'
      ? tf.add(tf.sub(1, likely(chosen)), likely(rejected))
      : tf.add(likely(chosen), tf.sub(1, likely(tf.sub(chosen, rejected))))
  },
}

const mostPairs = 1 << 16

function pairLoss<Schema extends z.ZodType<PairOptions>>(
  type: string,
  _: Schema,
  formula: Formula,
): Loss<z.output<Schema>, readonly Float32Array[] | undefined> {
  const { perToken = false, withoutReference = false } = formula
  const referenceOf = ({ reference = 'start' }: PairOptions) => (withoutReference ? null : reference)
  return declareCode(import.meta.url, {
    type,
    paper: formula.paper,
    grouped: true,
    preferences: 'pairs',
    reference: referenceOf,
    reward: ({ beta }: PairOptions, { logProbability, reference, tokens }) =>
      (beta * (logProbability - reference)) / (perToken ? tokens : 1),
    data(options: PairOptions, { logProbabilities }) {
      const under = referenceOf(options)
      return rows => (under === null ? Promise.resolve(undefined) : logProbabilities(under, rows))
    },
    dims: { ...sequenceDims, E: [1, mostPairs] },
    inputs: () => ({
      ...sequenceInputs,
      ...(withoutReference ? {} : { reference: { shape: ['C'], dtype: 'float32' } as const }),
      chosen: { shape: ['E', 'C'], dtype: 'float32' },
      rejected: { shape: ['E', 'C'], dtype: 'float32' },
      share: { shape: [1], dtype: 'float32' },
    }),
    compute(options: PairOptions, read) {
      const { reference, chosen, rejected, share } = read.given
      const said = sequenceLogProbabilities(read) // [C]
      const lengths = sequenceLengths(read) // [C]
      const gained = reference ? tf.sub(said, reference) : said // [C]
      const counted = perToken ? tf.div(gained, lengths) : gained // [C]
      const ofSide = (side: tf.Tensor, values: tf.Tensor) =>
        tf.reshape(tf.matMul(side as tf.Tensor2D, tf.expandDims(values, 1) as tf.Tensor2D), [-1]) // [E]
      const mean = (values: tf.Tensor): tf.Scalar => tf.mul(tf.sum(values), tf.reshape(share!, []))
      const gains = { chosen: ofSide(chosen!, counted), rejected: ofSide(rejected!, counted) }
      const difference = tf.mul(tf.sub(gains.chosen, gains.rejected), options.beta) // [E]
      const loss = mean(formula.loss(options as PairOptions & FormulaOptions, gains))
      const figures = {
        chosenReward: mean(tf.mul(gains.chosen, options.beta)),
        rejectedReward: mean(tf.mul(gains.rejected, options.beta)),
        rewardMargin: mean(difference),
        rewardAccuracy: mean(tf.cast(tf.greater(difference, 0), 'float32')),
      }
      if (options.sft === 0) return { loss, figures }
      const crossEntropy = mean(tf.neg(ofSide(chosen!, tf.div(said, lengths))))
      return { loss: tf.add(loss, tf.mul(crossEntropy, options.sft)), figures: { ...figures, chosenCrossEntropy: crossEntropy } }
    },
    feed: (_: PairOptions, said, part) => ({
      ...sequenceFeeds(part),
      ...pairFeeds(part),
      ...(said && referenceFeed(said, part)),
    }),
  }) as Loss<z.output<Schema>, readonly Float32Array[] | undefined>
}

/** Sums of what the reference said of each sequence's labels, [C]. */
export function referenceFeed(said: readonly Float32Array[], { sequences }: LossPart): Record<'reference', ProgramInput> {
  const data = Float32Array.from(sequences, row => said[row]!.reduce((sum, value) => sum + value, 0))
  return { reference: { data, shape: [data.length] } }
}

/** Which sequence is which side of each pair, [E, C] each, and what a pair counts. */
function pairFeeds({ groups, sequences, batch }: LossPart): Record<'chosen' | 'rejected' | 'share', ProgramInput> {
  const shape = [groups.length, sequences.length]
  const sides = [0, 1].map(side => {
    const data = new Float32Array(groups.length * sequences.length)
    for (const [pair, members] of groups.entries()) {
      if (members.length !== 2)
        throw new GradpromptError('invalid-groups', 'A pair has two answers with at least one token each', {
          found: `a group of ${members.length}`,
          expected: 'groups of two rows, the preferred one first: groups: [2, 2]',
        })
      data[pair * sequences.length + members[side]!] = 1
    }
    return { data, shape }
  })
  return { chosen: sides[0]!, rejected: sides[1]!, share: Float32Array.of(1 / batch.groups) }
}

/** Every loss over pairs, with its options. */
export const preferenceLosses = [
  [pairLoss('dpo', dpoSchema, dpo), dpoSchema],
  [pairLoss('ipo', ipoSchema, ipo), ipoSchema],
  [pairLoss('simpo', simpoSchema, simpo), simpoSchema],
  [pairLoss('hinge', hingeSchema, hinge), hingeSchema],
  [pairLoss('cdpo', cdpoSchema, cdpo), cdpoSchema],
  [pairLoss('robust', robustSchema, robust), robustSchema],
  [pairLoss('apo', apoSchema, apo), apoSchema],
] as const
