import fc from 'fast-check'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { planDecode } from '../../src/generate/engine/decode.js'
import { type EngineOptions, GenerationEngine } from '../../src/generate/engine/engine.js'
import type { Sequence } from '../../src/generate/engine/sequence.js'
import { PromptLookup } from '../../src/generate/prompt-lookup.js'
import type { GenerationRequest } from '../../src/generate/request.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { Program } from '../../src/program/program.js'

const idsOf = (guesses: readonly { readonly id: number }[]) => guesses.map(({ id }) => id)

describe('guesses', () => {
  test('are what followed the last tokens where they stood before, at the latest of the longest matches', () => {
    expect(idsOf(new PromptLookup().guess([1, 2, 3, 9, 8, 2, 3, 7, 6, 1, 2, 3], 2, 0))).toEqual([9, 8])
    expect(idsOf(new PromptLookup().guess([2, 3, 9, 8, 2, 3, 7, 6, 2, 3], 2, 0))).toEqual([7, 6])
    expect(new PromptLookup().guess([1, 2, 3, 4], 2, 0)).toEqual([])
    expect(new PromptLookup().guess([5], 2, 0)).toEqual([])
  })

  test('go on in themselves where a text repeats itself', () => {
    expect(idsOf(new PromptLookup().guess([4, 1, 2, 1, 2], 5, 0))).toEqual([1, 2, 1, 2, 1])
  })

  test('are as many as pay, and fewer where they fail', () => {
    const ids = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3]
    const lookup = new PromptLookup()
    const most = lookup.guess(ids, 15, 0.3).length
    expect(most).toBeGreaterThan(1)
    expect(lookup.guess(ids, 15, 0.55).length).toBe(1)
    for (let i = 0; i < 20; i++) {
      const { length } = lookup.guess(ids, 15, 0)
      lookup.settle(length, 0)
    }
    expect(lookup.guess(ids, 15, 0.3)).toEqual([])
    for (let i = 0; i < 20; i++) {
      const { length } = lookup.guess(ids, 4, 0)
      lookup.settle(length, length)
    }
    expect(lookup.guess(ids, 15, 0.3).length).toBeGreaterThanOrEqual(most)
  })

  test('are tokens of the text, with chances that fall', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4), { maxLength: 60 }), fc.nat(15), (ids, most) => {
        const guesses = new PromptLookup().guess(ids, most, 0)
        expect(guesses.length).toBeLessThanOrEqual(most)
        for (const [i, { id, chance }] of guesses.entries()) {
          expect(ids).toContain(id)
          expect(chance).toBeLessThanOrEqual(guesses[i - 1]?.chance ?? 0.99)
          expect(chance).toBeGreaterThan(0)
        }
      }),
    )
  })
})

describe('a run', () => {
  const sure = (chance: number) =>
    ({ guess: (most: number) => Array.from({ length: most }, () => ({ id: 1, chance })) }) as unknown as Sequence
  const rows = (count: number, chance: number) => planDecode(Array<Sequence>(count).fill(sure(chance)), 'fp32').rows

  test('takes guesses that pay, and no more than there is room for', () => {
    expect(rows(1, 0.9)).toBe(16)
    expect(rows(64, 0.9)).toBe(256)
    expect(rows(300, 0.9)).toBe(300)
    expect(rows(64, 0.4)).toBe(64)
    expect(rows(1, 0.4)).toBe(16)
    expect(planDecode([sure(1)], undefined).rows).toBe(1)
  })

  test('is not padded for one sequence among many', () => {
    const nothing = { guess: () => [] } as unknown as Sequence
    expect(planDecode([sure(0.9), ...Array<Sequence>(2).fill(nothing)], 'stored').rows).toBe(18)
    expect(planDecode([sure(0.9), ...Array<Sequence>(40).fill(nothing)], 'stored').rows).toBe(41)
  })
})

describe('answers with guesses are those without', () => {
  const opened = LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 })
  afterAll(async () => (await opened).dispose())

  /** All answers, and the runs that they took. */
  async function answers(options: EngineOptions, requests: readonly GenerationRequest[]) {
    const engine = await GenerationEngine.open(await opened, { weights: 'fp32', endTokenIds: [], ...options })
    const run = vi.spyOn(Program.prototype, 'run')
    const found = await Promise.all(requests.map(request => engine.generate(request)))
    const runs = run.mock.calls.length
    run.mockRestore()
    await engine.dispose()
    return { found, runs }
  }

  const period = [3, 7, 11, 5, 20, 41]
  const repeating = Array.from({ length: 25 }, (_, i) => period[i % period.length]!)
  const request = fc.record({
    ids: fc.oneof(
      fc.constant(repeating),
      fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 30 }),
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 30 }),
    ),
    maxNewTokens: fc.integer({ min: 0, max: 30 }),
    temperature: fc.constantFrom(0, 0, 0.05, 1),
    repetitionPenalty: fc.constantFrom(1, 1, 1.3),
    logProbabilities: fc.boolean(),
    stopTokenIds: fc.constantFrom([], [5], [11, 20]),
    continuation: fc.constantFrom(undefined, { ids: [12, 4, 31, 60, 2], scored: 2 }, { ids: repeating, scored: 25 }),
    seed: fc.nat(100),
  })

  test('whatever is asked for', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 5 }), async list => {
        const requests = list.map(({ continuation, ...rest }) => ({ ...rest, ...(continuation && { continuation }) }))
        const [plain, guessed] = [await answers({ promptLookup: false }, requests), await answers({}, requests)]
        for (const [i, wanted] of plain.found.entries()) {
          const found = guessed.found[i]!
          const { logProbabilities, continuation, ...rest } = wanted
          expect(found).toMatchObject(rest)
          for (const [j, x] of logProbabilities?.entries() ?? []) expect(found.logProbabilities![j]).toBeCloseTo(x, 3)
          expect(found.continuation?.likeliest).toEqual(continuation?.likeliest)
          for (const [j, x] of continuation?.logProbabilities.entries() ?? [])
            expect(found.continuation!.logProbabilities[j]).toBeCloseTo(x, 3)
        }
        expect(guessed.runs).toBeLessThanOrEqual(plain.runs)
      }),
      { numRuns: 15, seed: 7 },
    )
  })

  test('in fewer runs where the text repeats itself, and where what follows is known', async () => {
    const greedy = [{ ids: repeating, maxNewTokens: 60 }]
    const [plain, guessed] = [await answers({ promptLookup: false }, greedy), await answers({}, greedy)]
    expect(plain.runs).toBe(60)
    expect(guessed.runs).toBeLessThan(30)
    const known = [{ ids: [9, 2], maxNewTokens: 0, continuation: { ids: repeating, scored: 3 } }]
    expect((await answers({ promptLookup: false }, known)).runs).toBe(26)
    expect((await answers({}, known)).runs).toBeLessThan(5)
  })
})
