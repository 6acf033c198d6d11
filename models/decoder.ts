import { gatherRows } from '../kernels/gather-rows.js'
import { linear } from '../kernels/linear.js'
import { tf } from '../kernels/tf.js'
import { attentionCall } from './blocks/attention.js'
import type { DecoderConfig } from './blocks/config.js'
import type { ConfigReader } from './blocks/config-reader.js'
import type { GgufNaming, HiddenInputs, ModelFamily } from './blocks/family.js'
import { computesAlike, type GgufForm, type GgufScalar, ggufValues, rotaryTensors } from './blocks/gguf-values.js'
import { keptNumbers } from './blocks/kept.js'
import { mlp } from './blocks/mlp.js'
import { normalise } from './blocks/norm.js'
import { type RotaryTables, rotaryTables } from './blocks/rotary.js'
import { type DecoderNaming, decoderWeights, ggufNaming, layerWeight } from './blocks/weights.js'

/**
 * A decoder of one kind of layer, put together from the blocks in `blocks/` as its config says. A family is then what is particular to
 * its files: how a config.json reads, and what the weights are called. Nothing here knows a family by name.
 */
export interface DecoderFamily {
  readonly name: string
  readonly modelTypes: readonly string[]
  /** Reads a config.json (or what `gguf.config` makes of a file's metadata). Keys that it leaves unread are refused. */
  parseConfig(raw: ConfigReader): DecoderConfig
  /** Names in a folder of safetensors. */
  naming(config: DecoderConfig): DecoderNaming
  /** Undefined: no such files are known. */
  readonly gguf?: Pick<GgufNaming, 'architectures' | 'config' | 'headless'> & {
    /** What is not as in most of these files. */
    naming?(architecture: string, config: DecoderConfig): Partial<DecoderNaming>
    /** llama.cpp computes windows here; elsewhere it sees all, and a model with windows is no such file. */
    readonly windows?: boolean
    /** Values of keys that stand for something else here than in most of these files. */
    values?(config: DecoderConfig): Readonly<Record<string, GgufScalar>>
  }
  /** Stored tensors that are known and not needed. */
  readonly ignored?: RegExp
  /** Name of a layer's attention among the modules of transformers' model. */
  attentionModule(layer: number): string
  /** transformers' model scales what it is given in place of embeddings, too. */
  readonly scalesInputs?: boolean
  /** Its keys have the two numbers that turn together side by side. */
  readonly pairedKeys?: boolean
  /** What PEFT adds to a layer's attention joins it behind the output projection. */
  readonly besideOutput?: boolean
}

/** Old checkpoints have them, and they follow from the config; GGUF's are read with the config. */
const FREQUENCIES = /rotary_emb\.inv_freq$|^rope_freqs\.weight$|^rope_factors_(short|long)\.weight$/

export function decoderFamily(family: DecoderFamily): ModelFamily<DecoderConfig> {
  const { name, modelTypes, gguf, attentionModule, besideOutput = false } = family
  return {
    name,
    modelTypes,
    attentionModule,
    inputMultiplier: ({ embeddingMultiplier }) => (family.scalesInputs ? embeddingMultiplier : 1),
    pairedKeys: family.pairedKeys ?? false,
    embedding: 'embedding',
    ignored: family.ignored ? new RegExp(`${FREQUENCIES.source}|${family.ignored.source}`) : FREQUENCIES,
    parseConfig: raw => family.parseConfig(raw),
    weights: config => decoderWeights(config, family.naming(config)),
    kept: keptNumbers,
    embed: ({ embeddingMultiplier }, weight, ids) =>
      multiplied(tf.gather(weight('embedding'), ids as tf.Tensor1D), embeddingMultiplier),
    embeddingProducts: ({ embeddingMultiplier }, weight, vectors) =>
      multiplied(tf.matMul(vectors as tf.Tensor2D, weight('embedding') as tf.Tensor2D, false, true), embeddingMultiplier),
    embeddingSums: ({ embeddingMultiplier }, weight, weights) =>
      multiplied(tf.matMul(weights as tf.Tensor2D, weight('embedding') as tf.Tensor2D), embeddingMultiplier),
    hidden: (config, inputs) => hiddenStates(config, inputs, besideOutput),
    logits: ({ tieWordEmbeddings, logits }, weight, hidden) => {
      const head = weight(tieWordEmbeddings ? 'embedding' : 'head')
      const made = linear(hidden, head, logits.bias ? weight('headBias') : undefined)
      return capped(multiplied(made, logits.multiplier), logits.softCap)
    },
    gguf: {
      architectures: gguf?.architectures ?? [],
      headless: gguf?.headless ?? false,
      config: (get, architecture, has) => gguf!.config(get, architecture, has),
      weights: (config, architecture) => decoderWeights(config, { ...ggufNaming, ...gguf?.naming?.(architecture, config) }),
      ...(gguf && { write: config => ggufForm(gguf, config), computesAlike }),
    },
  }
}

