import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { randomGenerator, streams } from '../random.js'
import type { InitialisationContext } from './method.js'

/** What starts draw and measure: which starts there are is unknown here. */

/** Stands for the prompt that a run starts from, where a run may be named. */
export const sourcePrompt = 'source-prompt'

/** Distinct ids (as long as there are enough) that stand for text. `stream` tells one list of draws from another. */
export function drawIds(
  count: number,
  below: number,
  { tokenizer, seed }: Pick<InitialisationContext, 'tokenizer' | 'seed'>,
  ...stream: readonly number[]
): number[] {
  const limit = Math.min(below, tokenizer.vocabSize)
  const usable = Array.from({ length: limit }, (_, id) => id).filter(id => !tokenizer.specialTokenIds.has(id))
  const random = randomGenerator(seed, streams.initialisation, ...stream)
  return Array.from({ length: count }, () => {
    const [id] = usable.splice(uniformInt(random, 0, usable.length - 1), usable.length > 1 ? 1 : 0)
    return id ?? usable[0]!
  })
}

/** Some 4,096 rows of the embedding table, spread over it. */
async function sampledNumbers({
  model,
  embeddingRows,
}: Pick<InitialisationContext, 'model' | 'embeddingRows'>): Promise<Float32Array> {
  const step = Math.max(1, Math.floor(model.vocabSize / 4096))
  return embeddingRows(Array.from({ length: Math.floor((model.vocabSize - 1) / step) + 1 }, (_, i) => i * step))
}

/** The same, one after the other: [hiddenSize] each. */
export async function tableSample(context: Pick<InitialisationContext, 'model' | 'embeddingRows'>): Promise<Float32Array[]> {
  const numbers = await sampledNumbers(context)
  const { hiddenSize } = context.model
  return Array.from({ length: numbers.length / hiddenSize }, (_, i) => numbers.subarray(i * hiddenSize, (i + 1) * hiddenSize))
}

/** Standard deviation of the embedding table, estimated from 4,096 of its rows. */
export async function embeddingDeviation(context: Pick<InitialisationContext, 'model' | 'embeddingRows'>): Promise<number> {
  const sample = await sampledNumbers(context)
  const mean = sample.reduce((sum, x) => sum + x, 0) / sample.length
  return Math.sqrt(sample.reduce((sum, x) => sum + (x - mean) ** 2, 0) / sample.length)
}

/** Uniform on the open interval (0, 1). `stream` tells the draws of one tensor from another's. */
function uniform(seed: number, stream: readonly number[]): () => number {
  const random = randomGenerator(seed, streams.initialisation, ...stream)
  return () => (uniformInt(random, 0, 0x7fffffff) + 0.5) / 0x80000000
}

/** Normal noise (Box and Muller). */
export function normalNumbers(count: number, deviation: number, seed: number, ...stream: readonly number[]): Float32Array {
  const draw = uniform(seed, stream)
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(draw())) * Math.cos(2 * Math.PI * draw()) * deviation)
}

/** Uniform noise between -bound and bound. */
export function uniformNumbers(count: number, bound: number, seed: number, ...stream: readonly number[]): Float32Array {
  const draw = uniform(seed, stream)
  return Float32Array.from({ length: count }, () => (2 * draw() - 1) * bound)
}
