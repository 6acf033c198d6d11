import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { resumeSearch, search } from '../../../src/api/search.js'
import { LanguageModel } from '../../../src/model/language-model.js'
import { searchMethods } from '../../../src/search/methods/index.js'
import type { SearchEvent, SearchResult } from '../../../src/search/run/events.js'
import { ownCache } from '../../support/cache.js'
import { problemOf } from '../../support/problem.js'
import { temporaryFolder } from '../../train/toy.js'
import { longToyModel, toySearch } from '../toy.js'

/** Searches by whole texts with a model: stopped and gone on with, and with a critic behind an endpoint. */

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

const configOf = (search: Record<string, unknown>, out = 'run') => {
  const { threads: _, ...config } = toySearch(folder, {
    data: {
      train: join(folder, 'toy.tsv'),
      split: { dev: 2 },
      splitSeed: null,
      columns: ['text', 'label'],
      labels: { 0: 'the', 1: 'of' },
    },
    out: join(folder, out),
    search: { vocabulary: 'any', questions: 6, steps: 2, rerank: 1, ...search },
  })
  return { ...config, model }
}
const timeless = ({ seconds: _, folder: __, peakMemory: ___, ...result }: SearchResult) => result
const poolIn = (name: string) => JSON.parse(readFileSync(join(folder, name, 'candidates.json'), 'utf8')) as { losses: object }[]

/** Small enough for a test, each with its own way of drawing. */
const small: Readonly<Record<string, Record<string, unknown>>> = {
  gepa: { minibatch: 2 },
  miprov2: { candidates: 3, minibatch: 2, fullEvery: 1, labelled: 1, bootstrapped: 1 },
  capo: { population: 2, children: 2, block: 2, demos: 1 },
  opro: { proposals: 2 },
  evoprompt: { population: 4 },
  promptagent: { width: 1, depth: 2, minDepth: 1, batch: 2 },
  promst: { children: 2, selected: 1, kinds: 1 },
  spo: { samples: 2 },
  'bootstrap-demos': { sets: 2, labelled: 1, bootstrapped: 1 },
  snippets: { openers: ['', 'a'], closers: ['', 'of', 's'], cells: 3 },
  'best-of-n': { proposals: 2 },
}

test('every search over a pool has settings here', () => {
  const pooled = [...searchMethods.keys()].filter(type => searchMethods.get(type).drawsRows && !searchMethods.get(type).isPrivate)
  // The noise of a private one is another in each run: `dp-opt.test.ts` says what it keeps to. What makes its own questions needs
  // somebody else for their labels: `ipc-runs.test.ts`.
  expect([...Object.keys(small), 'ipc'].sort()).toEqual(pooled.sort())
})

test.each(Object.keys(small))('%s, stopped and gone on with, comes to the same bits', async type => {
  const writing = searchMethods.get(type).writes ? { maxWrittenTokens: 8, temperature: 1 } : {}
  const options = { type, ...writing, ...small[type] }
  const whole = await search(configOf(options, 'whole'))
  const controller = new AbortController()
  const stopped = search(configOf(options), {
    signal: controller.signal,
    onEvent: event => {
      if (event.event === 'step' && event.step === 1) controller.abort()
    },
  })
  expect((await problemOf(stopped)).code).toBe('aborted')
  const { result } = await resumeSearch(join(folder, 'run'), { model })
  expect(timeless(result)).toEqual(timeless(whole.result))
  expect(poolIn('run')).toEqual(poolIn('whole'))
  expect(Object.keys(poolIn('run')[0]!.losses).length).toBeGreaterThan(0)
})

