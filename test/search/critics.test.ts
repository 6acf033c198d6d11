import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { resumeSearch, search } from '../../src/api/search.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { parseSearchConfig, type SearchConfigInput } from '../../src/search/config.js'
import type { SearchContext } from '../../src/search/moves/method.js'
import { preselect } from '../../src/search/moves/selection.js'
import type { Ask } from '../../src/search/moves/writer.js'
import type { SearchEvent, SearchResult, SearchStepEvent } from '../../src/search/run/events.js'
import { prepareSearch } from '../../src/search/run/job.js'
import { readSearchTask } from '../../src/search/run/task.js'
import { Budget } from '../../src/search/score/budget.js'
import { Objective } from '../../src/search/score/objective.js'
import type { WrittenEntry } from '../../src/search/writing/engine-role.js'
import { EngineWriter } from '../../src/search/writing/engine-writer.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'
import { longToyModel, toySearch, words } from './toy.js'

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => {
  vi.restoreAllMocks()
  remove()
})

const config = (options: Record<string, unknown> & { type: string }, rest: Record<string, unknown> = {}) =>
  toySearch(folder, {
    model: longToyModel(folder),
    ...rest,
    search: { vocabulary: 'any', measure: 'cross-entropy', maxWrittenTokens: 12, steps: 4, ...options },
  })
const run = async (options: Record<string, unknown> & { type: string }, rest: Record<string, unknown> = {}) => {
  const events: SearchEvent[] = []
  const { result } = await search(config(options, rest), { onEvent: event => events.push(event) })
  return { result, steps: events.filter((event): event is SearchStepEvent => event.event === 'step') }
}

/** Two words in turn: what a sensible critic would propose. */
const proposals = words.flatMap(a => words.map(b => `${a}${b}`.trim()))

/** A critic that proposes one prompt after the other, and says why where it is asked why. */
function sensibleCritic(): Ask[] {
  const asked: Ask[] = []
  let next = 0
  vi.spyOn(EngineWriter.prototype, 'write').mockImplementation(asks => {
    asked.push(...asks)
    return Promise.resolve(
      asks.map(({ begin }) => (begin.endsWith('"') ? `${proposals[next++ % proposals.length]}"` : ' is unclear.')),
    )
  })
  return asked
}

/** Of prompts over all questions of a search. */
async function lossesOf(prompts: readonly string[], input: SearchConfigInput): Promise<number[]> {
  const parsed = parseSearchConfig(input)
  const model = await LanguageModel.load(parsed.model, { threads: 1 })
  const job = await prepareSearch(parsed, await readSearchTask(parsed), model)
  const { measure } = parsed.search
  const objective = new Objective(model, job.programs, new Budget({}, () => 0), { free: [], fluency: 0, measure })
  const ids = prompts.map(text => job.space.rewritten(text, job.rows[0]!))
  const scores = await objective.score(ids, job.rows)
  await job.programs.dispose()
  await model.dispose()
  return scores.map(({ loss }) => loss)
}

