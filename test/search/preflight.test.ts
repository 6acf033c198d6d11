import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { search } from '../../src/api/search.js'
import type { PreflightEvent, SearchEvent } from '../../src/search/run/events.js'
import { preflight, preflightWarnings, refuseHopeless } from '../../src/search/run/preflight.js'
import { ownCache } from '../support/cache.js'
import { problem } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'
import { greedy, MAX, prompt, reasoned, rows } from './support/reasoned.js'
import { toySearch } from './toy.js'

ownCache()

test('what is looked at is what the model does', async () => {
  const { model, objective, reasoning } = await reasoned()
  // Two rows share an answer: a closed set.
  const closed = rows.map((row, i) => ({ ...row, answer: rows[i % 2]!.answer }))
  const found = await preflight({ objective, reasoning, prompt, rows: closed })
  let mass = 0
  for (const { before, after, extractor } of closed) {
    const written = await greedy(model, [...before, ...prompt, ...after], MAX)
    const context = [...before, ...prompt, ...after, ...written, ...extractor]
    const candidates = [rows[0]!, rows[1]!].map(({ answer }) => ({ ids: answer }))
    const [likelihoods] = await model.logLikelihoods(undefined, [{ context, candidates }])
    mass += likelihoods!.reduce((sum, value) => sum + Math.exp(value), 0) / closed.length
  }
  expect(found.answerMass).toBeCloseTo(mass, 5)
  expect(found).toMatchObject({ event: 'preflight', questions: 3, cut: 1, tokensPerAnswer: MAX, tokensPerPrompt: 3 * MAX })
  expect(found.accuracy.high).toBeGreaterThan(found.accuracy.value)
})

test('each fault is named with what to change, and a search that cannot learn is refused', () => {
  const fine: PreflightEvent = {
    ...{ event: 'preflight', questions: 16, cut: 0.1, answerMass: 0.6, tokensPerAnswer: 50, tokensPerPrompt: 500 },
    accuracy: { value: 0.4, low: 0.2, high: 0.6 },
  }
  const codes = (event: PreflightEvent, generatedTokens?: number) =>
    preflightWarnings(event, { maxNewTokens: 64, generatedTokens }).map(({ code }) => code)
  expect(codes(fine, 5000)).toEqual([])
  expect(codes({ ...fine, cut: 0.5 })).toEqual(['reasonings-cut'])
  expect(codes({ ...fine, answerMass: 0.01 })).toEqual(['answers-unlikely'])
  expect(codes(fine, 1400)).toEqual(['few-prompts'])
  const none = { ...fine, accuracy: { value: 0, low: 0, high: 0.2 }, answerMass: 1e-5 }
  expect(problem(() => refuseHopeless(none)).code).toBe('nothing-to-learn')
  refuseHopeless({ ...none, answerMass: 0.01 })
  refuseHopeless({ ...fine, answerMass: 1e-5 })
})

test('auto settles on values, says which, and they stand in the config of the run', async () => {
  const { folder, remove } = temporaryFolder()
  const options = { type: 'random-shortlist', candidates: 1, steps: 1, questions: 4, extractor: 'auto', maxNewTokens: 'auto' }
  const config = toySearch(folder, { data: undefined, search: options })
  const events: SearchEvent[] = []
  const { data } = toySearch(folder)
  await search({ ...config, data: { ...data, split: { dev: 2 } } } as never, { onEvent: event => events.push(event) })
  const warnings = events.flatMap(event => (event.event === 'warning' ? [event.code] : []))
  expect(warnings).toEqual(expect.arrayContaining(['max-new-tokens-chosen', 'extractor-chosen']))
  expect(events.filter(({ event }) => event === 'preflight')).toHaveLength(1)
  const kept = readFileSync(join(folder, 'run', 'config.yaml'), 'utf8')
  expect(kept).toMatch(/maxNewTokens: \d+/)
  expect(kept).not.toContain('auto\n    maxNewTokens')
  remove()
})
