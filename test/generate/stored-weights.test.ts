import { describe, expect, test, vi } from 'vitest'
import { rotationOf } from '../../kernels/linear-integer.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { multipliesBytes } from '../../src/program/byte-products.js'
import { ownCache } from '../support/cache.js'

// What is made here under other functions is nothing for other files.
ownCache()

vi.mock('../../src/program/byte-products.js', async original => {
  const actual = await original<typeof import('../../src/program/byte-products.js')>()
  return { multipliesBytes: vi.fn(actual.multipliesBytes) }
})

vi.mock('../../kernels/linear-integer.js', async original => {
  const actual = await original<typeof import('../../kernels/linear-integer.js')>()
  return { ...actual, rotationOf: vi.fn(actual.rotationOf) }
})

const written = async (model: LanguageModel) => {
  const engine = await GenerationEngine.open(model, { endTokenIds: [] })
  const { ids } = await engine.generate({ ids: [1, 5, 9, 4], maxNewTokens: 4 })
  await engine.dispose()
  return ids
}

describe('weights in 8 bits', () => {
  test('the processor is asked once, and says the same', async () => {
    expect(await multipliesBytes()).toBe(await multipliesBytes())
  })

  test.each([true, false])('serve an engine where bytes are multiplied without loss: %s', async exact => {
    vi.mocked(multipliesBytes).mockResolvedValue(exact)
    const model = await LanguageModel.load('test/fixtures/models/llama-f16')
    const { prompts, decoding } = await model.storedWeights()
    const form = (weights: typeof prompts) => weights.quantized?.values().next().value?.form
    expect([form(prompts), form(decoding)]).toEqual(exact ? ['rows', 'rows'] : [undefined, 'blocks'])
    expect(await written(model)).toHaveLength(4)
    await model.dispose()
  })

  test('stay in float32 where no rotation divides their columns', async () => {
    vi.mocked(multipliesBytes).mockResolvedValue(true)
    vi.mocked(rotationOf).mockReturnValue(undefined)
    for (let time = 0; time < 2; time++) {
      const again = await LanguageModel.load('test/fixtures/models/llama-bf16')
      expect((await again.storedWeights()).prompts.quantized?.size).toBe(0)
      expect(await written(again)).toHaveLength(4)
      await again.dispose()
    }
  })
})
