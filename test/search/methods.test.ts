import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { resumeSearch, search } from '../../src/api/search.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { parseSearchConfig } from '../../src/search/config.js'
import { searchMethods } from '../../src/search/methods/index.js'
import type { SearchEvent, SearchResult, SearchStepEvent } from '../../src/search/run/events.js'
import { prepareSearch } from '../../src/search/run/job.js'
import { readSearchTask } from '../../src/search/run/task.js'
import { Budget } from '../../src/search/score/budget.js'
import { Objective } from '../../src/search/score/objective.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyModel } from '../train/toy.js'
import { longToyModel, toySearch, words } from './toy.js'

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

/** The toy model writes nonsense of any words: what a critic's search makes of sensible texts is tested with a writer of their own. */
const critic = { vocabulary: 'any', measure: 'cross-entropy', temperature: 1, maxWrittenTokens: 12 }
const writes = (type: string) => searchMethods.get(type)!.writes === true

/** Options under which each method works on a vocabulary of eight words. */
const settings: Readonly<Record<string, Record<string, unknown>>> = {
  gcg: { searchWidth: 24, topk: 8, steps: 12 },
  autoprompt: { candidates: 4, positions: 'permuted', steps: 24 },
  arca: { candidates: 4, averages: 3, steps: 18 },
  pez: { steps: 60, learningRate: 0.2 },
  gbda: { steps: 25, initialLogit: 3, candidates: 4, samples: 2 },
  fluent: { steps: 60, stepSize: 1, noise: { from: 2, to: 0.2 } },
  categorical: { choices: 'all', samples: 12, learningRate: 0.2, steps: 40 },
  rlprompt: { prompts: 16, topk: 8, hidden: 256, learningRate: 0.01, follow: 0.02, steps: 60 },
  promptquine: { prompt: words.join(''), minLength: 1, population: 16, offspring: 32, steps: 12 },
  'random-shortlist': { candidates: 4, steps: 40 },
  greater: { topk: 8, steps: 30, blocks: 1, measure: 'cross-entropy', fluency: 0 },
  ape: { ...critic, proposals: 6, keep: 2, steps: 6 },
  apo: { ...critic, beam: 2, steps: 6 },
  pe2: { ...critic, beam: 1, expand: 3, steps: 6 },
  textgrad: { ...critic, examples: 2, steps: 8 },
}

/**
 * Methods that may end beside the best, and how far: some score no neighbour of a prompt, and GReaTer never puts a token behind itself.
 */
const approximate: Readonly<Record<string, number>> = { pez: 5, fluent: 5, greater: 10 }

/** Losses of every prompt that a method can come to, best first: of three words each, or what is left of the words when some are dropped. */
const lossesOf = new Map<string, number[]>()
beforeAll(async () => {
  const { folder, remove } = temporaryFolder()
  const model = await LanguageModel.load(toyModel, { threads: 1 })
  for (const type of types.filter(type => !writes(type))) {
    const config = parseSearchConfig(toySearch(folder, { search: { ...settings[type], type } }))
    const job = await prepareSearch(config, await readSearchTask(config), model)
    const { measure } = config.search
    const labels = job.task.labels
    const objective = new Objective(model, job.programs, new Budget({}, () => 0), { free: [], fluency: 0, measure, labels })
    const ids = Array.from(job.allowed)
    const prompts =
      type === 'promptquine'
        ? Array.from({ length: 255 }, (_, mask) => job.space.start.filter((_, i) => ((mask + 1) >> i) & 1))
        : ids.flatMap(a => ids.flatMap(b => ids.map(c => [a, b, c])))
    const key = `${type === 'promptquine'} ${measure}`
    const known = lossesOf.get(key) ?? (await objective.score(prompts, job.rows)).map(({ loss }) => loss).sort((a, b) => a - b)
    lossesOf.set(key, known)
    lossesOf.set(type, known)
    await job.programs.dispose()
  }
  await model.dispose()
  remove()
})

/** What has to be the same, whenever and however often a search is stopped. */
const timeless = ({ seconds: _, folder: __, peakMemory: ___, ...result }: SearchResult) => result
const steps = (events: readonly SearchEvent[]) => events.filter((event): event is SearchStepEvent => event.event === 'step')
const configOf = (options: Record<string, unknown> & { type: string }, out: string, within = folder) =>
  toySearch(within, {
    out: join(within, out),
    ...(writes(options.type) && { model: longToyModel(within) }),
    search: { ...settings[options.type], ...options },
  })
