import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { crossEntropy } from '../../src/losses/cross-entropy.js'
import { lossTerm } from '../../src/losses/loss.js'
import type { ActivePrompt, SoftPrompt } from '../../src/model/active-prompt.js'
import { Forest } from '../../src/model/forest/forest.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptTuning, promptTuningSchema } from '../../src/prompts/methods/prompt-tuning.js'
import { longToyModel } from '../search/toy.js'
import { difference, random } from '../support/numbers.js'
import { temporaryFolder } from '../train/toy.js'

const FOLDER = 'test/fixtures/models/llama-gqa'
const loaded = LanguageModel.load(FOLDER, { threads: 1 })
afterAll(async () => (await loaded).dispose())

const id = fc.integer({ min: 1, max: 90 })
const tokens = (minLength: number, maxLength: number) => fc.array(id, { minLength, maxLength })

/** A shared beginning and what follows it, nothing in some rows. */
const batches = fc
  .record({ beginning: tokens(1, 6), rests: fc.array(tokens(0, 7), { minLength: 1, maxLength: 5 }), shared: fc.boolean() })
  .map(({ beginning, rests, shared }) =>
    rests.map((rest, i) => (shared || i % 2 === 0 ? [...beginning, ...rest] : [beginning[0]!, 91, ...rest])),
  )

const placements = fc.constantFrom(undefined, 'before-bos', 'after-bos')
type Placement = 'before-bos' | 'after-bos' | undefined

const PROMPT = random(8, [4, 32])
const softPrompt = (position: Placement): SoftPrompt | undefined =>
  position ? { data: PROMPT.data, shape: [4, 32], position } : undefined

function activePrompt(position: Placement): ActivePrompt | undefined {
  if (!position) return undefined
  const config = promptTuningSchema.parse({ type: 'prompt-tuning', numVirtualTokens: 4, position })
  return { method: promptTuning as ActivePrompt['method'], config, parameters: new Map([['prompt', PROMPT.data]]) }
}

/** Log-probabilities of the tokens from position `from` on, by the logits of a row that stands alone. */
async function logLikelihood(model: LanguageModel, ids: readonly number[], from: number, position: Placement): Promise<number> {
  const [logits] = await model.logits([ids], softPrompt(position))
  const { vocabSize } = model.config
  let sum = 0
  for (let at = from; at < ids.length; at++) {
    const row = logits!.subarray((at - 1) * vocabSize, at * vocabSize)
    const highest = Math.max(...row)
    sum += row[ids[at]!]! - highest - Math.log(row.reduce((total, x) => total + Math.exp(x - highest), 0))
  }
  return sum
}

test('the layout is the one that runs have always had: their bits hang on the order of its sums', () => {
  const from = (start: number, length: number) => Array.from({ length }, (_, i) => start + i)
  const hash = createHash('sha256')
  const batches = [
    [{ ids: from(1, 5) }],
    [{ ids: from(1, 5) }, { ids: from(1, 9) }, { ids: [1, 40, 41] }],
    [{ ids: from(1, 30), children: [[7, 8], [9]] }],
  ]
  for (const [numVirtualTokens, position] of [[0, 'before-bos'], [4, 'before-bos'], [4, 'after-bos']] as const) // biome-ignore format: a list
    for (const sequences of batches) {
      const { inputs } = new Forest(sequences, { numVirtualTokens, position }).inputs([{ row: 3, id: 2, weight: 1 }])
      for (const [name, value] of Object.entries(inputs))
        hash.update(ArrayBuffer.isView(value) ? `${name}  ${value}\n` : `${name} ${value.shape ?? ''} ${value.data}\n`)
    }
  expect(hash.digest('hex')).toBe('2081c07097ca8c9443b98162b1f7faa9b2217f093b50b684ae5218b21e3512bd')
})

test('a long sequence alone, whose virtual tokens have no group of their own, is what it is in a batch', async () => {
  const { folder, remove } = temporaryFolder()
  await using model = await LanguageModel.load(longToyModel(folder), { threads: 1 })
  const ids = Array.from({ length: 300 }, (_, i) => 1 + ((i * 37) % 90))
  for (const position of ['before-bos', 'after-bos'] as const) {
    const [alone] = await model.logits([ids], softPrompt(position))
    const [beside] = await model.logits([ids, [1, 6]], softPrompt(position))
    expect(difference(alone!, beside!)).toBeLessThan(1e-5)
  }
  remove()
})

