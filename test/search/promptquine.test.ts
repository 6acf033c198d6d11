import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { resumeSearch, search } from '../../src/api/search.js'
import { randomGenerator } from '../../src/random.js'
import { parseSearchConfig } from '../../src/search/config.js'
import type { SearchEvent, SearchStepEvent } from '../../src/search/run/events.js'
import { withExamples } from '../../src/search/run/shots.js'
import { readSearchTask } from '../../src/search/run/task.js'
import { champion, mutated, prunedTo, thinned } from '../../src/search/space/pruning.js'
import type { TokenSpace } from '../../src/search/space/token-space.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'
import { toySearch, words } from './toy.js'

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

const begun = (options: Record<string, unknown> = {}, rest: Record<string, unknown> = {}) =>
  toySearch(folder, {
    template: '{prompt}{text} -',
    ...rest,
    search: { type: 'promptquine', prompt: ' t', shots: 3, ...options },
  })
const run = async (options: Record<string, unknown>) => {
  const events: SearchEvent[] = []
  const { result, config } = await search(begun({ minLength: 6, steps: 4, ...options }), { onEvent: event => events.push(event) })
  return { result, config, steps: events.filter((event): event is SearchStepEvent => event.event === 'step') }
}

describe('examples in the first prompt', () => {
  test('are training rows of every class that are no questions, as the template shows them', async () => {
    const config = parseSearchConfig(begun({ shots: 4, separator: ' .\n' }))
    const task = await readSearchTask(config)
    const { prompt } = withExamples(config, task).search
    expect(prompt).toBe(task.shots.map(({ text, label }) => `${text} - ${label === '0' ? 'the' : 'of'} .\n`).join(''))
    expect(task.shots.map(({ label }) => label).sort()).toEqual(['0', '0', '1', '1'])
    const questions = new Set(task.questions.map(({ text }) => text))
    expect(task.shots.filter(({ text }) => questions.has(text!))).toEqual([])
    expect(
      withExamples(parseSearchConfig(toySearch(folder)), await readSearchTask(parseSearchConfig(toySearch(folder)))),
    ).toEqual(parseSearchConfig(toySearch(folder)))
  })

  test('have to stand before the row, and to leave rows to score on', async () => {
    const config = parseSearchConfig(begun({}, { template: '{text}{prompt} -' }))
    const task = await readSearchTask(config)
    expect(problem(() => withExamples(config, task)).code).toBe('no-example')
    const train = join(folder, 'few.tsv')
    writeFileSync(train, 'wine 1\t0\nstone 2\t1\n')
    const data = { train, columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } }
    expect((await problemOf(search(begun({ shots: 2 }, { data })))).code).toBe('too-many-shots')
  })
})

test.each(['generational', 'steady-state'])('%s: prompts become shorter, until their mean length is reached', async evolution => {
  const { result, config, steps } = await run({ evolution, population: 6, offspring: 10, drop: 6, steps: 40 })
  expect(config.search.prompt).toMatch(/^(?:wine|stone) \d+ - (?:the|of)\n/)
  const lengths = steps.map(({ figures }) => figures!.meanLength!)
  expect(lengths).toEqual([...lengths].sort((a, b) => b - a))
  expect(lengths.at(-1)).toBeLessThanOrEqual(6)
  expect(lengths.at(-2)).toBeGreaterThan(6)
  expect(result.objective).toBeLessThanOrEqual(result.initial.objective)
  // What is kept stands in its order in the first prompt.
  for (const { ids, swap } of steps) {
    let from = -1
    for (const id of ids) {
      from = result.initial.ids.indexOf(id, from + 1)
      expect(from).toBeGreaterThanOrEqual(0)
    }
    expect(swap?.to).toBe('')
  }
})

test('questions in batches: the population is scored anew on each; the prompt of a resumed search is the same', async () => {
  const { config, result } = await run({ batchSize: 3, questions: 6, begin: 'copies', fluency: 0.1, population: 4, offspring: 5 })
  expect(result.metrics.accuracy!.value).toBeGreaterThanOrEqual(result.initial.metrics.accuracy!.value)
  const further = await resumeSearch(result.folder, { steps: 6 })
  expect(further.config.search.prompt).toBe(config.search.prompt)
  expect(further.result.steps).toBe(6)
})

test('frozen pieces stay', async () => {
  const prompt = [words.slice(0, 3).join(''), { frozen: ' and' }, words.slice(3, 6).join('')]
  const options = { type: 'promptquine', prompt, minLength: 2, population: 6, offspring: 10, steps: 6 }
  const { result } = await search(toySearch(folder, { search: options }))
  for (const { prompt } of result.ranking) expect(prompt).toContain(' and')
  expect(result.ranking.length).toBeGreaterThan(4)
})

describe('a mutation', () => {
  const space = { start: [5, 6, 7, 8, 9, 10], free: [0, 1, 3, 4, 5] } as unknown as TokenSpace

  test('drops one to so many searched tokens, and leaves one', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(5)), fc.integer({ min: 1, max: 6 }), fc.integer(), (places, most, seed) => {
        const kept = [...new Set([...places, 2])].sort((a, b) => a - b)
        const child = mutated(kept, most, space, randomGenerator(seed))
        if (child === undefined) {
          expect(kept.length - 1).toBeLessThanOrEqual(most)
          return
        }
        expect(kept.length - child.length).toBeGreaterThanOrEqual(1)
        expect(kept.length - child.length).toBeLessThanOrEqual(most)
        expect(child).toContain(2)
        expect(child.length).toBeGreaterThan(1)
        expect(kept.filter(place => child.includes(place))).toEqual(child)
      }),
    )
  })

  test('of the first population takes 5 to 20 % of the tokens', () => {
    const long = { start: Array.from({ length: 100 }, (_, i) => i), free: Array.from({ length: 100 }, (_, i) => i) }
    const lengths = Array.from({ length: 200 }, (_, seed) => thinned(long as unknown as TokenSpace, randomGenerator(seed)).length)
    expect(lengths.reduce((sum, length) => sum + length, 0) / 200).toBeCloseTo(87.5, -0.5)
    expect(Math.min(...lengths)).toBeLessThan(83)
    expect(Math.max(...lengths)).toBeGreaterThan(92)
  })

  test('is reported as tokens that are dropped', () => {
    expect(prunedTo(space, [0, 2, 5])).toEqual({
      ids: [5, 7, 10],
      swaps: [
        { position: 1, from: 6, to: null },
        { position: 3, from: 8, to: null },
        { position: 4, from: 9, to: null },
      ],
    })
  })

  test('has the best of a random part for its parent', () => {
    const population = [3, 1, 2].map(loss => ({ kept: [loss], loss }))
    const random = randomGenerator(1)
    const chosen = Array.from({ length: 300 }, () => champion(population, 0.7, random).loss)
    // Two of three with replacement: the worst alone in a ninth of all draws, the best in five ninths.
    expect(chosen.filter(loss => loss === 3).length / 300).toBeCloseTo(1 / 9, 1)
    expect(chosen.filter(loss => loss === 1).length / 300).toBeCloseTo(5 / 9, 1)
  })
})
