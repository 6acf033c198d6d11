import type { tf } from '../../kernels/tf.js'
import type { ConfigReader } from './config-reader.js'
import type { GgufForm } from './gguf-values.js'

/** What every causal language model has, in the words of Hugging Face's config.json. */
export interface ModelConfig {
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly numLayers: number
  readonly numAttentionHeads: number
  readonly numKeyValueHeads: number
  readonly headDim: number
  readonly intermediateSize: number
  readonly maxPositionEmbeddings: number
  readonly tieWordEmbeddings: boolean
}

/** A weight as programs use it: stored tensors, one after the other along the first axis. */
export interface WeightSpec {
  readonly name: string
  readonly shape: readonly number[]
  readonly parts: readonly WeightPart[]
  /** Further names for runs of its rows (first axis), over the same bytes. */
  readonly views?: readonly { readonly name: string; readonly start: number; readonly rows: number }[]
}

export interface WeightPart {
  /** Name in the checkpoint, without a leading `model.` or `transformer.`. */
  readonly source: string
  /** Shape as programs use it. */
  readonly shape: readonly number[]
  /** The checkpoint holds `[in, out]`, as GPT-2's Conv1D does. */
  readonly transposed?: boolean
  /** The checkpoint's rows are permuted as llama.cpp wants rotary heads: pairs side by side, this many heads. */
  readonly permutedHeads?: number
  /**
   * The checkpoint's rows are queries, keys and values by key head: the queries of its `repeat` heads, its key, its value, `headDim`
   * rows each, and then the next key head. Programs have all queries, then all keys, then all values.
   */
  readonly byKeyHead?: { readonly repeat: number; readonly headDim: number }
  /** The same of the columns of [heads, D], a row a head: weights that go with such rows one by one. */
  readonly permutedColumns?: boolean
  /** Added to the stored numbers: norms that multiply by `1 + weight` store the weight. */
  readonly added?: number
}

/** How a family's checkpoints look as GGUF. Several architectures of that format may be one family, stored in different ways. */
export interface GgufNaming<Config extends ModelConfig = ModelConfig> {
  /** Values of `general.architecture`. */
  readonly architectures: readonly string[]
  /**
   * The keys of config.json, from metadata: `get` reads `<architecture>.<key>`, and what nobody reads is refused. `has` tells whether
   * a tensor is there, for what the metadata leave out.
   */
  config(get: (key: string) => unknown, architecture: string, has: (tensor: string) => boolean): Record<string, unknown>
  /** The weights by the names and in the layout of this format. */
  weights(config: Config, architecture: string): WeightSpec[]
  /** llama.cpp reads no head here and multiplies with the embedding table in its place: it loads no file with both. */
  readonly headless?: boolean
  /** What a config comes to in such a file; a family without it is read alone. */
  write?(config: Config): GgufForm
  /** Whether a config that was read from such a file computes what the one does that it was written from. */
  computesAlike?(one: Config, other: Config): boolean
}

/** One layer's queries, keys and values, with positions applied. */
export interface AttentionCall {
  readonly layer: number
  /** [H, R, D]; in the last layer those of the read rows alone, [H, Q, D]. */
  readonly query: tf.Tensor
  /** [Hkv, R, D] */
  readonly key: tf.Tensor
  /** [Hkv, R, D] */
  readonly value: tf.Tensor
  /** Multiplies the scores. */
  readonly scale: number
  /** How many positions back a row sees, itself included; 0: all. */
  readonly window: number
  /** Scores s become `softCap * tanh(s / softCap)` before the softmax; 0: they stay. */
  readonly softCap: number
  /** Whether the queries are those of the read rows. */
  readonly last: boolean
  /** This layer's keys and values of rows that are not among its own, without positions: [n, d] -> two of [Hkv, n, D]. */
  project(rows: tf.Tensor): { key: tf.Tensor; value: tf.Tensor }
  /** What this layer would take as keys and values of further hidden rows at some positions: [n, d], [n] int32 -> two of [Hkv, n, D]. */
  keysOf(rows: tf.Tensor, positions: tf.Tensor): { key: tf.Tensor; value: tf.Tensor }
}