describe('sharing changes nothing', () => {
  test('logits of a batch are those of its rows alone', async () => {
    const model = await loaded
    await fc.assert(
      fc.asyncProperty(batches, placements, async (rows, position) => {
        const together = await model.logits(rows, softPrompt(position))
        for (const [i, ids] of rows.entries()) {
          const [alone] = await model.logits([ids], softPrompt(position))
          expect(difference(together[i]!, alone!)).toBeLessThan(1e-5)
        }
      }),
      { numRuns: 60, seed: 1 },
    )
  })

  test('likelihoods of candidates are those of each answer alone', async () => {
    const model = await loaded
    const candidates = fc.array(tokens(1, 4), { minLength: 1, maxLength: 4 })
    const answers = fc.array(candidates, { minLength: 5, maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(batches, answers, placements, async (contexts, answers, position) => {
        const rows = contexts.map((context, i) => ({ context, candidates: answers[i]!.map(ids => ({ ids })) }))
        const found = await model.logLikelihoods(activePrompt(position), rows)
        for (const [i, { context, candidates }] of rows.entries()) {
          for (const [j, { ids }] of candidates.entries()) {
            const wanted = await logLikelihood(model, [...context, ...ids], context.length, position)
            expect(Math.abs(found[i]![j]! - wanted)).toBeLessThan(1e-5 * Math.abs(wanted))
          }
        }
      }),
      { numRuns: 40, seed: 2 },
    )
  })

  test('loss and gradient of a batch are the sums over its rows', async () => {
    const model = await loaded
    await fc.assert(
      fc.asyncProperty(
        batches,
        fc.constantFrom('before-bos', 'after-bos'),
        fc.constantFrom(0, 0.1),
        async (batch, position, labelSmoothing) => {
          // The last two tokens of each row are its labels; the first is never one.
          const rows = batch
            .map(ids => [...ids, 17, 23])
            .map(ids => ({ ids, labels: ids.map((id, i) => (i >= ids.length - 2 ? id : -100)) }))
          const prompt = activePrompt(position as Placement)!
          const losses = [lossTerm(crossEntropy, { type: 'cross-entropy', labelSmoothing })]
          const whole = await model.promptGradient(prompt, rows, { losses })
          const sum = new Float32Array(PROMPT.data.length)
          let loss = 0
          for (const row of rows) {
            const part = await model.promptGradient(prompt, [row], { losses })
            loss += part.loss / rows.length
            for (const [i, x] of part.gradients.get('prompt')!.entries()) sum[i]! += x / rows.length
          }
          expect(Math.abs(whole.loss - loss)).toBeLessThan(1e-5 * loss)
          expect(difference(whole.gradients.get('prompt')!, sum)).toBeLessThan(1e-5)
        },
      ),
      { numRuns: 30, seed: 3 },
    )
  })
})

test('a batch that is computed in parts gives the same loss and gradient', async () => {
  const model = await loaded
  const rows = Array.from({ length: 12 }, (_, i) => {
    const ids = [3, 4, 5, ...Array.from({ length: 1 + (i % 5) }, (_, j) => 10 + i + j), 30 + i]
    return { ids, labels: ids.map((id, j) => (j === ids.length - 1 || (i === 4 && j === 0) ? id : -100)) }
  })
  const prompt = activePrompt('before-bos')!
  const whole = await model.promptGradient(prompt, rows)
  // As much as a few rows need beside the weights.
  const budget = model.memory.estimate(20, 3, true)
  const small = await LanguageModel.load(FOLDER, { threads: 1, memory: budget })
  try {
    const parts = await small.promptGradient(prompt, rows)
    expect(parts.rows).toBeGreaterThan(whole.rows)
    expect(Math.abs(parts.loss - whole.loss)).toBeLessThan(1e-5 * whole.loss)
    expect(difference(parts.gradients.get('prompt')!, whole.gradients.get('prompt')!)).toBeLessThan(1e-5)
  } finally {
    await small.dispose()
  }
})

test('every token is one row, what all begin with once', () => {
  fc.assert(
    fc.property(batches, placements, fc.array(tokens(0, 3), { maxLength: 3 }), (rows, position, children) => {
      const numVirtualTokens = position ? 4 : 0
      const sequences = rows.map((ids, i) => ({ ids, children: i === 0 ? children : [] }))
      const forest = new Forest(sequences, { numVirtualTokens, position: position ?? 'before-bos' })
      const all = rows.reduce((sum, ids) => sum + ids.length, 0) + children.flat().length
      expect(forest.rows).toBeLessThanOrEqual(numVirtualTokens + all + 1 + rows.length)
      const places = new Set(rows.flatMap((ids, i) => ids.map((_, j) => forest.rowOf(i, j))))
      for (const [i, ids] of rows.entries()) {
        for (const [j] of ids.entries()) {
          const row = forest.rowOf(i, j)!
          if (j === 0 && position === 'after-bos') continue
          expect(forest.positions[row]).toBe(j + numVirtualTokens)
          expect(forest.tokenIds[row - numVirtualTokens]).toBe(ids[j])
        }
      }
      const beginning = rows[0]!.findIndex((id, j) => rows.some(ids => ids[j] !== id))
      const common = Math.min(beginning < 0 ? rows[0]!.length : beginning, Math.min(...rows.map(ids => ids.length)) - 1)
      if (rows.length > 1 && common > 0)
        expect(places.size).toBeLessThanOrEqual(all - children.flat().length - (rows.length - 1) * common)
      for (const { data, shape } of Object.values(forest.inputs([{ row: 0, id: 1, weight: 1 }]).inputs) as {
        data: Int32Array
        shape: number[]
      }[])
        expect(data).toHaveLength(shape.reduce((a, b) => a * b, 1))
    }),
  )
})
