import { tf } from '../../kernels/tf.js'
import type { ModelConfig, ModelFamily } from '../../models/family.js'
import { declareCode } from '../code-identity.js'
import { countSoft, type SoftPlaceholder, type SoftVocabulary, softPlaceholders } from '../data/soft-tokens.js'
import { drawIds } from './initialisation.js'
import type { Parameters, PromptMethod } from './method.js'

/** The rows of a template's soft tokens: a parameter beside those of whatever method, [k, d]. */
export const softParameter = 'softTokens'

const DRAWS = 7

/** A good rate of rows among embeddings. A run's own is for whatever its method learns: rows before a late layer want thirty times as much. */
const LEARNING_RATE = 0.01

/** The soft tokens that a prompt has; a method's options say so once the template is known. */
const placeholdersOf = (config: { readonly type: string }): readonly SoftPlaceholder[] =>
  (config as { readonly softTokens?: readonly SoftPlaceholder[] }).softTokens ?? []

export const numSoftTokens = (config: { readonly type: string }): number => countSoft(placeholdersOf(config))

/** A prompt's soft tokens as ids of a model; undefined where it has none. */
export function softVocabulary(
  config: { readonly type: string } | undefined,
  { vocabSize }: Pick<ModelConfig, 'vocabSize'>,
): SoftVocabulary | undefined {
  const placeholders = config === undefined ? [] : placeholdersOf(config)
  return placeholders.length > 0 ? { placeholders, firstId: vocabSize } : undefined
}

/** A method that learns the rows of a template's soft tokens beside its own parameters, where the template has some. */
export function withSoftTokens<Config extends { readonly type: string }>(method: PromptMethod<Config>): PromptMethod<Config> {
  const both: PromptMethod<Config> = {
    ...method,
    resolve(config, context) {
      const softTokens = softPlaceholders(context.template, context.tokenizer)
      const resolved = method.resolve?.(config, context) ?? config
      return softTokens.length > 0 ? { ...resolved, softTokens } : resolved
    },
    parameters(config, model) {
      const own = method.parameters(config, model)
      const count = numSoftTokens(config)
      if (count === 0) return own
      const rate = method.learningRate === LEARNING_RATE ? {} : { learningRate: LEARNING_RATE }
      return [...own, { name: softParameter, shape: [count, model.hiddenSize], ...rate }]
    },
    async initialise(config, context) {
      const own = await method.initialise(config, context)
      const wanted = placeholdersOf(config).flatMap(({ ids }) => ids)
      if (wanted.length === 0) return own
      const drawn = drawIds(wanted.length, context.model.vocabSize, context, DRAWS)
      const ids = wanted.map((id, i) => (id < 0 ? drawn[i]! : id))
      return new Map([...own, [softParameter, await context.embeddingRows(ids)]])
    },
  }
  return declareCode(import.meta.url, both, [method])
}

/**
 * Embeddings of tokens, of which some may be soft ones: ids from the vocabulary's size on are rows of `soft`.
 *
 * @param ids [N] int32
 * @param soft [k, d]; undefined: there are no soft tokens
 * @returns [N, d]
 */
export function embedTokens(
  { family, config, weight }: { family: ModelFamily; config: ModelConfig; weight: (name: string) => tf.Tensor },
  ids: tf.Tensor,
  soft: Parameters[string] | undefined,
): tf.Tensor {
  if (soft === undefined) return family.embed(config, weight, ids)
  const int = (value: number) => tf.scalar(value, 'int32')
  const words = family.embed(config, weight, tf.minimum(ids, int(config.vocabSize - 1)))
  const isSoft = tf.greaterEqual(ids, int(config.vocabSize)) // [N]
  const nothing = tf.zerosLike(tf.slice(soft as tf.Tensor2D, [0, 0], [1, -1])) // [1, d]
  const place = tf.where(isSoft, tf.sub(ids, int(config.vocabSize)), tf.zerosLike(ids).add(int(soft.shape[0]!))) // [N], k: none
  const rows = tf.gather(tf.concat([soft as tf.Tensor2D, nothing as tf.Tensor2D], 0), place as tf.Tensor1D)
  return tf.add(tf.mul(words, tf.expandDims(tf.cast(tf.logicalNot(isSoft), 'float32'), 1)), rows)
}
