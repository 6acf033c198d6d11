import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { resumeSearch, search } from '../../src/api/search.js'
import { GenerationEngine } from '../../src/generate/engine.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { parseSearchConfig } from '../../src/search/config.js'
import type { SearchContext } from '../../src/search/moves/method.js'
import { proposeTokens } from '../../src/search/moves/proposals.js'
import { race } from '../../src/search/moves/race.js'
import type { SearchEvent, SearchResult, SearchStepEvent } from '../../src/search/run/events.js'
import { Budget } from '../../src/search/score/budget.js'
import { Objective } from '../../src/search/score/objective.js'
import { SearchPrograms } from '../../src/search/score/programs.js'
import { Reasoning, unheardOf } from '../../src/search/score/reasoning.js'
import type { SearchRow } from '../../src/search/space/token-space.js'
import { ownCache } from '../support/cache.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'
import { toySearch } from './toy.js'

ownCache()
let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

const opened = LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 }).then(async model => ({
  model,
  programs: new SearchPrograms(model),
  engine: await GenerationEngine.open(model, { weights: 'fp32', endTokenIds: [] }),
}))
afterAll(async () => {
  const { model, programs, engine } = await opened
  await engine.dispose()
  await programs.dispose()
  await model.dispose()
})

const rows: SearchRow[] = [
  [
    [3, 4, 5],
    [60, 61],
  ],
  [[3, 4, 9, 11], [62]],
  [[70], [63, 64, 65]],
].map(([before, answer], index) => ({
  ...{ index, before: before!, after: [50, 51], extractor: [80, 81], answer: answer! },
  text: { before: '', after: '' },
}))
const prompt = [20, 21, 22]
const MAX = 7

async function reasoned(options: { fluency?: number; measure?: 'cross-entropy' | 'probability' | 'mistakes' } = {}) {
  const { model, programs, engine } = await opened
  const budget = new Budget({}, () => 0)
  const reasoning = new Reasoning(engine, model.tokenizer, { maxNewTokens: MAX, batchSize: 8 })
  const settings = { free: [0, 1, 2], fluency: 0, ...options }
  return { model, budget, reasoning, objective: new Objective(model, programs, budget, settings, undefined, reasoning) }
}

/** Greedy tokens, the whole text anew for each. */
async function greedy(model: LanguageModel, ids: readonly number[], count: number): Promise<number[]> {
  const all = [...ids]
  for (let i = 0; i < count; i++) {
    const [logits] = await model.logits([all])
    const last = logits!.subarray(-model.config.vocabSize)
    all.push(last.indexOf(Math.max(...last)))
  }
  return all.slice(ids.length)
}

