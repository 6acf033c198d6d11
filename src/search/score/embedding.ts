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
      norms ??= model.embeddingTable().then(table => {
        const sums = new Float32Array(vocabSize)
        for (let v = 0; v < vocabSize; v++) for (let k = 0; k < hiddenSize; k++) sums[v]! += table[v * hiddenSize + k]! ** 2
        return sums
      })
      return norms
    },
  }
}
