import type { tf } from '../../kernels/tf.js'
import type { AttentionCall, ModelConfig } from '../../models/family.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import type { PromptPlacement } from '../model/forest.js'

/** A learned tensor of a method. */
export interface PromptParameter {
  readonly name: string
  readonly shape: readonly number[]
  /** Highest learning rate of its own; by default the run's. */
  readonly learningRate?: number
}

/** What a method may start from. */
export interface InitialisationContext {
  readonly model: ModelConfig
  readonly tokenizer: Tokenizer
  /** Rows of the embedding table as the first layer takes them: [ids.length, d]. */
  readonly embeddingRows: (ids: readonly number[]) => Promise<Float32Array>
  readonly seed: number
  /** The words of the label set, where there is one. */
  readonly labelWords: readonly string[]
}

/** The learned tensors by name. */
export type Parameters = Readonly<Record<string, tf.Tensor>>

/** The text rows of a batch, as an offset sees them. */
export interface TextRows {
  /** Token embeddings, [N, d]. */
  readonly embedded: tf.Tensor
  /** Place of each token in its text, from 0; the soft prompt does not count, [N] int32. */
  readonly textIndex: tf.Tensor
  /** 1 for the tokens of an answer, 0 for those of the instruction, [N]. */
  readonly answerMask: tf.Tensor
}

/** A layer's rows, and among them those of each sequence's instruction: what stands before its answer. */
export interface LayerRows {
  readonly layer: number
  readonly model: ModelConfig
  /** The hidden rows before the layer, of each sequence's instruction, padded: [B, I, d]. */
  instruction(): tf.Tensor
  /** 1 where `instruction` holds a row, 0 where it is padding, [B, I]. */
  readonly instructionMask: tf.Tensor
}

/**
 * A way of learning a soft prompt. A method is one file: what it learns, how that starts, and where it acts; the training loop, the
 * compiler and the exporters ask it for nothing else. It acts through one or several of the five hooks.
 */
export interface PromptMethod<Config extends { readonly type: string } = { readonly type: string }> {
  readonly type: Config['type']
  readonly paper: string
  /** Highest learning rate of a run that does not say another: chosen on dev rows. */
  readonly learningRate: number
  /** How many virtual tokens there are and where they stand. */
  placement(config: Config): PromptPlacement
  parameters(config: Config, model: ModelConfig): PromptParameter[]
  /** What contradicts the model or another option, in words. Asked before any weight is read. */
  check?(config: Config, model: ModelConfig): string | undefined
  initialise(config: Config, context: InitialisationContext): Promise<Map<string, Float32Array>>
  /** The virtual tokens as the first layer takes them, the same for every sequence: [numVirtualTokens, d]. */
  inputRows?(config: Config, parameters: Parameters): tf.Tensor
  /** What is added to the embeddings of the text, [N, d]. Generated tokens have it as well. */
  offset?(config: Config, parameters: Parameters, text: TextRows): tf.Tensor
  /**
   * The virtual tokens as one layer takes them, in place of what the layer before made of them.
   *
   * @returns [numVirtualTokens, d], or [B numVirtualTokens, d] where each sequence has its own; undefined: they go on as they are
   */
  layerRows?(config: Config, parameters: Parameters, rows: LayerRows): tf.Tensor | undefined
  /** Keys and values of the virtual tokens in a layer, two of [Hkv, numVirtualTokens, D], for a placement as `keys`. */
  prefix?(config: Config, parameters: Parameters, layer: number, model: ModelConfig): { key: tf.Tensor; value: tf.Tensor }
  /** What is added to a layer's attention, [H, R, D] (in the last layer [H, Q, D]); undefined: nothing in this layer. */
  attention?(config: Config, parameters: Parameters, call: AttentionCall, model: ModelConfig): tf.Tensor | undefined
}