/** What a file gets of a config: the keys that are asked for where such a file is read. */
function ggufForm(gguf: NonNullable<DecoderFamily['gguf']>, config: DecoderConfig): GgufForm {
  const architecture = gguf.architectures[0]!
  const all = new Map([...ggufValues(config), ...Object.entries(gguf.values?.(config) ?? {})])
  if (!gguf.windows) all.delete('attention.sliding_window')
  const values = new Map<string, GgufScalar>()
  const get = (key: string) => {
    const value = all.get(key)
    if (value) values.set(key, value)
    return value?.value
  }
  gguf.config(get, architecture, () => true)
  return { architecture, values, tensors: rotaryTensors(config) }
}

const multiplied = (x: tf.Tensor, by: number) => (by === 1 ? x : tf.mul(x, by))

/** `cap * tanh(x / cap)`; as it is where the cap is 0. */
const capped = (x: tf.Tensor, cap: number) => (cap === 0 ? x : tf.mul(tf.tanh(tf.div(x, cap)), cap))

function hiddenStates(config: DecoderConfig, inputs: HiddenInputs, besideOutput: boolean): tf.Tensor {
  const { weight, from = 0, to, read, attend, attendBeside, onNeurons, beforeLayer, afterLayer } = inputs
  const { numAttentionHeads: heads, headDim, numLayers, norm, attention, layers, rotaries } = config
  const { parallel, before, after, multiplier } = config.residual
  const tablesOf = (at: tf.Tensor) => rotaries.map(rotary => rotaryTables(rotary, at))
  let tables: readonly RotaryTables[] = tablesOf(inputs.positions) // of [R, dims/2]
  let x = inputs.x
  if (config.positions && from === 0) x = tf.add(x, positionRows(config.positions.offset, weight, inputs.positions)) // [R, d]
  for (let layer = from; layer < numLayers; layer++) {
    if (layer === to) return x
    const w = (name: string) => weight(layerWeight(layer, name))
    const changed = beforeLayer?.(layer, x)
    if (changed) {
      x = changed.x
      tables = tablesOf(changed.positions)
    }
    const normalised = (rows: tf.Tensor) => (before === 'none' ? rows : normalise(norm, w, 'attentionNorm', rows))
    const h = normalised(x) // [R, d]
    const { rotary } = layers[layer]!
    const last = layer === numLayers - 1
    const call = attentionCall({
      config,
      layer,
      weight: w,
      x: h,
      ...(last ? { read } : {}),
      tables: tables[rotary],
      tablesAt: at => (rotary < 0 ? undefined : rotaryTables(rotaries[rotary]!, at)),
      normalised,
    })
    /** The rows that go on: all, or in the last layer those that are read. */
    const kept = (rows: tf.Tensor) => (last ? gatherRows(rows, read.index, read.inverse) : rows)
    /** [H, R, D] -> [R, H D]; in the last layer [H, Q, D] -> [Q, H D] */
    const joined = (y: tf.Tensor) => tf.reshape(tf.transpose(y, [1, 0, 2]), [-1, heads * headDim])
    const added = (made: tf.Tensor, name: string) => multiplied(after ? normalise(norm, w, name, made) : made, multiplier)
    const beside = attendBeside?.(call)
    const attended = attend(call)
    const residual = kept(x)
    const inner = joined(beside && !besideOutput ? tf.add(attended, beside) : attended)
    const output = linear(inner, w('attentionOutput'), attention.outputBias ? w('attentionOutputBias') : undefined)
    x = tf.add(residual, added(output, 'afterAttentionNorm'))
    if (beside && besideOutput) x = tf.add(x, joined(beside))
    const m = before === 'own' ? normalise(norm, w, 'mlpNorm', parallel ? residual : x) : before === 'shared' ? kept(h) : x
    const made = mlp(config.mlp, w, m, onNeurons && (neurons => onNeurons(layer, neurons)))
    x = tf.add(x, added(made, 'afterMlpNorm'))
    if (afterLayer) x = afterLayer(layer, x)
  }
  return normalise(norm, weight, 'norm', x)
}

/** Learned positions, [R, d]. */
function positionRows(offset: number, weight: (name: string) => tf.Tensor, positions: tf.Tensor): tf.Tensor {
  const rows = offset === 0 ? positions : tf.add(positions, tf.scalar(offset, 'int32'))
  return tf.gather(weight('positions'), rows as tf.Tensor1D)
}