describe('with a critic that proposes sensible prompts', () => {
  test.each([
    ['ape', { proposals: 16, selection: 'all', keep: 2 }],
    ['apo', { criticisms: 3, edits: 4, selection: 'all', beam: 3, measure: 'probability', steps: 6 }],
    ['pe2', { beam: 2, expand: 16 }],
    ['textgrad', { steps: 64 }],
  ] as const)('%s comes to the best of them', async (type, options) => {
    const asked = sensibleCritic()
    const { result, steps } = await run({ type, ...options })
    const made = proposals.slice(0, asked.filter(({ begin }) => begin.endsWith('"')).length)
    expect(made.length).toBeGreaterThanOrEqual(30)
    const losses = await lossesOf(made, config({ type, ...options }))
    const { best } = steps.at(-1)!
    expect(best.objective).toBeLessThan(result.initial.objective)
    expect(best.objective).toBeCloseTo(Math.min(...losses), 5)
    expect(made[losses.indexOf(Math.min(...losses))]).toBe(best.prompt.trim())
  })

  test('criticisms are of mistakes and reach what is written after them', async () => {
    const asked = sensibleCritic()
    await run({ type: 'apo', steps: 1, criticisms: 1, edits: 1, paraphrases: 1 })
    const [criticise, edit, paraphrase] = asked
    expect(criticise!.ask).toContain('t t t')
    // The toy model answers every question alike, so that half of them are mistakes.
    const cases = criticise!.ask.split('\n\n').filter(text => text.startsWith('Input: '))
    expect(cases.length).toBe(3)
    for (const text of cases) {
      const [, input, said, right] = /^Input: (wine|stone) \d+\nThe model's answer: (\w+)\nRight answer: (\w+)$/.exec(text)!
      expect(right).toBe(input === 'wine' ? 'the' : 'of')
      expect(said).not.toBe(right)
    }
    expect(edit!.ask).toContain('The instruction is unclear.')
    expect(paraphrase!.ask).toContain('\nt t\n')
  })

  test('TextGrad takes a rewrite back that is worse, and hears of each question of its batch', async () => {
    const asked = sensibleCritic()
    const { steps } = await run({ type: 'textgrad', steps: 12, examples: 2 })
    const objectives = steps.map(({ objective }) => objective)
    expect(objectives).toEqual([...objectives].sort((a, b) => b - a))
    expect(steps.some(({ swap }) => swap !== null && !swap.accepted)).toBe(true)
    const rewrite = asked.find(({ begin }) => begin.endsWith('"'))!
    expect(rewrite.ask.match(/^- The instruction is unclear\.$/gm)).toHaveLength(2)
  })

  test('PE2 goes back to the best prompts of all steps, or on from the last', async () => {
    const options = { type: 'pe2', beam: 1, expand: 2, steps: 8 } as const
    const promptsOf = (asked: readonly Ask[]) =>
      asked.flatMap(({ ask, begin }) => (begin === '1.' ? [/Instruction now:\n(.*)\n/.exec(ask)![1]!] : []))
    const asked = sensibleCritic()
    const { steps } = await run(options)
    // Each step goes on from the best so far.
    expect(
      promptsOf(asked)
        .filter((_, i) => i % 2 === 0)
        .slice(1),
    ).toEqual(steps.slice(0, -1).map(({ best }) => best.prompt.trim()))
    vi.restoreAllMocks()
    const other = sensibleCritic()
    await run({ ...options, backtrack: false }, { out: join(folder, 'on') })
    expect(new Set(promptsOf(other)).size).toBeGreaterThan(new Set(promptsOf(asked)).size)
  })

  test('APE shows questions with their answers, others in each ask', async () => {
    const asked = sensibleCritic()
    await run({ type: 'ape', steps: 2, proposals: 4, demonstrations: 3 })
    const shown = asked.slice(0, 4).map(({ ask }) => ask.match(/^Input: (?:wine|stone) \d+\nOutput: (?:the|of)$/gm)!)
    expect(shown.map(({ length }) => length)).toEqual([3, 3, 3, 3])
    expect(new Set(shown.map(String)).size).toBe(4)
    expect(asked[4]!.begin).toBe('In other words: "')
  })
})

