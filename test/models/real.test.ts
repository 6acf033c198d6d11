import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { relativeError } from '../support/numbers.js'

interface Expected {
  logitRows: number[][]
  tokenIds: number[]
  topIds: number[][]
  training: { loss: number; loss64: number; rows: { ids: number[]; labels: number[] }[] }
}

describe('the bundled model equals transformers', () => {
  const folder = 'test/fixtures/models/smollm2'
  const expected = JSON.parse(readFileSync(`${folder}/expected.json`, 'utf8')) as Expected
  const opened = Promise.all([
    LanguageModel.load('models/smollm2-135m-instruct'),
    openSafetensors(`${folder}/expected.safetensors`),
  ])
  afterAll(async () => {
    const [model, file] = await opened
    await model.dispose()
    await file.close()
  })

  test('logits at 2,042 positions', async () => {
    const [model, file] = await opened
    const { vocabSize } = model.config
    const [tokens, top, logSumExp] = await Promise.all(
      ['logits64.tokens', 'logits64.top', 'logSumExp64'].map(name => file.read(name)),
    )
    let position = 0
    let worst = 0
    const compare = (found: number, wanted: number) => {
      worst = Math.max(worst, Number.isNaN(found) ? Number.POSITIVE_INFINITY : Math.abs(found - wanted))
    }
    // Rows of some hundred tokens at a time: all logits together would be 400 MB.
    for (let start = 0; start < expected.logitRows.length; start += 4) {
      const rows = expected.logitRows.slice(start, start + 4)
      for (const logits of await model.logits(rows)) {
        for (let at = 0; at < logits.length; at += vocabSize, position++) {
          const own = logits.subarray(at, at + vocabSize)
          for (const [i, id] of expected.tokenIds.entries()) compare(own[id]!, tokens![position * expected.tokenIds.length + i]!)
          for (const [i, id] of expected.topIds[position]!.entries()) compare(own[id]!, top![position * 8 + i]!)
          const highest = own[expected.topIds[position]![0]!]!
          compare(highest + Math.log(own.reduce((sum, x) => sum + Math.exp(x - highest), 0)), logSumExp![position]!)
        }
      }
    }
    expect(position).toBe(2042)
    expect(worst).toBeLessThan(1e-3)
  })

  test('loss and gradient of a soft prompt over 16 reviews', async () => {
    const [model, file] = await opened
    const { rows, loss64 } = expected.training
    const softPrompt = { data: await file.read('prompt'), shape: [20, 576] as const }
    const { loss, gradient } = await model.lossAndGradient({ softPrompt, rows })
    expect(Math.abs(loss - loss64) / loss64).toBeLessThan(1e-4)
    expect(relativeError(gradient, await file.read('gradient64'))).toBeLessThan(1e-4)
  })
})
