import { describe, expect, test } from 'vitest'
import { placementOf } from '../../src/model/active-prompt.js'
import { Forest } from '../../src/model/forest/forest.js'
import { integerWeights } from '../../src/model/integer-weights.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { readingRequest } from '../../src/model/model-programs.js'
import { logitsReading } from '../../src/model/readings.js'
import { quantizedBytes, quantizedWeights } from '../../src/model/weights/quantized-weights.js'
import { mean } from '../../src/numbers.js'
import { multipliesBytes } from '../../src/program/byte-products.js'
import { specOf } from '../../src/program/open-programs.js'
import { Program, type WeightFile } from '../../src/program/program.js'
import { isWhole } from '../support/whole.js'

/** Greedy tokens and their log-probabilities at every position of [length, vocabSize] logits. */
function likeliest(logits: Float32Array, vocabSize: number): { token: number; logProbability(token: number): number }[] {
  return Array.from({ length: logits.length / vocabSize }, (_, i) => {
    const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize)
    const token = row.reduce((best, x, j) => (x > row[best]! ? j : best), 0)
    const logSum = row[token]! + Math.log(row.reduce((sum, x) => sum + Math.exp(x - row[token]!), 0))
    return { token, logProbability: other => row[other]! - logSum }
  })
}

// Tiny models have their own tests of it; this one rounds 135 million weights.
describe.runIf(isWhole)('the bundled model with weights in 8 bits', () => {
  test('agrees with float32 but for the rounding of activations', async () => {
    const model = await LanguageModel.load('models/smollm2-135m-instruct')
    const texts = [
      'The capital of France is Paris, and the capital of Germany is Berlin. The capital of Italy is Rome.',
      'Question: Natalia sold 48 clips in April, and half as many in May. How many did she sell in all?\nAnswer: In April she sold 48.',
    ]
    const ids = texts.map(text => [...model.tokenizer.encode(text)])
    const forest = new Forest(
      ids.map(ids => ({ ids })),
      placementOf(undefined, model.config),
    )
    const targets = ids.flatMap((row, i) => row.map((_, j) => ({ row: forest.rowOf(i, j)!, id: 0, weight: 0 })))
    const { inputs } = forest.inputs(targets)
    const run = async (weights: WeightFile) => {
      const program = await Program.compile({
        ...specOf(readingRequest(model, logitsReading, undefined, { layout: forest.layout })),
        weights,
      })
      const { logits } = await program.run(inputs)
      await program.dispose()
      return likeliest(logits as Float32Array, model.config.vocabSize)
    }
    const wanted = await run(model.weights)
    /** Mean difference of the likeliest tokens' log-probabilities, and the part of positions with the same likeliest token. */
    const compare = async (weights: WeightFile) => {
      const found = await run(weights)
      const distances = wanted.map(({ token, logProbability }, i) =>
        Math.abs(logProbability(token) - found[i]!.logProbability(token)),
      )
      const same = wanted.filter(({ token }, i) => token === found[i]!.token).length
      return { distance: mean(distances), same: same / wanted.length }
    }
    const stored = await quantizedWeights(model.checkpoint, model.weights)
    const blocks = await compare(stored)
    // Elsewhere nothing multiplies whole rows.
    const rows = (await multipliesBytes()) ? await compare(await integerWeights(model)) : blocks
    await model.dispose()

    // All 30 layers are Q4_1, whose integers are multiples among 8 bits; the tied head is Q8_0.
    const bits = [...stored.quantized!.values()].map(({ bits, offsets }) => `${bits}${offsets ? ' with offsets' : ''}`)
    expect([...new Set(bits)].sort()).toEqual(['8'])
    expect(quantizedBytes(model.checkpoint)).toBeLessThan(155e6)
    for (const { distance, same } of [blocks, rows]) {
      expect(distance).toBeLessThan(0.06)
      expect(same).toBeGreaterThan(0.9)
    }
  })
})
