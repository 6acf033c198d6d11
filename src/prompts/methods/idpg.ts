import { z } from 'zod'
import { gelu } from '../../../kernels/gelu.js'
import { tf } from '../../../kernels/tf.js'
import type { ModelConfig } from '../../../models/blocks/family.js'
import { declareCode } from '../../code-identity.js'
import { bottleneckParameters, narrowed, normalised, startingBottleneck, widened } from '../generator.js'
import type { Parameters, PromptMethod, SequenceRows } from '../method.js'
import { lastRow, meanRow } from '../pooling.js'
import { initSchema, startingRows } from '../starts/index.js'

/**
 * Instance-dependent prompt generation (Wu et al. 2022, arXiv 2204.04497): one encoding h of the instruction becomes all k virtual
 * tokens, `g(h W_down + b_down) W_up + b_up`. At the input h is the mean of the instruction's embeddings; before a later layer it is
 * made of the hidden rows there, and the tokens join the text there as well.
 */
export const idpgSchema = z.strictObject({
  type: z.literal('idpg').describe('virtual tokens made from one encoding of the instruction'),
  numVirtualTokens: z.int().min(1).max(1000).default(5).describe('rows that are made'),
  init: initSchema.prefault({ type: 'vocabulary' }).describe('the tokens that the rows start as'),
  encoding: z.enum(['mean', 'last-token']).default('mean').describe("the instruction's rows as one: their mean, or the last"),
  insertionLayer: z.int().min(0).default(0).describe('the layer, from 0, before which they join the text; 0: the input'),
  bottleneck: z.int().min(1).max(100_000).default(128).describe('width of the generator'),
  activation: z.enum(['gelu', 'relu', 'tanh']).default('gelu').describe('between the two projections'),
  normalize: z.boolean().default(true).describe("divide the instruction's rows by their root mean square first"),
  generatorLearningRate: z.number().positive().default(0.0002).describe("highest learning rate of the generator's network"),
})

export type IdpgConfig = z.output<typeof idpgSchema>

const sizes = ({ numVirtualTokens: count, bottleneck }: IdpgConfig, { hiddenSize }: ModelConfig) => ({
  hiddenSize,
  bottleneck,
  count,
  outputs: count * hiddenSize,
})

export const idpg: PromptMethod<IdpgConfig> = declareCode(import.meta.url, {
  type: 'idpg',
  paper: 'Wu et al. 2022, IDPG: An Instance-Dependent Prompt Generation Method (arXiv 2204.04497)',
  learningRate: 0.01,
  placement: ({ numVirtualTokens, insertionLayer }) => ({
    numVirtualTokens,
    position: 'before-bos',
    insertionLayer,
    perSequence: true,
  }),

  check({ insertionLayer, bottleneck }, { numLayers, hiddenSize }) {
    if (insertionLayer >= numLayers)
      return `method.insertionLayer (${insertionLayer}) is beyond the model's last layer (${numLayers - 1}): take 0 to ${numLayers - 1}`
    if (bottleneck > hiddenSize)
      return `method.bottleneck (${bottleneck}) is beyond the model's width (${hiddenSize}): take 1 to ${hiddenSize}`
    return undefined
  },

  parameters: (config, model) => bottleneckParameters(sizes(config, model), config.generatorLearningRate),

  async initialise(config, context) {
    const { model, seed } = context
    const input = await startingRows(config.init, config.numVirtualTokens, context)
    const rows = config.insertionLayer === 0 ? input : (await context.keysAndValues(input))[config.insertionLayer]!.hidden
    return new Map<string, Float32Array>(startingBottleneck(sizes(config, model), rows, seed))
  },

  sequenceRows: generated,
  layerRows: (config, parameters, rows) =>
    rows.layer > 0 && rows.layer === config.insertionLayer ? generated(config, parameters, rows) : undefined,
})

/** [B k, d] */
function generated({ encoding, activation, normalize }: IdpgConfig, parameters: Parameters, rows: SequenceRows): tf.Tensor {
  const encode = encoding === 'mean' ? meanRow : lastRow
  const encoded = encode(rows, narrowed(parameters, normalize ? normalised(rows.hidden) : rows.hidden)) // [B, 1, b]
  const activate = { gelu: (x: tf.Tensor) => gelu(x, 'erf'), relu: tf.relu, tanh: tf.tanh }[activation]
  return widened(parameters, activate(encoded))
}
