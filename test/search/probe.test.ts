import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { resumeSearch, search } from '../../src/api/search.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { spearman } from '../../src/search/moves/drift.js'
import type { SearchEvent, SearchStepEvent } from '../../src/search/run/events.js'
import { Draft } from '../../src/search/score/draft.js'
import { TokenSpace } from '../../src/search/space/token-space.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyModel } from '../train/toy.js'
import { toySearch } from './toy.js'

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

const otherModel = 'test/fixtures/models/gpt2'
const run = async (out: string, options: Record<string, unknown>) => {
  const events: SearchEvent[] = []
  const defaults = { type: 'gcg', vocabulary: 'ascii', searchWidth: 40, topk: 20, steps: 5, bufferSize: 2 }
  const config = toySearch(folder, { out: join(folder, out), search: { ...defaults, ...options } })
  const { result } = await search(config, { onEvent: event => events.push(event) })
  return { result, steps: events.filter((event): event is SearchStepEvent => event.event === 'step') }
}

describe('probe sampling', () => {
  test('with the model itself as the draft goes the way of the whole search, by far fewer scores', async () => {
    const whole = await run('whole', { screening: 1 })
    const probed = await run('probed', { probe: { draft: toyModel, samplingFactor: 8 } })
    expect(probed.steps.map(({ ids }) => ids)).toEqual(whole.steps.map(({ ids }) => ids))
    for (const [i, { candidates, figures }] of probed.steps.entries()) {
      expect(figures!.agreement).toBeCloseTo(1, 6)
      expect(figures!.filtered).toBe(1)
      expect(candidates).toBeLessThanOrEqual(6)
      expect(whole.steps[i]!.candidates).toBeGreaterThan(20)
    }
  })

  test('with another model scores as many as the two disagree; and resumes to the same', async () => {
    const options = { probe: { draft: otherModel, samplingFactor: 4, reduction: 2 }, steps: 4 }
    const { result, steps } = await run('run', options)
    for (const { figures, candidates } of steps) {
      expect(figures!.agreement).toBeGreaterThanOrEqual(0)
      expect(figures!.agreement).toBeLessThan(1)
      expect(figures!.filtered).toBeLessThanOrEqual(20)
      expect(candidates).toBeLessThanOrEqual(10 + figures!.filtered!)
      expect(figures!.draftTokens).toBeGreaterThan(0)
    }
    expect(Math.min(...result.ranking.map(({ objective }) => objective))).toBeLessThan(result.initial.objective)
    await run('shorter', { ...options, steps: 2 })
    const { result: resumed } = await resumeSearch(join(folder, 'shorter'), { steps: 4 })
    expect(resumed.ids).toEqual(result.ids)
    expect(resumed.objective).toBe(result.objective)
  })

  test('needs a draft model that is there, and no reasoning', async () => {
    const missing = toySearch(folder, { search: { probe: { draft: join(folder, 'none') } } })
    expect((await problemOf(search(missing))).exitCode).toBe(2)
    const reasoned = toySearch(folder, { search: { probe: { draft: toyModel }, extractor: ' so', maxNewTokens: 4 } })
    expect((await problemOf(search(reasoned))).code).toBe('invalid-config')
  })
})

test('a draft of other tokens reads the text of every row, and its loss is of the answer alone', async () => {
  const bundled = 'models/smollm2-135m-instruct'
  const model = await LanguageModel.load(bundled, { threads: 1 })
  const target = await LanguageModel.load(toyModel, { threads: 1 })
  const options = { template: '{text}{prompt} -', answer: ' {label}', labels: undefined, contextLength: 64, prompt: ' t a' }
  const records = [
    { text: 'wine 3', label: 'the' },
    { text: 'stone', label: 'of' },
  ]
  const space = new TokenSpace(target.tokenizer, options, records[0]!)
  expect(model.tokenizer.hash).not.toBe(target.tokenizer.hash)
  const draft = await Draft.open(bundled, target, space, { addSpecialTokens: true, endOf: () => undefined })
  const scorer = draft.scorer({ elapsed: () => 0 })
  const prompts = [space.start, target.tokenizer.encode(' of the')]
  const losses = await scorer.score(
    prompts,
    records.map((record, i) => space.row(record, i)),
  )
  const { tokenizer } = model
  for (const [p, prompt] of prompts.entries()) {
    const each = await model.logLikelihoods(
      undefined,
      records.map(({ text, label }) => {
        const context = tokenizer.encode(`${text}${space.text(prompt)} -`)
        return {
          context,
          candidates: [{ ids: tokenizer.encode(`${text}${space.text(prompt)} - ${label}`).slice(context.length) }],
        }
      }),
    )
    const lengths = records.map(({ label }) => tokenizer.encode(` ${label}`, { addSpecialTokens: false }).length)
    const mean = each.reduce((sum, [score], i) => sum - score! / lengths[i]!, 0) / records.length
    expect(losses[p]).toBeCloseTo(mean, 3)
  }
  await draft.dispose()
  await target.dispose()
  await model.dispose()
})

test('the correlation of ranks', () => {
  expect(spearman([1, 2, 3], [10, 20, 15])).toBeCloseTo(0.5, 9)
  expect(spearman([1, 1, 1], [10, 20, 15])).toBeNull()
})