describe('scores behind reasoning', () => {
  test('equal the likelihood of the answer behind greedy reasoning and the extractor', async () => {
    const { model, objective, reasoning, budget } = await reasoned()
    const others = [prompt, [20, 33, 22]]
    const scores = await objective.score(others, rows)
    for (const [p, ids] of others.entries())
      for (const [r, { before, after, extractor, answer }] of rows.entries()) {
        const context = [...before, ...ids, ...after]
        const written = await greedy(model, context, MAX)
        const [likelihoods] = await model.logLikelihoods(undefined, [
          { context: [...context, ...written, ...extractor], candidates: [{ ids: answer }] },
        ])
        expect(scores[p]!.rowLosses[r]).toBeCloseTo(-likelihoods![0]! / answer.length, 4)
      }
    expect(budget.spent.generatedTokens).toBe(2 * 3 * MAX)
    // What is known is not generated again.
    const again = await objective.score(others, rows.slice(1))
    expect(again[1]!.rowLosses).toEqual(scores[1]!.rowLosses.slice(1))
    expect(budget.spent.generatedTokens).toBe(2 * 3 * MAX)
    expect(reasoning.size).toBe(6)
  })

  test('behind held reasoning: those of the prompt that it was written under, of others without a new token', async () => {
    const { model, objective, budget } = await reasoned()
    const other = [20, 33, 22]
    const [own] = await objective.score([prompt], rows)
    const [again, changed] = await objective.scoreHeld([prompt, other], rows, prompt)
    expect(budget.spent.generatedTokens).toBe(3 * MAX)
    for (const [r, { before, after, extractor, answer }] of rows.entries()) {
      expect(again!.rowLosses[r]).toBeCloseTo(own!.rowLosses[r]!, 4)
      const written = await greedy(model, [...before, ...prompt, ...after], MAX)
      const context = [...before, ...other, ...after, ...written, ...extractor]
      const [likelihoods] = await model.logLikelihoods(undefined, [{ context, candidates: [{ ids: answer }] }])
      expect(changed!.rowLosses[r]).toBeCloseTo(-likelihoods![0]! / answer.length, 4)
    }
  })

  test('by probability: 1 minus that of the whole answer', async () => {
    const plain = await (await reasoned()).objective.score([prompt], rows)
    const scores = await (await reasoned({ measure: 'probability' })).objective.score([prompt], rows)
    for (const [r, { answer }] of rows.entries())
      expect(scores[0]!.rowLosses[r]).toBeCloseTo(1 - Math.exp(-plain[0]!.rowLosses[r]! * answer.length), 5)
  })

  test('the fluency term is the mean likelihood of the prompt before anything is written', async () => {
    const { model, objective } = await reasoned({ fluency: 0.5 })
    const plain = (await (await reasoned()).objective.score([prompt], rows))[0]!.loss
    const likelihoods = await model.logLikelihoods(
      undefined,
      rows.map(({ before }) => ({ context: before, candidates: [{ ids: prompt }] })),
    )
    const mean = likelihoods.reduce((sum, [value]) => sum + value! / 3 / rows.length, 0)
    expect((await objective.score([prompt], rows))[0]!.loss).toBeCloseTo(plain - 0.5 * mean, 4)
  })

  test.each(['cross-entropy', 'probability'] as const)(
    '%s: the gradient holds the reasoning fixed, as finite differences do',
    async measure => {
      const { objective, model } = await reasoned({ measure })
      const { gradient } = await objective.gradient([prompt], rows)
      // The loss that is differentiated: of the rows with their reasoning as context.
      const known = await (await reasoned()).reasoning.answers([prompt], rows, { budget: new Budget({}, () => 0) })
      const plain = new Objective(model, (await opened).programs, new Budget({}, () => 0), { free: [], fluency: 0 })
      const direction = Float32Array.from({ length: gradient.length }, (_, i) => Math.sin(i + 1))
      const step = 2e-3
      const at = async (sign: number) => {
        let sum = 0
        for (const [r, row] of rows.entries()) {
          const whole = { ...row, after: [...row.after, ...known[0]![r]!.reasoning] }
          const { loss } = await plain.gradient([prompt], [whole], { offsets: [direction.map(x => sign * step * x)] })
          sum += measure === 'probability' ? 1 - Math.exp(-loss * row.answer.length) : loss
        }
        return sum / rows.length
      }
      const along = direction.reduce((sum, x, i) => sum + x * gradient[i]!, 0)
      expect(((await at(1)) - (await at(-1))) / (2 * step) / along).toBeCloseTo(1, 1)
    },
  )
})

describe('proposals', () => {
  const context = async () => {
    const { objective, model } = await reasoned()
    const allowed = Int32Array.from({ length: 60 }, (_, i) => i + 5)
    return { objective, model, context: { objective, allowed, rows, random: () => undefined } as unknown as SearchContext }
  }
  const likelihoods = async (model: LanguageModel, position: number) => {
    const all: Float64Array[] = []
    for (const { before } of rows) {
      const [logits] = await model.logits([[...before, ...prompt.slice(0, position)]])
      const last = Float64Array.from(logits!.subarray(-model.config.vocabSize))
      const most = Math.max(...last)
      const normaliser = most + Math.log(last.reduce((sum, x) => sum + Math.exp(x - most), 0))
      all.push(last.map(x => x - normaliser))
    }
    return all
  }

  test('the mean takes the tokens of the best mean log-probability, but never the token before', async () => {
    const { model, context: given } = await context()
    const found = await proposeTokens(prompt, [1, 3], rows, { proposals: 'mean', topk: 6, mu: 1 }, given)
    for (const [j, position] of [1, 3].entries()) {
      const all = await likelihoods(model, position)
      const mean = (id: number) => all.reduce((sum, own) => sum + own[id]!, 0)
      const ids = Array.from(given.allowed).filter(id => id !== prompt[position - 1])
      expect(found[j]).toEqual(ids.sort((a, b) => mean(b) - mean(a)).slice(0, 6))
    }
  })

  test('the intersection is what all sampled questions propose, with k as large as it takes', async () => {
    const { model, context: given } = await context()
    const [found] = await proposeTokens(prompt, [2], rows, { proposals: 'intersection', topk: 2, mu: 2 }, given)
    const all = await likelihoods(model, 2)
    const ids = Array.from(given.allowed).filter(id => id !== prompt[1])
    const common = (k: number) => {
      const tops = all.map(own => [...ids].sort((a, b) => own[b]! - own[a]!).slice(0, k))
      return ids.filter(id => tops.every(top => top.includes(id)))
    }
    let k = 2
    while (common(k).length < 4) k += 2
    expect([...found!].sort((a, b) => a - b)).toEqual(common(k))
  })
})

