import { describe, expect, test, vi } from 'vitest'
import { serve } from '../../../src/api/serve.js'
import { GenerationEngine } from '../../../src/generate/engine/engine.js'
import { PrefillTurns } from '../../../src/generate/engine/prefill-turns.js'
import type { Sequence } from '../../../src/generate/engine/sequence.js'
import type { LanguageModel } from '../../../src/model/language-model.js'
import { count, open, tiny } from '../support/engines.js'
import { jsonModel } from '../support/json-model.js'

/** 135 million weights in the shapes of SmolLM2. */
const model = {
  memory: { float32Weights: 4 * 135e6 },
  config: { numLayers: 30, numAttentionHeads: 9, headDim: 64 },
} as LanguageModel
const larger = { ...model, memory: { float32Weights: 4 * 1.5e9 } } as LanguageModel
const sequence = (length: number, done = 0) => ({ ids: { length }, done }) as Sequence

describe('which sequences a run of prefill is for', () => {
  test('where nobody else may ask: all, in the order in which they came', () => {
    const turns = new PrefillTurns(model, false)
    const entering = [sequence(6000), sequence(20)]
    expect(turns.next(entering, false)).toEqual({ sequences: entering, rows: 1024 })
    expect(turns.next(entering, true)).toEqual({ sequences: entering, rows: 256 })
  })

  test('short ones do not wait for a long one, which every other run goes on with', () => {
    const turns = new PrefillTurns(model, true)
    const [long, short, other] = [sequence(6000), sequence(60), sequence(20)]
    expect(turns.next([long, short, other], false).sequences).toEqual([other, short])
    expect(turns.next([long, short], false).sequences).toEqual([long, short])
    expect(turns.next([long, short], false).sequences).toEqual([short])
    expect(turns.next([long], false).sequences).toEqual([long])
  })

  test('what half a run does not bring to its answer waits its turn', () => {
    const turns = new PrefillTurns(model, true)
    const entering = [sequence(6000), sequence(129), sequence(128)]
    expect(turns.next(entering, false).sequences).toEqual([entering[2]])
    const [one, two] = [sequence(6000), sequence(129)]
    expect(turns.next([one, two], false).sequences).toEqual([one, two])
    expect(turns.next([one, two], false).sequences).toEqual([one, two])
  })

  test('all that one run holds go together, as they came', () => {
    const entering = [sequence(200), sequence(20), sequence(36)]
    expect(new PrefillTurns(model, true).next(entering, false).sequences).toEqual(entering)
  })
})

test('a run is the shorter, the more there is to multiply', () => {
  const rows = (of: LanguageModel, done: number) => new PrefillTurns(of, true).next([sequence(8000, done)], false).rows
  expect(rows(model, 0)).toBe(256)
  expect(rows(model, 5000)).toBe(128)
  expect(rows(larger, 0)).toBe(64)
})

test('prompts come before next tokens where more wait for them, four runs in a row at most', () => {
  const turns = new PrefillTurns(model, false)
  const due = (entering: number, waiting: number) => turns.isDue(entering, waiting)
  expect([due(0, 3), due(1, 3), due(1, 3), due(1, 3)]).toEqual([false, true, false, true])
  expect([due(0, 1), ...Array.from({ length: 6 }, () => due(5, 1))]).toEqual([false, true, true, true, true, false, true])
  expect(Array.from({ length: 6 }, () => due(1, 0))).toEqual(Array(6).fill(true))
})

test('a server’s engine answers a short text before the long ones that came first', async () => {
  const model = await jsonModel
  const order = async (engine: GenerationEngine) => {
    const done: string[] = []
    const ask = async (name: string, length: number, step: number) => {
      await engine.generate({ ids: count(length, step), maxNewTokens: 1 })
      done.push(name)
    }
    await Promise.all([ask('first', 1100, 7), ask('second', 1100, 11), ask('short', 10, 13)])
    return done
  }
  await using plain = await GenerationEngine.open(model, { weights: 'fp32' })
  expect((await order(plain))[0]).toBe('first')
  const opened = vi.spyOn(GenerationEngine, 'open')
  await using _ = await serve({ model, port: 0 })
  const engine = (await opened.mock.results[0]!.value) as GenerationEngine
  opened.mockRestore()
  expect((await order(engine))[0]).toBe('short')
})

test('an interactive engine writes what another one writes', async () => {
  const interactive = await open(await tiny, { interactive: true })
  const plain = await open(await tiny)
  const requests = [500, 10, 300, 20].map((length, i) => ({ ids: count(length, 5 + i), maxNewTokens: 8 }))
  const answers = (engine: typeof plain) => Promise.all(requests.map(async request => (await engine.generate(request)).ids))
  expect(await answers(interactive)).toEqual(await answers(plain))
  await interactive.dispose()
  await plain.dispose()
})