const run = async (options: Record<string, unknown> & { type: string }, out = 'run', within = folder) => {
  const events: SearchEvent[] = []
  const config = configOf(options, out, within)
  const { result } = await search(config, { onEvent: event => events.push(event) })
  return { result, events }
}

/** Searches by whole texts over a pool, of which `written/` say what they keep to. */
const pooled = [...searchMethods.keys()].filter(type => searchMethods.get(type).drawsRows)
const types = [...searchMethods.keys()].filter(type => !pooled.includes(type))

test('every method has settings here', () => {
  expect([...Object.keys(settings), ...pooled].sort()).toEqual([...searchMethods.keys()].sort())
})

describe.each(types)('%s', type => {
  /** A run to its end, which several tests look at. */
  let whole: Awaited<ReturnType<typeof run>>
  beforeAll(async () => {
    const { folder: own, remove: removeOwn } = temporaryFolder()
    whole = await run({ type }, 'run', own)
    removeOwn()
  })

  test(writes(type) ? 'ends with the best prompt that was written' : 'finds the best of all prompts', () => {
    const { result, events } = whole
    const best = steps(events).at(-1)!.best
    if (writes(type)) {
      const scored = steps(events).flatMap(({ shortlist }) => shortlist.filter(({ questions }) => questions === undefined))
      expect(scored.length).toBeGreaterThan(4)
      expect(best.objective).toBeCloseTo(Math.min(result.initial.objective, ...scored.map(({ exactScore }) => exactScore)), 6)
    } else {
      const rank = lossesOf.get(type)!.findIndex(loss => loss >= best.objective - 1e-6)
      expect(rank).toBeLessThanOrEqual(approximate[type] ?? 0)
    }
    expect(result.steps).toBeGreaterThan(0)
    // The prompt may be another one, that dev prefers; it is one of those that were ranked, the first among them.
    expect(result.ranking.map(({ prompt }) => prompt)).toContain(result.initial.prompt)
    expect(result.ranking[0]!.prompt).toBe(result.prompt)
  })

  test('stopped and resumed, it comes to the same bits as in one go', async () => {
    const uninterrupted = await run({ type, steps: 6 }, 'whole')
    const config = configOf({ type, steps: 6 }, 'run')
    const controller = new AbortController()
    const stopped = search(config, {
      signal: controller.signal,
      onEvent: event => {
        if (event.event === 'step' && event.step === 3) controller.abort()
      },
    })
    expect((await problemOf(stopped)).code).toBe('aborted')
    expect(existsSync(join(folder, 'run', 'prompt.json'))).toBe(true)
    const { result } = await resumeSearch(join(folder, 'run'))
    expect(timeless(result)).toEqual(timeless(uninterrupted.result))
    const logged = (name: string) =>
      readFileSync(join(folder, name, 'events.jsonl'), 'utf8')
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line) as SearchEvent)
    const course = (name: string) => steps(logged(name)).map(({ seconds: _, ...step }) => step)
    expect(course('run')).toEqual(course('whole'))
  })

  test('keeps to its budget to one batch, and never returns what is worse on dev than the start', async () => {
    const { events, result } = whole
    const each = steps(events)
    const cost = each[1]!.computedTokens - each[0]!.computedTokens
    const limit = each[0]!.computedTokens + 2 * cost
    const { result: limited } = await run({ type, budget: { computedTokens: limit } }, 'limited')
    expect(limited.steps).toBeLessThanOrEqual(5)
    // A batch of the toy model holds at most a step.
    expect(limited.computedTokens).toBeLessThan(limit + 2 * cost)
    for (const { initial, metrics } of [result, limited])
      expect(metrics.accuracy!.value).toBeGreaterThanOrEqual(initial.metrics.accuracy!.value)
  })

  test('the final string reads back as its ids, and only words of the vocabulary were put in', async () => {
    const { result } = whole
    const model = await LanguageModel.load(toyModel, { threads: 1 })
    expect(model.tokenizer.encode(`wine 3${result.prompt} -`)).toEqual([
      ...model.tokenizer.encode('wine 3'),
      ...result.ids,
      ...model.tokenizer.encode(' -'),
    ])
    if (!writes(type)) for (const id of result.ids) expect(words).toContain(model.tokenizer.token(id))
    await model.dispose()
  })

  test('a budget below one step is refused', async () => {
    const error = await problemOf(run({ type, budget: { computedTokens: 1 } }))
    expect(error.code).toBe('budget-too-small')
  })
})
