import type { ConfigReader } from './config-reader.js'
import type { ModelConfig } from './family.js'
import type { MlpConfig } from './mlp.js'
import type { NormConfig } from './norm.js'
import { contextLength, type RotaryConfig } from './rotary.js'

/**
 * All that a decoder's arithmetic depends on, in the terms of the blocks. A family says how a config.json reads as one; the blocks do
 * not know the family.
 */
export interface DecoderConfig extends ModelConfig {
  /** What token embeddings are multiplied by. */
  readonly embeddingMultiplier: number
  /** Learned positions are added to the embeddings, the first of them from this row of their table. */
  readonly positions?: { readonly offset: number } | undefined
  readonly norm: NormConfig
  readonly attention: AttentionConfig
  /** The kinds of rotation that layers choose from. */
  readonly rotaries: readonly RotaryConfig[]
  /** One entry a layer. */
  readonly layers: readonly LayerKind[]
  readonly mlp: MlpConfig
  readonly residual: ResidualConfig
  /** Logits are multiplied by `multiplier`, then `softCap * tanh(x / softCap)` unless that is 0. */
  readonly logits: { readonly multiplier: number; readonly softCap: number; readonly bias: boolean }
}

export interface AttentionConfig {
  readonly queryKeyValueBias: boolean
  readonly outputBias: boolean
  /**
   * Queries and keys are normalised before they turn: `head` by head with one weight [D], or with one for `each` of them [H, D], which has
   * no bias; or `all` heads at once, [H D].
   */
  readonly queryKeyNorm: 'none' | 'head' | 'each' | 'all'
  /** Multiplies the scores. */
  readonly scale: number
  /** Scores s become `softCap * tanh(s / softCap)`; 0: they stay. */
  readonly softCap: number
}

export interface LayerKind {
  /** How many positions back a row sees, itself included; 0: all. */
  readonly window: number
  /** Which of the rotations turns queries and keys; -1: none. */
  readonly rotary: number
}

/** How attention and MLP join the residual stream. */
export interface ResidualConfig {
  /** Both take the same rows, and both are added to them. */
  readonly parallel: boolean
  /** Rows are normalised before each; `shared`: once, for both. */
  readonly before: 'own' | 'shared' | 'none'
  /** What each makes is normalised before it is added. */
  readonly after: boolean
  /** What is added is multiplied by this. */
  readonly multiplier: number
}

/** What a family says of its config; everything else is as in Llama. */
export type DecoderParts = ModelConfig &
  Pick<DecoderConfig, 'norm' | 'mlp'> & {
    readonly embeddingMultiplier?: number
    readonly positions?: DecoderConfig['positions']
    readonly attention?: Partial<AttentionConfig>
    readonly rotaries?: readonly RotaryConfig[]
    /** By default every layer sees all and turns by the first rotation, if there is one. */
    readonly layers?: readonly LayerKind[]
    readonly residual?: Partial<ResidualConfig>
    readonly logits?: Partial<DecoderConfig['logits']>
  }

export function decoderConfig(parts: DecoderParts): DecoderConfig {
  const { rotaries = [] } = parts
  return {
    ...parts,
    embeddingMultiplier: parts.embeddingMultiplier ?? 1,
    attention: {
      queryKeyValueBias: false,
      outputBias: false,
      queryKeyNorm: 'none',
      scale: parts.headDim ** -0.5,
      softCap: 0,
      ...parts.attention,
    },
    rotaries,
    layers: parts.layers ?? layerKinds(parts, () => ({ window: 0, rotary: rotaries.length > 0 ? 0 : -1 })),
    residual: { parallel: false, before: 'own', after: false, multiplier: 1, ...parts.residual },
    logits: { multiplier: 1, softCap: 0, bias: false, ...parts.logits },
  }
}

export const layerKinds = ({ numLayers }: Pick<ModelConfig, 'numLayers'>, of: (layer: number) => LayerKind): LayerKind[] =>
  Array.from({ length: numLayers }, (_, layer) => of(layer))