export interface HiddenInputs {
  readonly weight: (name: string) => tf.Tensor
  /** Embedded rows, or those that the layer `from` takes, [R, d]. */
  readonly x: tf.Tensor
  /** The first layer that is computed; by default 0. */
  readonly from?: number
  /** The layer whose rows are the result, as it takes them; by default all layers and the last norm are computed. */
  readonly to?: number
  /** Position of each row, [R] int32. */
  readonly positions: tf.Tensor
  /** The rows that are read at the end: only these go through the last layer's queries, output projection and MLP. */
  readonly read: {
    /** Distinct rows, [Q] int32 */
    readonly index: tf.Tensor
    /** For each row its place in `index`, or Q, [R] int32 */
    readonly inverse: tf.Tensor
  }
  /** What every query takes from the rows that it sees: [H, R, D], in the last layer [H, Q, D]. */
  attend(call: AttentionCall): tf.Tensor
  /** What is added to the attention of a layer, of the same shape; undefined: nothing. */
  attendBeside?(call: AttentionCall): tf.Tensor | undefined
  /** Told what the activation of each layer's MLP takes, [R, f]; in the last layer [Q, f]. Positive numbers are its activated neurons. */
  onNeurons?(layer: number, inner: tf.Tensor): void
  /** The rows that a layer takes, [R, d], and their positions, [R], where they are not what the layer before made. */
  beforeLayer?(layer: number, x: tf.Tensor): { readonly x: tf.Tensor; readonly positions: tf.Tensor } | undefined
  /** What a layer gives out in the place of what it has made, [R, d]; in the last layer, before the last norm, [Q, d]. */
  afterLayer?(layer: number, x: tf.Tensor): tf.Tensor
}

/** Numbers of one layer that its backward pass reads again. */
export interface KeptNumbers {
  /** Of each row. */
  readonly row: number
  /** Of each pair of a query and a key, for each attention head. */
  readonly pair: number
}

/** One family of causal language models: pure functions over named weights. Differences between its members come from the config. */
export interface ModelFamily<Config extends ModelConfig = ModelConfig> {
  readonly name: string
  /** `model_type` values of config.json. */
  readonly modelTypes: readonly string[]
  readonly gguf: GgufNaming<Config>
  parseConfig(raw: ConfigReader): Config
  weights(config: Config): WeightSpec[]
  /** Stored tensors that are known and not needed. */
  readonly ignored: RegExp
  /** Name of the weight whose rows are the token embeddings, [V, d]. */
  readonly embedding: string
  /** Name of a layer's attention among the modules of transformers' model. */
  attentionModule(layer: number): string
  /** What that model multiplies embeddings by that it is given in place of tokens. */
  inputMultiplier(config: Config): number
  /** That model's keys have the two numbers that turn together side by side; here they are half a head apart. */
  readonly pairedKeys: boolean
  /** What estimates of memory go by; without it they take a layer for Llama's. */
  kept?(config: Config): KeptNumbers
  /** Token embeddings as the first layer takes them: `ids` [N] int32 -> [N, d]. */
  embed(config: Config, weight: (name: string) => tf.Tensor, ids: tf.Tensor): tf.Tensor
  /** Products of vectors with the embedding of every token, as `embed` gives it: [F, d] -> [F, V]. */
  embeddingProducts(config: Config, weight: (name: string) => tf.Tensor, vectors: tf.Tensor): tf.Tensor
  /** Sums of the embeddings of all tokens, as `embed` gives them, under weights: [F, V] -> [F, d]. */
  embeddingSums(config: Config, weight: (name: string) => tf.Tensor, weights: tf.Tensor): tf.Tensor
  /** Normalised hidden states of the rows that are read, [Q, d]; with `to` all rows as that layer takes them, [R, d]. */
  hidden(config: Config, inputs: HiddenInputs): tf.Tensor
  /** Logits of hidden states: [Q, d] -> [Q, V]. */
  logits(config: Config, weight: (name: string) => tf.Tensor, hidden: tf.Tensor): tf.Tensor
}
