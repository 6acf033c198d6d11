import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { resumeSearch, search } from '../../src/api/search.js'
import { parseSearchConfig } from '../../src/search/config.js'
import type { SearchEvent, SearchResult, SearchStepEvent } from '../../src/search/run/events.js'
import { Objective } from '../../src/search/score/objective.js'
import { unheardOf } from '../../src/search/score/reasoning.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'
import { opened, rows } from './support/reasoned.js'
import { toySearch } from './toy.js'

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

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
  // The look before the search asks behind held reasoning as well, of the first prompt alone.
  const steps = [...held.mock.calls.keys()].filter(i => held.mock.calls[i]![0].length > 1)
  const guesses = await Promise.all(steps.map(i => held.mock.results[i]!.value as ReturnType<Objective['scoreHeld']>))
  const asked = steps.map(i => held.mock.calls[i]![0])
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
