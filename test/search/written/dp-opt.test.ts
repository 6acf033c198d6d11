import { cpSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { exportPrompt } from '../../../src/api/export.js'
import { resumeSearch, search } from '../../../src/api/search.js'
import { describeSearch } from '../../../src/cli/show/searching.js'
import { LanguageModel } from '../../../src/model/language-model.js'
import { dpOpt, dpOptSchema } from '../../../src/search/methods/written/dp-opt.js'
import type { SearchContext } from '../../../src/search/moves/method.js'
import type { Ask, TokenWriter } from '../../../src/search/moves/writer.js'
import { memberSeeds } from '../../../src/search/private/ensemble.js'
import type { SearchResult } from '../../../src/search/run/events.js'
import { ownCache } from '../../support/cache.js'
import { problemOf } from '../../support/problem.js'
import { temporaryFolder } from '../../train/toy.js'
import { writtenWorld } from '../support/written-world.js'
import { longToyModel, toySearch, toySearchRows } from '../toy.js'

const secret = Uint8Array.from({ length: 32 }, (_, i) => 7 * i)

/** Votes of a script: a token is a character. */
function votingWorld(script: (ask: Ask, begun: string, member: number) => string) {
  const rows = 400
  const world = writtenWorld({
    start: 'level 0',
    rows,
    right: (text, q) => q < 40 * Number(/\d+/.exec(text)?.[0] ?? 0),
    steps: 2,
  })
  const asked: { members: number; begun: string; seeds: readonly number[] }[] = []
  const seen: string[] = []
  const textOf = (ids: readonly number[]) => String.fromCodePoint(...ids)
  const tokens: TokenWriter = {
    vocabulary: 1000,
    isEnd: id => id === 0,
    read: textOf,
    next(asks, begun, seeds) {
      asked.push({ members: asks.length, begun: textOf(begun), seeds })
      seen.push(...asks.map(({ ask }) => ask))
      return Promise.resolve(asks.map((ask, i) => script(ask, textOf(begun), i).codePointAt(0)!))
    },
  }
  const contextAt = (step: number, heldOut: readonly object[] = []) =>
    ({ ...world.contextAt(step), writer: { tokens }, secret, heldOut }) as unknown as SearchContext
  return { contextAt, asked, seen, textOf }
}

describe('a prompt by votes', () => {
  const options = dpOptSchema.parse({ type: 'dp-opt', epsilon: 40, members: 60, demonstrations: 1, maxWrittenTokens: 20 })
  const goesOn = (text: string) => (_: unknown, begun: string) => text[begun.length] ?? '\0'

  test('is what members agree on, ends with its quotation, and keeps what it has spent', async () => {
    const { contextAt, asked, seen, textOf } = votingWorld(goesOn('level 9" and more'))
    const { state, figures, done } = await dpOpt.step(await dpOpt.start(options, contextAt(0)), options, contextAt(0))
    expect(state.pool.map(({ components }) => components)).toEqual([['level 0'], ['level 9']])
    // What members sample by comes of the key: no seed that is known, and none twice.
    expect(asked.map(({ seeds }) => seeds)).toEqual(asked.map(({ members }, vote) => memberSeeds(members, secret, vote)))
    expect(new Set(asked.flatMap(({ seeds }) => seeds)).size).toBe(asked.flatMap(({ seeds }) => seeds).length)
    expect(new Set(asked.map(({ members }) => members)).size).toBeGreaterThan(2)
    expect(figures).toMatchObject({ votes: 8, failures: 0, tokens: 8 })
    expect(done).toBe(false)
    expect(seen[0]).toMatch(/question \d+[\s\S]*answer/)
    const { ids, privacy } = await dpOpt.choose!(state, options, contextAt(1))
    expect(textOf(ids)).toBe('level 9')
    expect(privacy).toMatchObject({
      queries: 8,
      failures: 0,
      mostQueries: 50,
      rate: 0.15,
      members: 60,
      demonstrations: 1,
      choiceEpsilon: 10,
    })
    expect(privacy!.epsilon).toBeLessThanOrEqual(40)
    expect(privacy!.delta).toBeCloseTo(1 / 400, 12)
  })

  test('where members disagree it fails, is tried once more and ends there; failures are paid for', async () => {
    const alone = votingWorld((_, begun, member) =>
      begun.length < 3 ? 'yes'[begun.length]! : String.fromCodePoint(100 + member),
    )
    const { state, figures } = await dpOpt.step(await dpOpt.start(options, alone.contextAt(0)), options, alone.contextAt(0))
    expect(figures).toMatchObject({ votes: 5, failures: 2, tokens: 3 })
    expect(state.pool.at(-1)!.components).toEqual(['yes'])
    expect(state).toMatchObject({ votes: 5, failures: 2 })
    // The control takes what there is most of.
    const control = { ...options, noise: false, maxWrittenTokens: 6 }
    const plain = await dpOpt.step(await dpOpt.start(control, alone.contextAt(0)), control, alone.contextAt(0))
    expect(plain.figures).toMatchObject({ failures: 0, tokens: 6 })
    expect((await dpOpt.choose!(plain.state, control, alone.contextAt(1))).privacy).toBeUndefined()
  })

  test('stops before more votes than epsilon pays for', async () => {
    const tight = { ...options, epsilon: 3, tokenEpsilon: 1.8 }
    const { contextAt } = votingWorld(goesOn('a very long text without an end'))
    const { state, done, figures } = await dpOpt.step(await dpOpt.start(tight, contextAt(0)), tight, contextAt(0))
    const { privacy } = await dpOpt.choose!(state, tight, contextAt(1))
    expect(done).toBe(true)
    expect(figures!.left).toBe(0)
    expect(state.votes).toBe(privacy!.mostQueries)
    expect(state.votes).toBeLessThan(20)
    expect(privacy!.epsilon).toBeLessThanOrEqual(3)
  })

  test('dev rows choose where there are some, with an epsilon of their own', async () => {
    const { contextAt } = votingWorld(goesOn('level 1"'))
    const heldOut = Array.from({ length: 41 }, (_, index) => ({ index }))
    const { state } = await dpOpt.step(await dpOpt.start(options, contextAt(0, heldOut)), options, contextAt(0, heldOut))
    const { privacy } = await dpOpt.choose!(state, options, contextAt(1, heldOut))
    expect(privacy!.choiceEpsilon).toBe(40)
    expect(privacy!.epsilon).toBe(40)
    expect(privacy!.votesEpsilon).toBeLessThan(30)
  })
})

describe('a run', () => {
  ownCache()
  let folder: string
  let remove: () => void
  let model: LanguageModel
  let modelFolder: ReturnType<typeof temporaryFolder>
  beforeAll(async () => {
    modelFolder = temporaryFolder()
    model = await LanguageModel.load(longToyModel(modelFolder.folder), { threads: 1 })
  })
  afterAll(async () => {
    await model.dispose()
    modelFolder.remove()
  })
  beforeEach(() => ({ folder, remove } = temporaryFolder()))
  afterEach(() => remove())

  const configOf = (
    options: Record<string, unknown> = {},
    more: Record<string, unknown> = {},
    data: Record<string, unknown> = {},
  ) => {
    const { threads: _, ...config } = toySearch(folder)
    writeFileSync(join(folder, 'rows.tsv'), `${toySearchRows(40).join('\n')}\n`)
    writeFileSync(join(folder, 'dev.tsv'), `${toySearchRows(46).slice(40).join('\n')}\n`)
    const rows = { train: join(folder, 'rows.tsv'), dev: join(folder, 'dev.tsv') }
    return {
      ...config,
      data: { ...rows, columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' }, ...data },
      out: join(folder, 'run'),
      search: {
        ...{ type: 'dp-opt', prompt: ' t t t', steps: 3, maxWrittenTokens: 3, retries: 1, members: 20, demonstrations: 1 },
        ...{ epsilon: 60, delta: 0.01, temperature: 0.001, ...options },
      },
      ...more,
      model,
    } as never
  }
  const timeless = ({ seconds: _, folder: __, peakMemory: ___, ...result }: SearchResult) => result

  test('goes on after a stop to the same text, keeps its guarantee with the prompt and in exports, and forgets its key', async () => {
    const controller = new AbortController()
    const stopped = search(configOf(), {
      signal: controller.signal,
      onEvent: event => {
        if (event.event === 'step' && event.step === 1) setTimeout(() => controller.abort())
      },
    })
    expect((await problemOf(stopped)).code).toBe('aborted')
    const [run, again] = [join(folder, 'run'), join(folder, 'again')]
    expect(statSync(join(run, 'privacy.key')).mode & 0o77).toBe(0)
    cpSync(run, again, { recursive: true })
    const { result } = await resumeSearch(run, { model })
    const other = await resumeSearch(again, { model })
    expect(timeless(other.result)).toEqual(timeless(result))
    expect(existsSync(join(run, 'privacy.key'))).toBe(false)
    expect(result.privacy).toMatchObject({ members: 20, rate: 0.5, delta: expect.closeTo(0.01, 9), mostQueries: 12 })
    expect(result.privacy!.queries).toBeGreaterThan(2)
    const prompt = JSON.parse(readFileSync(join(run, 'prompt.json'), 'utf8')) as Record<string, unknown>
    expect(prompt.privacy).toEqual(result.privacy)
    expect(Object.keys(prompt).sort()).toEqual(['ids', 'privacy', 'prompt', 'step'])
    // No row in what is exported, and none in what the writer was asked.
    const { files } = await exportPrompt(run, { to: 'text', out: join(folder, 'text') })
    const texts = files.map(name => readFileSync(join(folder, 'text', name), 'utf8'))
    expect(texts.join('\n')).not.toMatch(/wine|stone/)
    expect(JSON.parse(texts[files.indexOf('prompt.json')]!)).toMatchObject({ privacy: { queries: result.privacy!.queries } })
    const { epsilon } = result.privacy!
    expect(texts[files.indexOf('README.md')]).toContain(
      `a factor of e^${epsilon.toPrecision(3)} at most, but for a chance of 0.0100 `,
    )
    expect(readFileSync(join(run, 'written.jsonl'), 'utf8')).toBe('')
    expect(await problemOf(resumeSearch(run, { model, steps: 9 }))).toMatchObject({ code: 'breaks-privacy' })
    // The first prompt stands among what was tried.
    const [first] = JSON.parse(readFileSync(join(run, 'candidates.json'), 'utf8')) as { prompt: string }[]
    expect(first!.prompt).toBe(' t t t')
  })

  test('without noise it says that it is not private, with the prompt, at the end and in exports', async () => {
    const { result } = await search(configOf({ noise: false, steps: 1 }))
    expect(result.privacy).toBeNull()
    expect(JSON.parse(readFileSync(join(folder, 'run', 'prompt.json'), 'utf8'))).toHaveProperty('privacy', null)
    expect(describeSearch(result)).toContain('privacy of each row: none')
    const { files } = await exportPrompt(join(folder, 'run'), { to: 'text', out: join(folder, 'text') })
    const read = (name: string) => readFileSync(join(folder, 'text', name), 'utf8')
    expect(read('README.md')).toContain('these words are not private')
    expect(JSON.parse(read('prompt.json'))).toHaveProperty('privacy', null)
    expect(files.map(read).join('\n')).not.toMatch(/wine|stone/)
  })

  test('a key that is gone is an error, and no new noise', async () => {
    const controller = new AbortController()
    const stopped = search(configOf(), {
      signal: controller.signal,
      onEvent: event => {
        if (event.event === 'step' && event.step === 1) controller.abort()
      },
    })
    expect((await problemOf(stopped)).code).toBe('aborted')
    const { rmSync } = await import('node:fs')
    rmSync(join(folder, 'run', 'privacy.key'))
    expect((await problemOf(resumeSearch(join(folder, 'run'), { model }))).code).toBe('run-corrupt')
  })

  test('what breaks the proof is refused before a folder is made', async () => {
    const of = (options: Record<string, unknown>, more: Record<string, unknown> = {}, data: Record<string, unknown> = {}) =>
      problemOf(search(configOf(options, more, data)))
    const broken = { code: 'breaks-privacy' }
    for (const unread of [{ fluency: 0.1 }, { mellowmax: 1 }, { drift: 'allow' }, { rerank: 3 }])
      expect(await of(unread)).toMatchObject({
        code: 'invalid-config',
        message: expect.stringContaining(`search.${Object.keys(unread)[0]} has no effect`),
      })
    expect(await of({ batchSize: 4 })).toMatchObject({ ...broken, found: 'search.batchSize' })
    expect(await of({ questions: 32 })).toMatchObject({ ...broken, found: 'search.questions' })
    expect(await of({}, {}, { limit: { train: 30 } })).toMatchObject({ ...broken, found: 'data.limit' })
    expect(await of({}, { evaluate: { limit: 3 } })).toMatchObject({ ...broken, found: 'evaluate.limit' })
    expect(await of({}, {}, { dev: undefined, split: { dev: 6 } })).toMatchObject({ ...broken, found: 'data.split' })
    const optimizer = { url: 'http://127.0.0.1:9/v1', model: 'critic' }
    expect(await of({ optimizer })).toMatchObject({ ...broken, found: 'an endpoint in search.optimizer' })
    for (const name of ['computedTokens', 'generatedTokens', 'seconds'])
      expect(await of({ budget: { [name]: 1e9 } })).toMatchObject({ ...broken, found: `search.budget.${name}` })
    expect(await of({ extractor: ' so' })).toMatchObject({ ...broken, found: 'search.extractor' })
    expect(await of({ pseudoLabels: {} })).toMatchObject({ ...broken, found: 'search.pseudoLabels' })
    expect(await of({}, { answerType: 'classes' }, { labels: undefined })).toMatchObject(broken)
    expect(await of({}, {}, { dev: join(folder, 'rows.tsv') })).toMatchObject({ code: 'overlapping-rows' })
    expect(await of({ epsilon: 0.1 })).toMatchObject({
      code: 'privacy-unreachable',
      expected: expect.stringMatching(/about \d+ rows/),
    })
    expect(await of({ members: 50 })).toMatchObject({ code: 'privacy-unreachable', found: '40 rows, and 50 members with 1 each' })
    expect(existsSync(join(folder, 'run'))).toBe(false)
  })
})
