import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import type { PromptMethod } from '../method.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * A prompt for each person over one that all share (the user model of P-DPO, Li et al. 2024, arXiv 2402.05133, without its LoRA): rows of
 * the person stand before rows of everybody, e_i = e_0 + o_i, with e_0 what is said of somebody who is not known. With `clusters` a person
 * is a mixture, o_i = softmax(w_i) V, so that those of whom little is known share what they have in common.
 *
 * A column of the data names the person; where it is empty, the row is nobody's, and `genericShare` of the rows of a step are learned as
 * nobody's, so that e_0 is learned as well. Of the loss nothing is known here: with `dpo` it is P-DPO.
 */
export const personalSchema = z.strictObject({
  type: z.literal('personal').describe('rows of each person before rows that all share'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('rows that all share'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('what the shared rows start from: a run, to make it personal'),
  users: z
    .array(z.string().min(1))
    .max(10_000)
    .refine(names => new Set(names).size === names.length, 'a list of names that differ')
    .default([])
    .describe('the people, as the column method.userColumn names them'),
  userColumn: z.string().min(1).default('user').describe("the column that names a row's person; empty: nobody that is known"),
  userTokens: z.int().min(1).max(1000).default(1).describe('rows of each person'),
  clusters: z
    .int()
    .min(2)
    .max(1000)
    .optional()
    .describe('a person is a mixture of so many kinds; by default each has rows of their own'),
  genericShare: z.number().min(0).lt(1).default(0.5).describe("share of a step's rows that are learned as nobody's"),
  shared: z.enum(['learned', 'frozen']).default('learned').describe('whether the rows that all share change as well'),
})

export type PersonalConfig = z.output<typeof personalSchema>

/** What the offsets are made of: kinds of people, or the people themselves. */
const numOffsets = ({ clusters, users }: PersonalConfig) => clusters ?? users.length

export const personal: PromptMethod<PersonalConfig> = declareCode(import.meta.url, {
  type: 'personal',
  paper: 'Li et al. 2024, Personalized Language Modeling from Personalized Human Feedback (arXiv 2402.05133)',
  learningRate: 0.01,
  placement: ({ numVirtualTokens, userTokens }) => ({
    numVirtualTokens: userTokens + numVirtualTokens,
    position: 'before-bos',
  }),

  check({ users, clusters = 0, userColumn }) {
    if (users.length === 0) return `method.users is empty: name the people, as the column ${userColumn} does`
    return clusters > users.length
      ? `method.clusters (${clusters}) is beyond the number of people (${users.length}): take 2 to ${users.length}, or none`
      : undefined
  },

  parameters(config, { hiddenSize }) {
    const { numVirtualTokens, userTokens, users, clusters, shared } = config
    return [
      { name: 'sharedRows', shape: [numVirtualTokens, hiddenSize], ...(shared === 'frozen' && { frozen: true }) },
      { name: 'genericRows', shape: [userTokens, hiddenSize] },
      { name: 'offsets', shape: [numOffsets(config), userTokens, hiddenSize] },
      ...(clusters === undefined ? [] : [{ name: 'mixture', shape: [users.length, clusters] }]),
      { name: 'user', shape: [users.length], frozen: true },
    ]
  },

  /** Nobody is known to differ: a person starts as nobody in particular, or as an even mixture of kinds, which differ as embeddings do. */
  async initialise(config, context) {
    const { numVirtualTokens, userTokens, users, clusters, init } = config
    const { hiddenSize } = context.model
    const count = numOffsets(config) * userTokens
    return new Map([
      ['sharedRows', await startingRows(init, numVirtualTokens, context)],
      ['genericRows', await startingRows({ type: 'vocabulary' }, userTokens, context)],
      [
        'offsets',
        clusters === undefined ? new Float32Array(count * hiddenSize) : await startingRows({ type: 'random' }, count, context),
      ],
      ...(clusters === undefined ? [] : [['mixture', new Float32Array(users.length * clusters)] as const]),
      ['user', new Float32Array(users.length)],
    ])
  },

  inputRows({ userTokens: u }, { sharedRows, genericRows, offsets, mixture, user }) {
    const [count, kinds, d] = [user!.shape[0]!, offsets!.shape[0]!, sharedRows!.shape[1]!]
    const who = tf.reshape(user!, [1, count])
    // Of nobody the shares are zero, those of a mixture as well.
    const shares = mixture ? tf.mul(tf.softmax(tf.matMul(who, mixture)), tf.sum(user!)) : who // [1, K]
    const offset = tf.reshape(tf.matMul(shares, tf.reshape(offsets!, [kinds, u * d])), [u, d]) // [u, d]
    return tf.concat([tf.add(genericRows!, offset), sharedRows!]) // [u + m, d]
  },

  tasks: ({ users, userColumn, genericShare }) => ({ column: userColumn, names: users, genericShare }),
  forTask({ users }, parameters, task) {
    const chosen = new Float32Array(users.length)
    if (!(task < chosen.length)) throw new RangeError(`there is no user ${task} among ${chosen.length}`)
    chosen[task] = 1
    return new Map([...parameters, ['user', chosen]])
  },
})
