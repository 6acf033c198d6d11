import { afterAll, describe, expect, test } from 'vitest'
import type { GradpromptError } from '../../src/errors.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { LanguageModel } from '../../src/model/language-model.js'

const opened = LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 })
const engines = opened.then(model => GenerationEngine.open(model, { weights: 'fp32', endTokenIds: [] }))
afterAll(async () => {
  await (await engines).dispose()
  await (await opened).dispose()
})

const prompts = [[3, 7, 11, 5], [9], [3, 7, 11, 5, 2, 8], Array.from({ length: 40 }, (_, i) => (i * 7 + 3) % 90)]

/** What stands behind an answer, by one pass over the whole text. */
async function expected(ids: readonly number[], answer: readonly number[], continuation: readonly number[], scored: number) {
  const model = await opened
  const { vocabSize } = model.config
  const all = [...ids, ...answer, ...continuation]
  const [logits] = await model.logits([all])
  const first = all.length - scored
  const rows = Array.from({ length: scored + 1 }, (_, i) =>
    Float64Array.from(logits!.subarray((first - 1 + i) * vocabSize, (first + i) * vocabSize)),
  )
  const logProbabilities = rows.slice(0, scored).map((row, i) => {
    const most = Math.max(...row)
    return row[all[first + i]!]! - most - Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0))
  })
  return { logProbabilities, likeliest: rows.map(row => row.indexOf(Math.max(...row))) }
}

describe('tokens behind an answer', () => {
  const continuation = { ids: [12, 4, 31, 60, 2], scored: 2 }

  test('are scored as if the model had written them, whatever else runs', async () => {
    const engine = await engines
    const plain = await Promise.all(prompts.map((ids, i) => engine.generate({ ids, maxNewTokens: 5 + 6 * i })))
    const found = await Promise.all(prompts.map((ids, i) => engine.generate({ ids, maxNewTokens: 5 + 6 * i, continuation })))
    for (const [i, ids] of prompts.entries()) {
      expect(found[i]).toMatchObject({ ids: plain[i]!.ids, text: plain[i]!.text, finishReason: 'length' })
      const wanted = await expected(ids, found[i]!.ids, continuation.ids, 2)
      expect(found[i]!.continuation!.likeliest).toEqual(wanted.likeliest)
      for (const [j, value] of wanted.logProbabilities.entries())
        expect(found[i]!.continuation!.logProbabilities[j]).toBeCloseTo(value, 4)
    }
  })

  test('take the place of an end token', async () => {
    const engine = await engines
    const { ids } = await engine.generate({ ids: prompts[0]!, maxNewTokens: 20 })
    const end = ids[7]!
    const first = ids.indexOf(end)
    for (const scored of [2, 5]) {
      const found = await engine.generate({
        ids: prompts[0]!,
        maxNewTokens: 20,
        stopTokenIds: [end],
        continuation: { ...continuation, scored },
      })
      expect(found).toMatchObject({ ids: ids.slice(0, first), finishReason: 'stop', stoppedBy: end })
      const wanted = await expected(prompts[0]!, found.ids, continuation.ids, scored)
      expect(found.continuation!.likeliest).toEqual(wanted.likeliest)
      for (const [j, value] of wanted.logProbabilities.entries())
        expect(found.continuation!.logProbabilities[j]).toBeCloseTo(value, 4)
    }
  })

  test('follow the prompt where there is no answer', async () => {
    const engine = await engines
    const found = await engine.generate({ ids: prompts[2]!, maxNewTokens: 0, continuation: { ids: [12, 4], scored: 2 } })
    expect(found.ids).toEqual([])
    expect(found.continuation!.likeliest).toEqual((await expected(prompts[2]!, [], [12, 4], 2)).likeliest)
  })

  test('count in the context', async () => {
    const engine = await engines
    const { maxPositionEmbeddings } = (await opened).config
    const ids = [1, 2, 3]
    const error = (await engine
      .generate({ ids, maxNewTokens: maxPositionEmbeddings - 5, continuation })
      .catch((error: unknown) => error)) as GradpromptError
    expect(error.code).toBe('context-exceeded')
    expect(error.found).toContain('5 behind them')
  })
})

test('after forgetting, a round comes to the same bits as the first', async () => {
  const engine = await GenerationEngine.open(await opened, { weights: 'fp32', endTokenIds: [] })
  const beginning = prompts[3]!
  await engine.remember([beginning, prompts[0]!, []])
  const round = () =>
    Promise.all(
      [1, 2, 3].map(id =>
        engine.generate({ ids: [...beginning, ...prompts[3]!.slice(0, 30), id], maxNewTokens: 3, logProbabilities: true }),
      ),
    )
  const { keptBytes } = engine.state
  expect(keptBytes).toBeGreaterThan(0)
  const first = await round()
  expect(engine.state.keptBytes).toBeGreaterThan(keptBytes)
  engine.forget()
  expect(engine.state.keptBytes).toBe(keptBytes)
  const second = await round()
  expect(second.map(({ logProbabilities }) => logProbabilities)).toEqual(first.map(({ logProbabilities }) => logProbabilities))
  await engine.dispose()
})
