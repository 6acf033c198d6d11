import { tf } from '../../kernels/tf.js'
import type { Device } from '../program/devices.js'
import { Program, type ProgramSpec } from '../program/program.js'
import type { LayerState, PromptPlacement } from '../prompts/method.js'
import { type ActivePrompt, parameterInputs, placementOf, plainPrompt } from './active-prompt.js'
import { Forest } from './forest/forest.js'
import { forestSpec } from './forest/spec.js'
import { forwardForest } from './forward.js'
import type { ProgramModel } from './model-programs.js'

/**
 * What the layers make of rows that stand alone at positions 0, 1, …: what a prompt of keys, or one before later layers, starts from.
 *
 * @param rows as the first layer takes them, [m, hiddenSize]
 * @returns one for each layer
 */
export async function layerStates(
  model: ProgramModel,
  rows: Float32Array,
  options: { readonly device: Device; readonly threads: number },
): Promise<LayerState[]> {
  const { config } = model.checkpoint
  const { hiddenSize, numLayers, numKeyValueHeads, headDim, intermediateSize } = config
  const prompt = plainPrompt({ data: rows, shape: [rows.length / hiddenSize, hiddenSize] }, config)
  const placement = placementOf(prompt, config)
  const forest = new Forest([{ ids: [] }], placement)
  const { inputs } = forest.inputs([{ row: placement.numVirtualTokens - 1, id: 0, weight: 0 }])
  const program = await Program.compile(statesSpec(model, prompt, placement), options)
  try {
    const results = (await program.run({ ...inputs, ...parameterInputs(prompt) })) as Record<string, Float32Array>
    const layer = (name: string, size: number) => (index: number) => results[name]!.slice(index * size, (index + 1) * size)
    const size = placement.numVirtualTokens * numKeyValueHeads * headDim
    const [hidden, key, value] = [layer('hidden', rows.length), layer('keys', size), layer('values', size)]
    const neurons = layer('neurons', intermediateSize)
    return Array.from({ length: numLayers }, (_, i) => ({
      hidden: hidden(i),
      key: key(i),
      value: value(i),
      neurons: neurons(i),
    }))
  } finally {
    await program.dispose()
  }
}

function statesSpec(
  { checkpoint: { family, config }, weights }: ProgramModel,
  { method, config: options }: ActivePrompt,
  placement: PromptPlacement,
): ProgramSpec {
  const { numVirtualTokens: count } = placement
  const { inputs, dims } = forestSpec({ placement })
  return {
    name: `${family.name} states`,
    inputs: { ...inputs, 'parameter:prompt': { shape: [count, config.hiddenSize], dtype: 'float32' } },
    dims,
    weights,
    origin: { module: import.meta.url, parts: [family], options: { config, count } },
    fn: (given, weight) => {
      const made = {
        hidden: [] as tf.Tensor2D[],
        keys: [] as tf.Tensor3D[],
        values: [] as tf.Tensor3D[],
        neurons: [] as tf.Tensor2D[],
      }
      forwardForest({
        family,
        config,
        weight,
        given,
        prompt: { method, config: options, parameters: { prompt: given['parameter:prompt']! } },
        onRows: (_, x) => made.hidden.push(tf.slice(x as tf.Tensor2D, [0, 0], [count, -1])),
        // The last layer has the row alone that is read: the prompt's last.
        onNeurons: (layer, x) => {
          const row = layer === config.numLayers - 1 ? 0 : count - 1
          made.neurons.push(tf.slice(x as tf.Tensor2D, [row, 0], [1, -1]))
        },
        onKeys: (_, key, value) => {
          made.keys.push(tf.slice(key as tf.Tensor3D, [0, 0, 0], [-1, count, -1]))
          made.values.push(tf.slice(value as tf.Tensor3D, [0, 0, 0], [-1, count, -1]))
        },
      })
      return {
        hidden: tf.concat(made.hidden, 0),
        keys: tf.concat(made.keys, 0),
        values: tf.concat(made.values, 0),
        neurons: tf.concat(made.neurons, 0),
      }
    },
  }
}
