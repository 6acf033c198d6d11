import type { TokenSpace } from '../space/token-space.js'
import type { Embedding } from './embedding.js'

/** Moments of Adam (Kingma and Ba 2015) over one array, and the array. */
export interface AdamState {
  readonly first: Float32Array
  readonly second: Float32Array
  readonly updates: number
}

/** A step of AdamW with decoupled weight decay; nothing of the given arrays changes. */
export function adamStep(
  { vectors, first, second, updates }: AdamState & { readonly vectors: Float32Array },
  gradient: Float32Array,
  { learningRate, weightDecay, beta1, beta2 }: { learningRate: number; weightDecay: number; beta1: number; beta2: number },
): AdamState & { readonly values: Float32Array } {
  const next = { values: vectors.slice(), first: first.slice(), second: second.slice(), updates: updates + 1 }
  const [correction1, correction2] = [1 - beta1 ** next.updates, 1 - beta2 ** next.updates]
  for (let i = 0; i < gradient.length; i++) {
    next.first[i] = beta1 * first[i]! + (1 - beta1) * gradient[i]!
    next.second[i] = beta2 * second[i]! + (1 - beta2) * gradient[i]! ** 2
    const direction = next.first[i]! / correction1 / (Math.sqrt(next.second[i]! / correction2) + 1e-8)
    next.values[i] = vectors[i]! * (1 - learningRate * weightDecay) - learningRate * direction
  }
  return next
}

/**
 * The allowed token nearest to each vector, of equals the lowest id.
 *
 * @param vectors [F, d]
 * @param penalty what is added to the squared distance of each token at each position, [F, V]; for `euclidean`
 */
export async function nearestTokens(
  vectors: Float32Array,
  embedding: Embedding,
  allowed: Int32Array,
  distance: 'cosine' | 'euclidean',
  penalty?: Float32Array,
): Promise<number[]> {
  const [products, norms] = [await embedding.project(vectors), await embedding.squaredNorms()]
  const { vocabSize, hiddenSize } = embedding
  return Array.from({ length: vectors.length / hiddenSize }, (_, j) => {
    let best = allowed[0]!
    let least = Number.POSITIVE_INFINITY
    for (const v of allowed) {
      const product = products[j * vocabSize + v]!
      const far = distance === 'cosine' ? -product / Math.sqrt(norms[v]! || 1) : norms[v]! - 2 * product
      const cost = far + (penalty?.[j * vocabSize + v] ?? 0)
      if (cost < least) [best, least] = [v, cost]
    }
    return best
  })
}

/** The first prompt with tokens in its free places. */
export function promptOf({ start, free }: TokenSpace, tokens: readonly number[]): number[] {
  const ids = [...start]
  for (const [j, position] of free.entries()) ids[position] = tokens[j]!
  return ids
}

/** What moves a prompt's embeddings to vectors in its free places: [F, d] -> [L, d]. */
export async function offsetsOf(
  vectors: Float32Array,
  prompt: readonly number[],
  { free }: TokenSpace,
  embedding: Embedding,
): Promise<Float32Array> {
  const { hiddenSize } = embedding
  const rows = await embedding.rows(free.map(position => prompt[position]!))
  const offsets = new Float32Array(prompt.length * hiddenSize)
  for (const [j, position] of free.entries())
    for (let k = 0; k < hiddenSize; k++)
      offsets[position * hiddenSize + k] = vectors[j * hiddenSize + k]! - rows[j * hiddenSize + k]!
  return offsets
}
