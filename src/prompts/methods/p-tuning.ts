import { z } from 'zod'
import { tf } from '../../../kernels/tf.js'
import { declareCode } from '../../code-identity.js'
import { elementCount } from '../../numbers.js'
import { normalNumbers, uniformNumbers } from '../initialisation.js'
import type { Parameters, PromptMethod, PromptParameter } from '../method.js'

/**
 * P-tuning (Liu et al. 2021, arXiv 2103.10385), with the layers and parameters of PEFT: a network makes the rows before the text out of
 * learned ones, so that they depend on each other while they are learned. Only its output is needed afterwards.
 *
 *     mlp    P = Linear(ReLU(Linear(ReLU(Linear(V)))))
 *     lstm   P = Linear(ReLU(Linear(BiLSTM(V))))
 */
export const pTuningSchema = z.strictObject({
  type: z.literal('p-tuning').describe('rows before the input embeddings that a small network makes'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('rows that are made'),
  encoderReparameterizationType: z.enum(['mlp', 'lstm']).default('mlp').describe('the network'),
  encoderHiddenSize: z.int().min(1).max(100_000).optional().describe("width of the network; by default the model's"),
  encoderNumLayers: z.int().min(1).max(16).default(2).describe('layers of the LSTM; the MLP has three'),
})

export type PTuningConfig = z.output<typeof pTuningSchema>

/** The largest number of LSTM steps that are laid out one by one. */
const longestUnrolled = 512

const directions = ['', '_reverse'] as const

/** Input width, output width and name of the linear layers. */
function linearLayers({ encoderReparameterizationType: type, encoderHiddenSize }: PTuningConfig, d: number) {
  const h = encoderHiddenSize ?? d
  const layer = (name: string, from: number, to: number) => ({ name: `mlp_head.${name}`, from, to })
  return type === 'mlp'
    ? [layer('0', d, h), layer('2', h, h), layer('4', h, d)]
    : [layer('0', 2 * h, 2 * h), layer('2', 2 * h, d)]
}

export const pTuning: PromptMethod<PTuningConfig> = declareCode(import.meta.url, {
  type: 'p-tuning',
  paper: 'Liu et al. 2021, GPT Understands, Too (arXiv 2103.10385)',
  learningRate: 0.001,
  placement: ({ numVirtualTokens }) => ({ numVirtualTokens, position: 'before-bos' }),

  check({ encoderReparameterizationType, numVirtualTokens }) {
    return encoderReparameterizationType === 'lstm' && numVirtualTokens > longestUnrolled
      ? `method.numVirtualTokens (${numVirtualTokens}) is beyond what method.encoderReparameterizationType: lstm takes (1 to ${longestUnrolled})`
      : undefined
  },

  parameters(config, { hiddenSize: d }) {
    const { numVirtualTokens, encoderReparameterizationType: type, encoderHiddenSize: h = d, encoderNumLayers } = config
    const parameters: PromptParameter[] = [{ name: 'embedding.weight', shape: [numVirtualTokens, d] }]
    for (let layer = 0; type === 'lstm' && layer < encoderNumLayers; layer++)
      for (const direction of directions) {
        const suffix = `l${layer}${direction}`
        parameters.push(
          { name: `lstm_head.weight_ih_${suffix}`, shape: [4 * h, layer === 0 ? d : 2 * h] },
          { name: `lstm_head.weight_hh_${suffix}`, shape: [4 * h, h] },
          { name: `lstm_head.bias_ih_${suffix}`, shape: [4 * h] },
          { name: `lstm_head.bias_hh_${suffix}`, shape: [4 * h] },
        )
      }
    for (const { name, from, to } of linearLayers(config, d))
      parameters.push({ name: `${name}.weight`, shape: [to, from] }, { name: `${name}.bias`, shape: [to] })
    return parameters
  },

  /** As torch starts its layers: V normal, an LSTM within 1 / sqrt(width), a linear layer within 1 / sqrt(inputs). */
  async initialise(config, { model, seed }) {
    const { hiddenSize: d } = model
    const inputs = new Map(linearLayers(config, d).map(({ name, from }) => [name, from]))
    return new Map(
      this.parameters(config, model).map(({ name, shape }, i) => {
        const count = elementCount(shape)
        if (i === 0) return [name, normalNumbers(count, 1, seed)]
        const fan = inputs.get(name.replace(/\.(weight|bias)$/, '')) ?? config.encoderHiddenSize ?? d
        return [name, uniformNumbers(count, fan ** -0.5, seed, i)]
      }),
    )
  },

  inputRows({ encoderReparameterizationType: type, encoderNumLayers }, parameters) {
    let x = parameters['embedding.weight']! // [m, d]
    if (type === 'lstm') {
      for (let layer = 0; layer < encoderNumLayers; layer++) x = bidirectional(x, parameters, `l${layer}`) // [m, 2 h]
      return linear(tf.relu(linear(x, parameters, 'mlp_head.0')), parameters, 'mlp_head.2')
    }
    const inner = tf.relu(linear(tf.relu(linear(x, parameters, 'mlp_head.0')), parameters, 'mlp_head.2')) // [m, h]
    return linear(inner, parameters, 'mlp_head.4')
  },
})

/** torch's layout: weight [out, in]. */
const linear = (x: tf.Tensor, parameters: Parameters, name: string): tf.Tensor =>
  tf.add(tf.matMul(x, parameters[`${name}.weight`]!, false, true), parameters[`${name}.bias`]!)

/** One layer of a bidirectional LSTM, [m, n] -> [m, 2 h]. Both directions step together: the second goes over the reversed rows. */
function bidirectional(x: tf.Tensor, parameters: Parameters, layer: string): tf.Tensor {
  const m = x.shape[0]!
  const at = (name: string, direction: string) => parameters[`lstm_head.${name}_${layer}${direction}`]!
  const fromInput = directions.map((direction, i) => {
    const bias = tf.add(at('bias_ih', direction), at('bias_hh', direction))
    const rows = tf.add(tf.matMul(x, at('weight_ih', direction), false, true), bias) // [m, 4 h]
    return i === 0 ? rows : tf.reverse(rows, 0)
  })
  const steps = tf.split(tf.stack(fromInput), m, 1) // m of [2, 1, 4 h]
  const recurrent = tf.stack(directions.map(direction => at('weight_hh', direction))) // [2, 4 h, h]
  const h = recurrent.shape[2]!
  let hidden: tf.Tensor = tf.zeros([2, 1, h])
  let cell: tf.Tensor = tf.zeros([2, 1, h])
  const outputs: tf.Tensor3D[] = []
  for (const step of steps) {
    const gates = tf.add(step, tf.matMul(hidden, recurrent, false, true)) // [2, 1, 4 h]
    const [input, forget, update, output] = tf.split(gates, 4, 2) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
    cell = tf.add(tf.mul(tf.sigmoid(forget), cell), tf.mul(tf.sigmoid(input), tf.tanh(update)))
    hidden = tf.mul(tf.sigmoid(output), tf.tanh(cell))
    outputs.push(hidden as tf.Tensor3D)
  }
  const [forward, backward] = tf.split(tf.concat(outputs, 1), 2, 0).map(one => tf.reshape(one, [m, h])) // [m, h] each
  return tf.concat([forward as tf.Tensor2D, tf.reverse(backward as tf.Tensor2D, 0)], 1)
}