test('a race gives up what is behind, after the questions so far', async () => {
  // Losses by prompt and question: the second is worse everywhere, the third and the fourth better.
  const losses: Record<number, number> = { 1: 0.5, 2: 0.9, 3: 0.4, 4: 0.3 }
  const asked: number[][] = []
  const context = {
    rows,
    seed: 1,
    step: 0,
    objective: {
      score: (prompts: number[][], own: SearchRow[]) => {
        asked.push(own.map(({ index }) => index))
        return Promise.resolve(prompts.map(([id]) => ({ loss: losses[id!]!, rowLosses: [], exact: false, exactRows: 0 })))
      },
    },
  } as unknown as SearchContext
  const candidates = [2, 3, 4].map(id => ({ ids: [id], swaps: [] }))
  const current = { ids: [1], swaps: [], loss: 0.5, rowLosses: [], exact: false, exactRows: 0 }
  const { finalists, eliminated } = await race(current, candidates, 3, context)
  expect(finalists.map(({ ids }) => ids[0])).toEqual([4])
  expect(eliminated.map(({ ids, questions }) => [ids[0], questions])).toEqual([
    [2, 1],
    [3, 2],
  ])
  expect(asked.map(({ length }) => length)).toEqual([1, 2])
})

const timeless = ({ seconds: _, folder: __, peakMemory: ___, ...result }: SearchResult) => result
const steps = (events: readonly SearchEvent[]) => events.filter((event): event is SearchStepEvent => event.event === 'step')
const options = { type: 'greater', topk: 8, extractor: ' =', maxNewTokens: 6, questions: 6, steps: 5, weights: 'fp32' }
const config = (out: string, search: Record<string, unknown> = {}) =>
  toySearch(folder, { out: join(folder, out), search: { ...options, ...search } })
const run = async (out: string, options: Record<string, unknown> = {}) => {
  const events: SearchEvent[] = []
  const { result } = await search(config(out, options), { onEvent: event => events.push(event) })
  return { result, events }
}

describe.each([
  { preset: 'default' },
  { preset: 'default', shortlist: 'held-reasoning' },
  { preset: 'paper' },
  { preset: 'official' },
  { preset: 'greaterprompt' },
])('a run with %o', options => {
  test('keeps what the model wrote, and resumes to the same bits', async () => {
    const whole = await run('whole', options)
    expect(whole.result.generatedTokens).toBeGreaterThan(0)
    expect(whole.result.initial.metrics.accuracy).toBeDefined()
    const accuracy = (prompt: { metrics: SearchResult['metrics'] }) => prompt.metrics.accuracy!.value
    expect(accuracy(whole.result)).toBeGreaterThanOrEqual(accuracy(whole.result.initial))
    const controller = new AbortController()
    const stopped = search(config('run', options), {
      signal: controller.signal,
      onEvent: event => {
        if (event.event === 'step' && event.step === 2) controller.abort()
      },
    })
    expect((await problemOf(stopped)).code).toBe('aborted')
    const { result } = await resumeSearch(join(folder, 'run'))
    expect(timeless(result)).toEqual(timeless(whole.result))
    const lines = (name: string) => readFileSync(join(folder, name, 'reasoning.jsonl'), 'utf8')
    expect(lines('run')).toBe(lines('whole'))
    const [first] = lines('run').split('\n')
    expect(Object.keys(JSON.parse(first!) as object)).toEqual(
      expect.arrayContaining(['prompt', 'question', 'reasoning', 'logProbabilities', 'isExact', 'text']),
    )
  })
})

test('a budget of generated tokens is kept to one batch', async () => {
  const { events } = await run('free')
  const [first] = steps(events)
  const limit = first!.generatedTokens + 1
  const { result } = await run('limited', { budget: { generatedTokens: limit } })
  expect(result.steps).toBeLessThan(5)
  expect(result.generatedTokens).toBeLessThan(limit + 6 * 64)
})

test('answers that the model never gives are named', async () => {
  const { model } = await opened
  const of = (answer: number[], logProbability: number, index: number) => ({
    row: { ...rows[0]!, index, answer },
    reasoned: { reasoning: [], logProbabilities: [logProbability], isExact: false, isRight: false, isCut: false },
  })
  const named = (list: ReturnType<typeof of>[]) =>
    unheardOf(
      list.map(({ reasoned }) => reasoned),
      list.map(({ row }) => row),
      model.tokenizer,
    )
  const text = (id: number) => model.tokenizer.decode([id])
  expect(named([of([60], -20, 0), of([60], -15, 1), of([61], -2, 2)])).toEqual([text(60)])
  expect(named([of([60], -20, 0), of([60], -5, 1), of([61], -2, 2)])).toEqual([])
  // An answer of one question alone says little, unless there is no other.
  expect(named([of([60], -20, 0), of([61], -2, 1)])).toEqual([])
  expect(named([of([60], -20, 0), of([61], -20, 1)])).toEqual([text(60), text(61)])
})

