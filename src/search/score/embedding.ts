import type { LanguageModel } from '../../model/language-model.js'
import type { SearchPrograms } from './programs.js'

/** Products with the embedding table, whose rows are as the first layer takes them. */
export interface Embedding {
  readonly hiddenSize: number
  readonly vocabSize: number
  /** [ids.length, d] */
  rows(ids: readonly number[]): Promise<Float32Array>
  /** `E[v] . x`: [F, d] -> [F, V] */
  project(vectors: Float32Array): Promise<Float32Array>
  /** `sum_v w[v] E[v]`: [F, V] -> [F, d] */
  mix(weights: Float32Array): Promise<Float32Array>
  /** Squared lengths of the rows, [V] */
  squaredNorms(): Promise<Float32Array>
}

/** The table of a model, by its programs. */
export function embeddingOf(model: LanguageModel, programs: SearchPrograms): Embedding {
  const { hiddenSize, vocabSize } = model.config
  let norms: Promise<Float32Array> | undefined
  return {
    hiddenSize,
    vocabSize,
    rows: ids => model.embeddingRows(ids),
    project: vectors => programs.project(vectors),
    mix: weights => programs.mix(weights),
    squaredNorms() {
      norms ??= squaredNormsOf(model)
      return norms
    },
  }
}

async function squaredNormsOf(model: LanguageModel): Promise<Float32Array> {
  const norms = new Float32Array(model.config.vocabSize)
  for await (const { ids, squaredNorms } of model.embeddingProducts(new Float32Array(model.config.hiddenSize)))
    norms.set(squaredNorms, ids[0])
  return norms
}
