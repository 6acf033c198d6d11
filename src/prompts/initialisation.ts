import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { z } from 'zod'
import { randomGenerator, streams } from '../data/random.js'
import { GradpromptError } from '../errors.js'
import type { InitialisationContext } from './method.js'

/** Stands for the prompt that a run starts from, where a run may be named. */
export const sourcePrompt = 'source-prompt'

/** What rows at the input may start from. */
export const initSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('text').describe('start from the embeddings of a text, repeated or cut to the number of virtual tokens'),
    text: z.string().min(1).describe('the text to start from, for example an instruction'),
  }),
  z.strictObject({
    type: z.literal('vocabulary').describe('start from rows of the embedding table drawn by seed; special tokens are left out'),
    mostCommon: z
      .int()
      .min(1)
      .optional()
      .describe('draw from this many lowest ids, the commonest tokens of a BPE; Lester et al.: 5000'),
  }),
  z.strictObject({
    type: z.literal('labels').describe('start from the embeddings of the label words, then from drawn vocabulary rows'),
  }),
  z.strictObject({
    type: z.literal('random').describe('start from normal noise'),
    scale: z.number().positive().optional().describe("standard deviation; by default the embedding table's own"),
  }),
  z
    .strictObject({
      type: z.literal('runs').describe('start from the prompts that earlier runs learned'),
      from: z.array(z.string().min(1)).min(1).max(1000).describe('run folders, or files that runs wrote'),
      mix: z
        .enum(['one', 'average', 'similarity', 'panda'])
        .default('average')
        .describe(
          'how several prompts become one: one takes the only one; average weighs all alike; similarity weighs by the cosine of a ' +
            "prompt's mean row with that of the task's own examples; panda by the neurons that both activate in the model",
        ),
    })
    .refine(({ from, mix }) => mix !== 'one' || from.length === 1, 'mix: one takes one run in from; use average for several'),
])

export type Init = z.output<typeof initSchema>

/** @returns [count, hiddenSize] */
export async function startingRows(init: Init, count: number, context: InitialisationContext): Promise<Float32Array> {
  const { model, seed } = context
  if (init.type === 'runs') return (await import('./transfer.js')).transferredRows(init, count, context)
  if (init.type !== 'random') return context.embeddingRows(startingIds(init, count, context))
  return normalNumbers(count * model.hiddenSize, init.scale ?? (await embeddingDeviation(context)), seed)
}

function startingIds(init: Exclude<Init, { type: 'random' | 'runs' }>, count: number, context: InitialisationContext): number[] {
  const { tokenizer, model, seed, labelWords } = context
  if (init.type === 'vocabulary') return drawIds(count, Math.min(init.mostCommon ?? model.vocabSize, model.vocabSize), context)
  const texts = init.type === 'text' ? [init.text] : labelWords
  // PEFT encodes the text as the tokenizer does by default, special tokens included.
  const ids = texts.flatMap(text => tokenizer.encode(text, { addSpecialTokens: init.type === 'text' }))
  if (ids.length === 0) {
    throw new GradpromptError('empty-initialisation', 'There is nothing to start the soft prompt from', {
      found: `no tokens in ${JSON.stringify(texts)}`,
      hint: 'give method.init.text some text, or use method.init.type: vocabulary',
    })
  }
  if (init.type === 'text') return Array.from({ length: count }, (_, i) => ids[i % ids.length]!)
  return [...ids, ...drawIds(Math.max(0, count - ids.length), model.vocabSize, { tokenizer, seed })].slice(0, count)
}

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

/** Standard deviation of the embedding table, estimated from 4,096 of its rows. */
export async function embeddingDeviation({ model, embeddingRows }: InitialisationContext): Promise<number> {
  const step = Math.max(1, Math.floor(model.vocabSize / 4096))
  const sample = await embeddingRows(Array.from({ length: Math.floor((model.vocabSize - 1) / step) + 1 }, (_, i) => i * step))
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