test('from left to right a prompt grows to its largest length, and no further', async () => {
  const { events } = await run('grown', { preset: 'paper', steps: 12, maxLength: 5, drift: 'allow' })
  const lengths = steps(events).map(({ ids }) => ids.length)
  expect(Math.max(...lengths)).toBe(5)
  expect(lengths.at(-1)).toBe(5)
})

test('GreaterPrompt cuts a prompt behind a token that ends a sentence, and begins anew', async () => {
  // Two tokens, of which none follows itself: the first step has but the period for the first position.
  const two = { vocabulary: ['.', ' t'], prompt: ' t a the s', topk: 2, drift: 'allow', maxLength: 3, steps: 4 }
  const { events } = await run('cut', { preset: 'greaterprompt', ...two })
  const prompts = steps(events).map(({ prompt }) => prompt)
  expect(prompts.slice(0, 2)).toEqual(['.', ' t'])
  expect(steps(events)[0]!.swap).toMatchObject({ position: 0, from: ' t', to: '.', changed: 4, accepted: true })
  expect(prompts[2]).toBe(' t.')
  const { events: frozen } = await run('frozen', {
    preset: 'greaterprompt',
    ...two,
    prompt: [' t', { frozen: ' a the' }],
    steps: 1,
  })
  expect(steps(frozen)[0]!.prompt).toBe('. a the')
})

test('the gradient of one question a step is drawn by seed', async () => {
  const rowsOf = vi.spyOn(Objective.prototype, 'gradient')
  await run('one', { preset: 'greaterprompt', steps: 4 })
  const asked = rowsOf.mock.calls.map(([, rows]) => rows.map(({ index }) => index))
  vi.restoreAllMocks()
  expect(asked.every(({ length }) => length === 1)).toBe(true)
  expect(new Set(asked.flat()).size).toBeGreaterThan(1)
})

test.each(['random', 'gradient-without-reasoning'])('the control %s runs over the same proposals', async shortlist => {
  const { events } = await run('control', { shortlist, steps: 2 })
  const [step] = steps(events)
  expect(step!.shortlist.length).toBeGreaterThan(0)
  expect(step!.shortlist.every(({ gradientScore }) => (gradientScore === null) === (shortlist === 'random'))).toBe(true)
})

test('a shortlist by held reasoning is the best of what it scored so', async () => {
  const held = vi.spyOn(Objective.prototype, 'scoreHeld')
  const exact = vi.spyOn(Objective.prototype, 'score')
  await run('held', { shortlist: 'held-reasoning', prefilter: 6, mu: 2, blocks: 1, steps: 3 })
  const shortlists = exact.mock.calls.map(([prompts]) => prompts).filter(({ length }) => length === 2)
  const guesses = await Promise.all(held.mock.results.map(({ value }) => value as ReturnType<Objective['scoreHeld']>))
  const asked = held.mock.calls.map(([prompts]) => prompts)
  vi.restoreAllMocks()
  expect(asked.map(({ length }) => length)).toEqual([6, 6, 6])
  for (const [step, prompts] of asked.entries()) {
    expect(new Set(prompts.map(ids => ids.join())).size).toBe(6)
    const order = [...prompts.keys()].sort((a, b) => guesses[step]![a]!.loss - guesses[step]![b]!.loss)
    expect(shortlists[step]).toEqual(order.slice(0, 2).map(i => prompts[i]))
  }
})

describe('refused', () => {
  test('reasoning options without an extractor', () => {
    const error = problem(() => parseSearchConfig(config('run', { extractor: undefined })))
    expect(error.code).toBe('invalid-config')
    expect(error.message).toContain('maxNewTokens')
  })

  test('a question with its reasoning longer than the context', async () => {
    const error = await problemOf(search(config('run', { maxNewTokens: 5000 })))
    expect(error.code).toBe('row-too-long')
    expect(error.hint).toContain('maxNewTokens')
    expect(existsSync(join(folder, 'run'))).toBe(false)
  })

  test('a vocabulary that leaves nothing to propose', async () => {
    const error = await problemOf(run('run', { vocabulary: [' t'] }))
    expect(error.code).toBe('no-candidates')
    expect(error.hint).toContain('vocabulary')
  })

  test('a vocabulary whose tokens never read back', async () => {
    const error = await problemOf(run('run', { prompt: [{ frozen: ' o' }, ' t'], vocabulary: ['f'], steps: 100 }))
    expect(error.code).toBe('all-candidates-drift')
  })

  test('a budget below one step', async () => {
    expect((await problemOf(run('run', { budget: { generatedTokens: 1 } }))).code).toBe('budget-too-small')
  })

  test('labels that are compared behind reasoning', async () => {
    expect((await problemOf(run('run', { measure: 'gap' }))).code).toBe('invalid-config')
  })
})