describe('a critic behind an endpoint', () => {
  let server: Server
  let seen: string[]
  let answer: (body: { messages: { content: string }[] }, index: number, response: ServerResponse) => void
  beforeEach(async () => {
    seen = []
    server = createServer((request: IncomingMessage, response) => {
      let text = ''
      request.on('data', (part: Buffer) => (text += part.toString()))
      request.on('end', () => {
        seen.push(createHash('sha256').update(text).digest('hex'))
        expect(request.headers.authorization).toBe('Bearer secret-of-the-test')
        answer(JSON.parse(text) as never, seen.length - 1, response)
      })
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    process.env.GRADPROMPT_TEST_KEY = 'secret-of-the-test'
  })
  afterEach(async () => {
    delete process.env.GRADPROMPT_TEST_KEY
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  })
  const reply = (response: ServerResponse, content: string, model = 'critic-1') =>
    response.end(
      JSON.stringify({
        model,
        choices: [{ message: { content }, finish_reason: 'stop' }],
        usage: { prompt_tokens: 20, completion_tokens: 5 },
      }),
    )
  const words = ['a', 'the', 'of', 'and', 's', 'w', 'o', 't']
  const sensible: typeof answer = (_, i, response) =>
    reply(response, `Sure.\n<prompt>${words[i % 8]} ${words[(i + 3) % 8]}</prompt>`)
  const endpoint = (more: Record<string, unknown> = {}) => ({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    ...{ model: 'critic', key: 'GRADPROMPT_TEST_KEY', price: { input: 1, output: 2 }, ...more },
  })
  const files = (name: string) =>
    ['events.jsonl', 'calls.jsonl', 'written.jsonl', 'run.json', 'result.json']
      .map(file => readFileSync(join(folder, name, file), 'utf8'))
      .join()

  test('is asked nothing twice when a search goes on, is accounted for, and its key stands nowhere', async () => {
    answer = sensible
    const options = { type: 'opro', proposals: 3, steps: 2, optimizer: endpoint({ parallel: 1 }) }
    const controller = new AbortController()
    // Killed in the middle of a step: the fifth reply never comes.
    answer = (body, i, response) => (i === 4 ? controller.abort() : sensible(body, i, response))
    expect((await problemOf(search(configOf(options), { signal: controller.signal }))).code).toBe('aborted')
    const asked = seen.slice(0, 4)
    answer = (body, i, response) => sensible(body, i - 1, response)
    const { result } = await resumeSearch(join(folder, 'run'), { model })
    expect(seen.slice(5).some(hash => asked.includes(hash))).toBe(false)
    expect(new Set(seen).size).toBe(6)
    expect(result.roles!.optimizer).toEqual({ calls: 6, promptTokens: 120, generatedTokens: 30, cost: (6 * (20 + 10)) / 1e6 })
    expect(files('run')).not.toContain('secret-of-the-test')
    // The recording plays without a network.
    const recording = {
      type: 'opro',
      proposals: 3,
      steps: 2,
      optimizer: endpoint({ replay: join(folder, 'run', 'calls.jsonl') }),
    }
    const played = await search(configOf(recording, 'played'))
    expect(seen).toHaveLength(7)
    expect(timeless(played.result)).toEqual(timeless(result))
  })

  test('a cap of calls is never passed', async () => {
    answer = sensible
    const options = { type: 'best-of-n', proposals: 2, steps: 50, optimizer: endpoint({ parallel: 8 }), budget: { calls: 5 } }
    const { result } = await search(configOf(options))
    expect(seen.length).toBeLessThanOrEqual(5)
    expect(result.steps).toBe(2)
  })

  test('pages of HTML, refusals for being busy, other models and replies without a prompt', async () => {
    const events: SearchEvent[] = []
    answer = (body, i, response) => {
      if (i === 0) response.writeHead(429, { 'retry-after': '0' }).end('busy')
      else if (i === 1) response.end('<html>hello</html>')
      else if (i === 2) reply(response, '')
      else if (i === 3) reply(response, '12.5', 'critic-2')
      else sensible(body, i, response)
    }
    const patient = endpoint({ parallel: 1, tries: 2 })
    const options = { type: 'best-of-n', proposals: 3, steps: 1, optimizer: patient }
    expect((await problemOf(search(configOf(options)))).code).toBe('endpoint-bad-reply')
    const { result } = await search(configOf({ ...options }, 'again'), { onEvent: event => events.push(event) })
    expect(result.steps).toBe(1)
    expect(events).toContainEqual(expect.objectContaining({ event: 'step', figures: expect.objectContaining({ unread: 1 }) }))
    expect(events).toContainEqual(expect.objectContaining({ event: 'warning', code: 'endpoint-model-changed' }))
  })

  test('a key that is missing, or refused and repeated by the endpoint, is named and not shown', async () => {
    answer = (_, __, response) => response.writeHead(401).end('{"error":"bad key secret-of-the-test"}')
    const options = { type: 'best-of-n', optimizer: endpoint() }
    const refused = await problemOf(search(configOf(options)))
    expect(refused.code).toBe('endpoint-refused')
    expect(refused.found).not.toContain('secret-of-the-test')
    const given = { type: 'best-of-n', optimizer: { ...endpoint(), key: 'secret-of-the-test' } }
    const invalid = await problemOf(search(configOf(given, 'given')))
    expect(invalid.expected).toContain('environment variable')
    expect(invalid.format()).not.toContain('secret-of-the-test')
    const inside = { type: 'best-of-n', optimizer: { ...endpoint(), url: 'http://secret-of-the-test@host/v1' } }
    expect((await problemOf(search(configOf(inside, 'inside')))).format()).not.toContain('secret-of-the-test')
    delete process.env.GRADPROMPT_TEST_KEY
    expect((await problemOf(search(configOf(options, 'other')))).code).toBe('endpoint-key-missing')
    expect(existsSync(join(folder, 'other'))).toBe(false)
  })
})
