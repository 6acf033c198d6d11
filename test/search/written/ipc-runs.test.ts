import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { resumeSearch, type SearchInput, search } from '../../../src/api/search.js'
import { describeLoaded } from '../../../src/cli/show/searching.js'
import { LanguageModel } from '../../../src/model/language-model.js'
import { parseSearchConfig } from '../../../src/search/config.js'
import type { SearchEvent, SearchResult } from '../../../src/search/run/events.js'
import { GrowingQuestions } from '../../../src/search/run/growing-questions.js'
import type { SearchRow, TokenSpace } from '../../../src/search/space/token-space.js'
import { ownCache } from '../../support/cache.js'
import { problemOf } from '../../support/problem.js'
import { temporaryFolder, toyModel } from '../../train/toy.js'
import { longToyModel } from '../toy.js'

/** A search that makes its questions, with a model: nothing to begin with, labels by a person or an endpoint, stopped and gone on with. */

ownCache()
let folder: string
let remove: () => void
let model: LanguageModel
let modelFolder: ReturnType<typeof temporaryFolder>
let server: Server
let asked: string[]
let fails: (content: string) => boolean
/** The judge names no class. */
let silent: boolean
beforeAll(async () => {
  modelFolder = temporaryFolder()
  model = await LanguageModel.load(longToyModel(modelFolder.folder), { threads: 1 })
})
afterAll(async () => {
  await model.dispose()
  modelFolder.remove()
})
beforeEach(async () => {
  ;({ folder, remove } = temporaryFolder())
  asked = []
  fails = () => false
  silent = false
  server = createServer((request: IncomingMessage, response) => {
    let text = ''
    request.on('data', (part: Buffer) => (text += part.toString()))
    request.on('end', () => {
      const { messages } = JSON.parse(text) as { messages: { content: string }[] }
      const { content } = messages[0]!
      if (fails(content)) return response.writeHead(400).end('no')
      asked.push(content)
      const reply = replyTo(content, asked.length - 1)
      const usage = { prompt_tokens: 20, completion_tokens: 5 }
      response.end(
        JSON.stringify({ model: 'critic-1', choices: [{ message: { content: reply }, finish_reason: 'stop' }], usage }),
      )
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise(resolve => server.close(resolve))
  remove()
})

const words = ['a', 'the', 'of', 'and', 's', 'w', 'o', 't']
function replyTo(content: string, i: number): string {
  if (content.includes('<text>'))
    return `<text>${content.includes('of the class the') ? 'wine' : 'stone'} ${i} ${7 * i} ${3 * i + 1}</text>`
  if (content.includes('Which class is the text of') && silent) return 'I cannot say.'
  if (content.includes('Which class is the text of')) return content.includes('wine') ? 'It is "the".' : 'of'
  if (content.includes('<prompt>')) return `<prompt>${words[i % 8]} ${words[(i + 3) % 8]} ${words[(i * 5) % 8]}</prompt>`
  return 'It lacks rules.'
}
const endpoint = () => ({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, model: 'critic', parallel: 1 })
const configOf = (more: Record<string, unknown> = {}, out = 'run', options: Record<string, unknown> = {}) =>
  ({
    data: { labels: { 0: 'the', 1: 'of' } },
    template: '{text}{prompt} -',
    answer: ' {label}',
    answerEnd: 'none',
    out: join(folder, out),
    model,
    ...options,
    search: {
      ...{
        type: 'ipc',
        task: 'Wine or stone?',
        prompt: ' t t t',
        optimizer: endpoint(),
        steps: 4,
        cases: 2,
        maxCases: 6,
        warmUp: 2,
      },
      ...{ drift: 'allow', ...more },
    },
  }) as unknown as SearchInput
const timeless = ({ seconds: _, folder: __, peakMemory: ___, ...result }: SearchResult) => result
const casesIn = (name: string) => readFileSync(join(folder, name, 'cases.csv'), 'utf8')
const answer = (name: string, labelOf: (line: string) => string) =>
  writeFileSync(
    join(folder, name, 'cases.csv'),
    casesIn(name)
      .split('\n')
      .map(line => line.replace(/^([^,]*),,/u, (_, text: string) => `${text},${labelOf(text)},`))
      .join('\n'),
  )

test('labels of a judge: from a task in words to a prompt, and labelled rows that another run can take', async () => {
  const events: SearchEvent[] = []
  const { result } = await search(configOf({ judge: endpoint() }), { onEvent: event => events.push(event) })
  const lines = casesIn('run').trimEnd().split('\n')
  expect(lines[0]).toBe('text,label,batch,asked')
  expect(lines.slice(1)).toHaveLength(6)
  for (const line of lines.slice(1)) expect(line).toMatch(/^(wine [\d ]+,0,\d,the|stone [\d ]+,1,\d,of)$/)
  expect(result.roles).toMatchObject({ judge: { calls: 6 } })
  // There are no rows yet.
  const loaded = events.find(event => event.event === 'loaded')!
  expect(describeLoaded(loaded)).toContain('rows: none to search on yet, made as it goes\n')
  const steps = events.filter(event => event.event === 'step')
  expect(steps.map(({ figures }) => figures!.cases)).toEqual([2, 4, 6, 6])
  // The last questions count for every prompt of the ranking.
  for (const { objective } of result.ranking) expect((objective * 6) % 1).toBeCloseTo(0, 9)
  const taken = await search({
    ...configOf({ type: 'opro', task: undefined, proposals: 1, steps: 1, optimizer: endpoint() }, 'next'),
    data: { train: join(folder, 'run', 'cases.csv'), labels: { 0: 'the', 1: 'of' } },
    search: { type: 'opro', prompt: ' t t t', proposals: 1, steps: 1, optimizer: endpoint() },
  } as unknown as SearchInput)
  expect(taken.result.steps).toBe(1)
})

test('what is best is so of the questions of that step: scores of fewer have no say', async () => {
  const events: SearchEvent[] = []
  const finer = { judge: endpoint(), measure: 'cross-entropy', warmUp: 1, steps: 4 }
  await search(configOf(finer), { onEvent: event => events.push(event) })
  const steps = events.filter(event => event.event === 'step').filter(({ shortlist }) => shortlist.length > 0)
  expect(steps).toHaveLength(4)
  for (const { best, shortlist } of steps) expect(best.objective).toBe(shortlist[0]!.exactScore)
})

test('what a step that did not end has added is taken back', async () => {
  const events: SearchEvent[] = []
  const given = { judge: endpoint(), measure: 'cross-entropy', warmUp: 1, budget: { calls: 10 } }
  const { result } = await search(configOf(given), { onEvent: event => events.push(event) })
  // Two texts and their labels, a step with two more, and their labels: then nothing is left for the second step.
  expect(result.steps).toBe(1)
  expect(casesIn('run').trimEnd().split('\n')).toHaveLength(5)
  const { best } = events.find(event => event.event === 'step')!
  expect(result.ranking.find(({ prompt }) => prompt === best.prompt)!.objective).toBeCloseTo(best.objective, 6)
  const rows: number[] = []
  const records = [{ text: 'own' }]
  const space = { row: (_: unknown, index: number) => ({ index }), lengthAround: () => 4 } as unknown as TokenSpace
  const growing = new GrowingQuestions(records, rows as unknown as SearchRow[], 0, space, 4)
  rows.push(0)
  growing.add([{ text: 'a' }, { text: 'b' }])
  growing.cut(1)
  expect([growing.count, growing.records, records.length, rows.length]).toEqual([1, [{ text: 'a' }], 2, 2])
  const long = new GrowingQuestions([], [], 0, { ...space, lengthAround: () => 5 } as unknown as TokenSpace, 4)
  expect(() => long.add([{ text: 'long' }])).toThrow('no room')
})

test('stopped wherever it is and gone on with, it comes to the same bits and asks nothing twice', async () => {
  const whole = await search(configOf({ judge: endpoint() }, 'whole'))
  const all = [...asked]
  asked = []
  // Of what is asked, the eighth, the twelfth, … is refused once: a search ends there, as it does where it is killed.
  let refused = 0
  fails = () => {
    if (asked.length % 4 !== 3 || refused === asked.length) return false
    refused = asked.length
    return true
  }
  let run: SearchResult | undefined
  try {
    await search(configOf({ judge: endpoint() }))
  } catch {
    // Gone on with below.
  }
  for (let tries = 0; run === undefined && tries < 12; tries++)
    run = await resumeSearch(join(folder, 'run'), { model }).then(
      ({ result }) => result,
      () => undefined,
    )
  expect(refused).toBeGreaterThan(3)
  expect(asked).toEqual(all)
  expect(timeless(run!)).toEqual(timeless(whole.result))
  expect(casesIn('run')).toBe(casesIn('whole'))
})

test('labels of a person: the search ends with the file that it waits for, and goes on behind it', async () => {
  const waiting = await problemOf(search(configOf()))
  expect(waiting).toMatchObject({ code: 'labels-needed', exitCode: 1 })
  expect(waiting.found).toContain(join(folder, 'run', 'cases.csv'))
  expect(waiting.hint).toContain('resume')
  const go = () => problemOf(resumeSearch(join(folder, 'run'), { model }))
  const before = asked.length
  expect((await go()).code).toBe('labels-needed')
  expect(asked).toHaveLength(before)
  answer('run', () => 'maybe')
  expect((await go()).code).toBe('unknown-label')
  writeFileSync(join(folder, 'run', 'cases.csv'), casesIn('run').replaceAll(',maybe,', ',,'))
  // Words and values do as well as each other, whatever their case; - leaves a text out.
  answer('run', text => (text.startsWith('wine') ? 'THE' : '-'))
  expect((await go()).code).toBe('labels-needed')
  answer('run', text => (text.startsWith('wine') ? 'the' : '1'))
  const third = await resumeSearch(join(folder, 'run'), { model }).catch((error: { code: string }) => error.code)
  expect(third).toBe('labels-needed')
  answer('run', text => (text.startsWith('wine') ? '0' : 'of'))
  let last: unknown = 'labels-needed'
  while (last === 'labels-needed') {
    answer('run', text => (text.startsWith('wine') ? '0' : '1'))
    last = await resumeSearch(join(folder, 'run'), { model }).catch((error: { code: string }) => error.code)
  }
  expect((last as { result: SearchResult }).result.steps).toBe(4)
  // A text that is of no use makes no room for another.
  expect(casesIn('run')).toContain(',-,')
  expect(casesIn('run').trimEnd().split('\n')).toHaveLength(7)
})

test('rows of people count from the first step, and dev chooses', async () => {
  const train = join(folder, 'own.csv')
  writeFileSync(train, 'text,label\nwine and dine,0\nstone wall,1\n')
  writeFileSync(join(folder, 'dev.csv'), 'text,label\nred wine,0\nold stone,1\n')
  const data = { train, dev: join(folder, 'dev.csv'), labels: { 0: 'the', 1: 'of' } }
  const { result } = await search(configOf({ judge: endpoint() }, 'run', { data }))
  expect(result.rows).toBe(2)
  const written = asked.filter(content => content.includes('<text>'))
  for (const content of written) expect(content).toMatch(/- (wine and dine|stone wall)/)
})

test('labels of the searched model itself are refused', async () => {
  const path = longToyModel(folder)
  const given = { ...configOf({ judge: path, optimizer: undefined }), model: path }
  expect((await problemOf(search(given))).code).toBe('circular-labels')
  expect(existsSync(join(folder, 'run'))).toBe(false)
})

test('what it needs is told before anything is computed', async () => {
  const { model: _, ...config } = configOf() as unknown as Record<string, unknown> & { data: object; search: object }
  const parse = (more: object) => parseSearchConfig({ ...config, model: toyModel, ...more })
  expect(parse({}).data.train).toBe('no rows')
  const problem = (more: object) => problemOf(Promise.resolve().then(() => parse(more)))
  expect((await problem({ data: {} })).message).toContain('data.labels')
  expect((await problem({ data: { ...config.data, split: { dev: 2 } } })).message).toContain('data.split')
  expect((await problem({ search: { type: 'opro' } })).message).toContain('data.train is missing')
  expect((await problem({ template: '{text} {more}{prompt} -' })).expected).toContain('one {column}')
  expect(await problem({ data: { labels: { 0: 'the' } } })).toMatchObject({ code: 'invalid-config', expected: 'two at least' })
  const meaning = (meanings: object) => ({ search: { ...config.search, meanings } })
  expect(parse(meaning({ the: 'wine', of: 'stone' })).search.type).toBe('ipc')
  const strange = await problem(meaning({ the: 'wine', off: 'stone' }))
  expect(strange).toMatchObject({ code: 'invalid-config', found: 'off', expected: 'a word of data.labels: the, of' })
  expect(strange.hint).toContain('did you mean')
})

test('a judge that names no class is told of, where there are other rows to go on with', async () => {
  const rows = join(folder, 'rows.tsv')
  writeFileSync(rows, 'text\tlabel\nthe wine\t0\nthe stone\t1\n')
  const warnings: SearchEvent[] = []
  silent = true
  await search(
    {
      ...configOf({ judge: endpoint(), steps: 1 }),
      data: { train: rows, labels: { 0: 'the', 1: 'of' } },
    } as unknown as SearchInput,
    { onEvent: event => event.event === 'warning' && warnings.push(event) },
  )
  expect(warnings.map(event => 'code' in event && event.code)).toContain('cases-left-out')
  expect(casesIn('run')).toMatch(/,-,1,/u)
})
