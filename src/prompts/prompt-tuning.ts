import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { z } from 'zod'
import { randomGenerator } from '../data/random.js'
import { GradpromptError } from '../errors.js'
import type { InitialisationContext, PromptMethod } from './method.js'

/** Tells the draws of initialisation from the others under the same seed. */
const STREAM = 0x1417

const init = z.discriminatedUnion('type', [
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
])

/** Prompt tuning (Lester et al. 2021, arXiv 2104.08691), as PEFT defines it: `[numVirtualTokens, hidden]` rows before the text. */
export const promptTuningSchema = z.strictObject({
  type: z.literal('prompt-tuning').describe('learned rows before the input embeddings'),
  numVirtualTokens: z.int().min(1).max(100_000).default(20).describe('rows that are learned'),
  init: init.prefault({ type: 'vocabulary' }).describe('what the rows start from'),
  position: z
    .enum(['before-bos', 'after-bos'])
    .default('before-bos')
    .describe("where the rows stand when the tokenizer adds a BOS; before-bos is PEFT's order"),
})

export type PromptTuningConfig = z.output<typeof promptTuningSchema>

export const promptTuning: PromptMethod<PromptTuningConfig> = {
  type: 'prompt-tuning',
  paper: 'Lester, Al-Rfou and Constant 2021, The Power of Scale for Parameter-Efficient Prompt Tuning (arXiv 2104.08691)',
  placement: ({ numVirtualTokens, position }) => ({ numVirtualTokens, position }),
  parameters: (config, { hiddenSize }) => [{ name: 'prompt', shape: [config.numVirtualTokens, hiddenSize] }],
  inputRows: (_, { prompt }) => prompt!, // [m, d]

  async initialise({ init, numVirtualTokens }, context) {
    if (init.type === 'random') return new Map([['prompt', await normalRows(numVirtualTokens, init.scale, context)]])
    const ids = startingIds(init, numVirtualTokens, context)
    return new Map([['prompt', await context.embeddingRows(ids)]])
  },
}

function startingIds(
  init: Exclude<PromptTuningConfig['init'], { type: 'random' }>,
  count: number,
  context: InitialisationContext,
): number[] {
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

/** Distinct ids (as long as there are enough) that stand for text. */
function drawIds(count: number, below: number, { tokenizer, seed }: Pick<InitialisationContext, 'tokenizer' | 'seed'>): number[] {
  const limit = Math.min(below, tokenizer.vocabSize)
  const usable = Array.from({ length: limit }, (_, id) => id).filter(id => !tokenizer.specialTokenIds.has(id))
  const random = randomGenerator(seed, STREAM)
  return Array.from({ length: count }, () => {
    const [id] = usable.splice(uniformInt(random, 0, usable.length - 1), usable.length > 1 ? 1 : 0)
    return id ?? usable[0]!
  })
}

/** Noise at the scale of the embedding table, estimated from 4,096 of its rows. */
async function normalRows(
  count: number,
  scale: number | undefined,
  { model, embeddingRows, seed }: InitialisationContext,
): Promise<Float32Array> {
  let deviation = scale
  if (deviation === undefined) {
    const step = Math.max(1, Math.floor(model.vocabSize / 4096))
    const sample = await embeddingRows(Array.from({ length: Math.floor((model.vocabSize - 1) / step) + 1 }, (_, i) => i * step))
    const mean = sample.reduce((sum, x) => sum + x, 0) / sample.length
    deviation = Math.sqrt(sample.reduce((sum, x) => sum + (x - mean) ** 2, 0) / sample.length)
  }
  const random = randomGenerator(seed, STREAM)
  const uniform = () => (uniformInt(random, 0, 0x7fffffff) + 0.5) / 0x80000000
  // Box and Muller.
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
  return Float32Array.from({ length: count * model.hiddenSize }, () => normal() * deviation)
}
