import type { tf } from '../../kernels/tf.js'
import type { ModelConfig } from '../../models/family.js'
import type { Tokenizer } from '../formats/tokenizer.js'

/** A learned tensor of a method. */
export interface PromptParameter {
  readonly name: string
  readonly shape: readonly number[]
  /** Multiplies the run's learning rate. */
  readonly learningRateFactor?: number
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

/**
 * A way of learning a soft prompt. A method is one file: what it learns, how that starts, and where it acts; the training loop, the
 * compiler and the exporters ask it for nothing else.
 */
export interface PromptMethod<Config extends { readonly type: string } = { readonly type: string }> {
  readonly type: Config['type']
  readonly paper: string
  numVirtualTokens(config: Config): number
  position(config: Config): 'before-bos' | 'after-bos'
  parameters(config: Config, model: ModelConfig): PromptParameter[]
  initialise(config: Config, context: InitialisationContext): Promise<Map<string, Float32Array>>
  /**
   * The rows that the first layer takes: `numVirtualTokens` rows, then the text's.
   *
   * @param parameters the learned tensors by name
   * @param embedded token embeddings of the text rows, [N, d]
   * @returns [numVirtualTokens + N, d]
   */
  rows(config: Config, parameters: Readonly<Record<string, tf.Tensor>>, embedded: tf.Tensor): tf.Tensor
  /** The soft prompt as plain rows [numVirtualTokens, d], for methods that come to that. */
  staticPrompt?(config: Config, parameters: ReadonlyMap<string, Float32Array>): Float32Array
}