/** The keys of most families' sizes; a family names those that it spells otherwise. */
export interface SizeNames {
  readonly hiddenSize?: readonly string[]
  readonly numLayers?: readonly string[]
  readonly numAttentionHeads?: readonly string[]
  readonly numKeyValueHeads?: readonly string[]
  readonly intermediateSize?: readonly string[]
  readonly maxPositionEmbeddings?: readonly string[]
}

export interface SizeDefaults {
  readonly tied: boolean
  /** How wide the MLP is in hidden sizes, where the config does not say. */
  readonly mlpRatio?: number
  /** Heads have a size of their own, and this is it where the config does not say. */
  readonly headDim?: number
  readonly maxPositionEmbeddings?: number
}

/** @throws GradpromptError `invalid-model-config` for sizes that contradict one another */
export function readSizes(raw: ConfigReader, defaults: SizeDefaults, names: SizeNames = {}): ModelConfig {
  const hiddenSize = raw.integer(names.hiddenSize ?? 'hidden_size')
  const headName = names.numAttentionHeads ?? ['num_attention_heads']
  const keyHeadName = names.numKeyValueHeads ?? ['num_key_value_heads']
  const numAttentionHeads = raw.integer(headName)
  const numKeyValueHeads = raw.integer(keyHeadName, numAttentionHeads)
  if (numAttentionHeads % numKeyValueHeads !== 0)
    throw raw.wrong(keyHeadName[0]!, numKeyValueHeads, `a divisor of the ${numAttentionHeads} attention heads`)
  const headDim = raw.integer('head_dim', defaults.headDim ?? hiddenSize / numAttentionHeads)
  const valueDim = raw.integer('v_head_dim', headDim)
  if (valueDim !== headDim) throw raw.wrong('v_head_dim', valueDim, `${headDim}, the size of queries and keys`)
  const ratio = defaults.mlpRatio
  const given = raw.integer(names.maxPositionEmbeddings ?? 'max_position_embeddings', defaults.maxPositionEmbeddings)
  return {
    vocabSize: raw.integer('vocab_size'),
    hiddenSize,
    numLayers: raw.layers(names.numLayers ?? 'num_hidden_layers'),
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    intermediateSize: raw.integer(names.intermediateSize ?? 'intermediate_size', ratio && ratio * hiddenSize),
    maxPositionEmbeddings: contextLength(raw, given),
    tieWordEmbeddings: raw.boolean('tie_word_embeddings', defaults.tied),
  }
}

const isLayerType = (value: unknown): value is 'full_attention' | 'sliding_attention' =>
  value === 'full_attention' || value === 'sliding_attention'

/**
 * Layers that all turn alike, and of which some see a window alone: by `layer_types`, or by the family's own rule.
 *
 * @param window of the layers that have one, 0: none has
 * @param rule whether a layer has it, where the config does not list the layers
 * @param rotary which rotation a layer takes
 */
export function windowedLayers(
  raw: ConfigReader,
  sizes: ModelConfig,
  window: number,
  rule: (layer: number) => boolean,
  rotary: (slides: boolean, layer: number) => number = () => 0,
): LayerKind[] {
  const types = raw.list('layer_types', sizes.numLayers, isLayerType, 'full_attention or sliding_attention')
  if (types?.includes('sliding_attention') && window === 0)
    throw raw.wrong('sliding_window', undefined, 'a whole number: layer_types names layers with sliding attention')
  return layerKinds(sizes, layer => {
    const slides = types ? types[layer] === 'sliding_attention' : rule(layer)
    return { window: slides ? window : 0, rotary: rotary(slides, layer) }
  })
}

/**
 * `sliding_window`, or 0 where it is null or switched off.
 * @param fallback where the key is absent
 */
export function readWindow(raw: ConfigReader, { enabled = true, fallback = 0 } = {}): number {
  const window = raw.raw.sliding_window === null ? 0 : raw.integer('sliding_window', fallback, 0)
  return enabled ? window : 0
}
