import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import type { PromptMethod } from '../method.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * Two prompts for one set of labels (LAPT, Zhang et al. 2024, arXiv 2407.08966): the classes that there are (`known`) are scored under one,
 * labels of what belongs to none of them under the other. Both start alike. Which prompt a candidate has is decided by its label alone,
 * so that a text is one row whatever it turns out to be.
 *
 * What is computed without a label has the mean of both, which is where both begin.
 */
export const laptSchema = z.strictObject({
  type: z.literal('lapt').describe('two prompts before the input: one for the classes, one for labels of what is none of them'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('rows of each of both'),
  known: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('label words (the first of each class) of the classes; the other labels are foreign. By default all are classes'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('what both start from'),
})

export type LaptConfig = z.output<typeof laptSchema>

export const lapt: PromptMethod<LaptConfig> = declareCode(import.meta.url, {
  type: 'lapt',
  paper: 'Zhang et al. 2024, LAPT: Label-driven Automated Prompt Tuning for OOD Detection (arXiv 2407.08966)',
  learningRate: 0.01,
  placement: ({ numVirtualTokens }) => ({ numVirtualTokens, position: 'before-bos' }),
  parameters({ numVirtualTokens }, { hiddenSize }) {
    const shape = [numVirtualTokens, hiddenSize]
    return [
      { name: 'known', shape },
      { name: 'foreign', shape },
      { name: 'group', shape: [2], frozen: true },
    ]
  },
  async initialise({ numVirtualTokens, init }, context) {
    const rows = await startingRows(init, numVirtualTokens, context)
    return new Map([
      ['known', rows],
      ['foreign', rows.slice()],
      ['group', Float32Array.of(0.5, 0.5)],
    ])
  },
  inputRows(_, { known, foreign, group }) {
    const of = (place: number) => tf.slice(group as tf.Tensor1D, place, 1) // [1]
    return tf.add(tf.mul(known!, of(0)), tf.mul(foreign!, of(1))) // [m, d]
  },
  tasks: ({ known }) => ({
    names: ['known', 'foreign'],
    ofAnswer: word => (known === undefined || known.includes(word) ? 0 : 1),
  }),
  forTask: (_, parameters, task) => new Map([...parameters, ['group', Float32Array.of(task === 0 ? 1 : 0, task === 0 ? 0 : 1)]]),
})