test('a bandit and halving ask fewer questions than all, and keep the best', async () => {
  const rows = Array.from({ length: 16 }, (_, index) => ({ index }))
  const candidates = Array.from({ length: 12 }, (_, i) => ({ ids: [i], swaps: [{ position: 0, from: 99, to: i }] }))
  for (const selection of ['halving', 'ucb'] as const) {
    let asked = 0
    const objective = {
      score: (prompts: number[][], own: { index: number }[]) => {
        asked += prompts.length * own.length
        return Promise.resolve(
          prompts.map(([id]) => {
            const rowLosses = own.map(({ index }) => id! / 12 + 0.02 * Math.sin(index))
            const loss = rowLosses.reduce((sum, x) => sum + x, 0) / own.length
            return { loss, rowLosses, exact: false, exactRows: 0.5 }
          }),
        )
      },
    }
    const context = { rows, objective, seed: 1, step: 0 } as unknown as SearchContext
    const { kept, eliminated } = await preselect(candidates, 3, { selection, blocks: 4, exploration: 0.2 }, context)
    expect(kept.map(({ ids }) => ids[0])).toEqual([0, 1, 2])
    expect(eliminated).toHaveLength(9)
    for (const { questions, rowLosses } of eliminated) expect(rowLosses).toHaveLength(questions)
    expect(asked).toBeLessThan(12 * 16 * 0.6)
    expect(asked).toBeGreaterThanOrEqual(12 * 4)
  }
})

const timeless = ({ seconds: _, folder: __, peakMemory: ___, ...result }: SearchResult) => result
const written = (name: string) =>
  readFileSync(join(folder, name, 'written.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as WrittenEntry)

describe.each(['ape', 'apo', 'pe2', 'textgrad'])('%s over reasoning', type => {
  const options = {
    type,
    extractor: ' =',
    maxNewTokens: 5,
    questions: 4,
    steps: 3,
    weights: 'fp32',
    measure: 'probability',
  } as const

  test('is judged by it, counts what is written, and resumes to the same bits and texts', async () => {
    const small = { proposals: 3, criticisms: 1, edits: 1, expand: 2, examples: 2 }
    const own = Object.fromEntries(Object.entries(small).filter(([name]) => name in parseSearchConfig(config({ type })).search))
    const { result, steps } = await run({ ...options, ...own }, { out: join(folder, 'whole') })
    expect(steps[0]!.generatedTokens).toBeGreaterThan(4 * 5)
    const controller = new AbortController()
    const stopped = search(config({ ...options, ...own }), {
      signal: controller.signal,
      onEvent: event => {
        if (event.event === 'step' && event.step === 2) controller.abort()
      },
    })
    expect((await problemOf(stopped)).code).toBe('aborted')
    const resumed = await resumeSearch(join(folder, 'run'))
    expect(timeless(resumed.result)).toEqual(timeless(result))
    expect(written('run')).toEqual(written('whole'))
    expect(new Set(written('run').map(({ step }) => step))).toEqual(new Set([1, 2, 3]))
  })
})

test('another model on this machine may be the critic', async () => {
  const optimizer = longToyModel(join(folder))
  const own = toySearch(folder, {
    search: { type: 'ape', vocabulary: 'any', steps: 2, proposals: 3, maxWrittenTokens: 8, optimizer },
  })
  const { result } = await search(own)
  expect(result.generatedTokens).toBeGreaterThan(0)
  const details = JSON.parse(readFileSync(join(folder, 'run', 'run.json'), 'utf8')) as object
  expect(JSON.stringify(details)).toContain('long-toy')
})

describe('refused', () => {
  test('several searched texts', async () => {
    const prompt = [' t', { frozen: ' and' }, ' t']
    const error = await problemOf(run({ type: 'ape', prompt }))
    expect(error.code).toBe('invalid-config')
    expect(error.expected).toContain('one text')
  })

  test('an ask that is longer than the context', async () => {
    const error = await problemOf(search(toySearch(folder, { search: { type: 'ape', vocabulary: 'any' } })))
    expect(error.code).toBe('context-exceeded')
    expect(error.hint).toContain('search.optimizer')
  })

  test('a width of weights for searches that write nothing', () => {
    expect(parseSearchConfig(config({ type: 'ape', weights: 'fp32' })).search.weights).toBe('fp32')
    expect(problem(() => parseSearchConfig(toySearch(folder, { search: { weights: 'fp32' } }))).code).toBe('invalid-config')
  })
})
