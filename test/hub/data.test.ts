import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { isHubData, localFiles } from '../../src/data/hub-data.js'
import { readRecords } from '../../src/data/read.js'
import { readTask } from '../../src/data/task.js'
import { hearDownloads } from '../../src/hub/news.js'
import { parseConfig } from '../../src/train/config.js'
import { failure } from '../formats/failure.js'
import { commit, type HubServer, hubServer } from './support/hub-server.js'

const rows = (label: string, count: number) =>
  Array.from({ length: count }, (_, i) => JSON.stringify({ text: `${label} ${i}`, label: i % 2 ? 'yes' : 'no' })).join('\n')

const localData = async (name: string) => {
  const files = await localFiles(name)
  return files.length === 1 ? files[0] : files
}

let server: HubServer
let home: string
const kept = { ...process.env }

beforeAll(async () => {
  const parquet = readFileSync('test/fixtures/data/nested.parquet')
  server = await hubServer({
    'datasets/some/plain': { 'train.jsonl': rows('train', 12), 'test.jsonl': rows('test', 4), 'README.md': '' },
    'datasets/some/configs': {
      'main/train-00000-of-00001.parquet': parquet,
      'main/test-00000-of-00001.parquet': parquet,
      'other/train-00000-of-00001.parquet': parquet,
      'other/train.csv': 'a,b',
    },
    'datasets/some/parts': {
      ...{ 'data/train-00000-of-00002.parquet': parquet, 'data/train-00001-of-00002.parquet': parquet },
      'data/test-00001-of-00002.parquet': parquet,
      ...{ 'dev-00000-of-00002.jsonl': rows('dev', 2), 'dev-00001-of-00002.jsonl': '{"other": 1}' },
    },
    'datasets/some/script': { 'script.py': 'x' },
  })
})
afterAll(() => server[Symbol.asyncDispose]())
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'gradprompt-hub-'))
  for (const name of Object.keys(process.env)) if (/^(HF_|HUGGING|TRANSFORMERS_)/.test(name)) delete process.env[name]
  Object.assign(process.env, { HF_HOME: home, HF_ENDPOINT: server.url })
  hearDownloads({ onDownload: () => {} })
  server.requests.length = 0
})
afterEach(() => {
  rmSync(home, { recursive: true, force: true })
  hearDownloads({})
  process.env = { ...kept }
})

describe('a data set by its name on the Hub', () => {
  it('is fetched once, the file of the split alone, into the cache that Python has', async () => {
    const { records, format } = await readRecords('hf:some/plain/test')
    expect([records.length, format]).toEqual([4, 'jsonl'])
    const asked = server.requests.length
    const path = await localData('hf:some/plain/test')
    expect(path).toBe(join(home, 'hub', 'datasets--some--plain', 'snapshots', commit, 'test.jsonl'))
    expect(server.requests.length).toBe(asked + 1)
    expect(await localData('hf:some/plain/test.jsonl')).toBe(path)
    expect(server.requests.length).toBe(asked + 1)
    expect(server.requests.map(({ path }) => path).filter(path => path.includes('/resolve/'))).toEqual([
      `/datasets/some/plain/resolve/${commit}/test.jsonl`,
    ])
    process.env.HF_ENDPOINT = 'http://127.0.0.1:9'
    expect(await localData('hf:some/plain/test')).toBe(path)
    expect(((await localData('hf:some/plain/train').catch((error: unknown) => error)) as { code: string }).code).toBe(
      'hub-unreachable',
    )
    process.env.HF_HUB_OFFLINE = '1'
    expect(await localData('hf:some/plain/test')).toBe(path)
    expect((await failure(() => localData('hf:some/plain/train'))).code).toBe('offline')
  })

  it('is what a config learns from', async () => {
    const config = parseConfig({
      data: { train: 'hf:some/plain/train', test: 'hf:some/plain/test' },
      template: '{text}',
      answer: ' {label}',
    })
    const task = await readTask(config)
    expect([task.train.length, task.test.length]).toEqual([12, 4])
    expect(task.sources.train).toMatchObject({ path: 'hf:some/plain/train' })
    expect(task.sources.train!.sha256).toMatch(/^[0-9a-f]{64}$/)
  })

  it('may be stored in parts, all of which are read, in their order', async () => {
    const [first, second] = (await localData('hf:some/parts/train')) as string[]
    expect([first, second].map(path => path?.slice(-28))).toEqual([
      'train-00000-of-00002.parquet',
      'train-00001-of-00002.parquet',
    ])
    const [whole, part] = [await readRecords('hf:some/parts/train'), await readRecords(first!)]
    expect(whole.records).toEqual([...part.records, ...part.records])
    expect([whole.columns, whole.structured, whole.format]).toEqual([part.columns, part.structured, 'parquet'])
    process.env.HF_HUB_OFFLINE = '1'
    expect(await localData('hf:some/parts/train')).toEqual([first, second])
    rmSync(second!)
    expect((await failure(() => localData('hf:some/parts/train'))).code).toBe('offline')
    delete process.env.HF_HUB_OFFLINE
    expect(await localData('hf:some/parts/data/test-00001-of-00002.parquet')).toMatch(/test-00001-of-00002\.parquet$/)
    const { code, message } = await failure(() => readRecords('hf:some/parts/dev'))
    expect([code, message]).toEqual(['invalid-data', expect.stringContaining('dev-00001-of-00002.jsonl has other columns')])
  })

  it('may have configs; Parquet goes first', async () => {
    expect(await localData('hf:some/configs/other/train')).toMatch(/other[/\\]train-00000-of-00001\.parquet$/)
    expect(await localData('hf:some/configs@v1/test')).toMatch(/main[/\\]test-00000-of-00001\.parquet$/)
    expect(await localData('hf:some/configs/other/train.csv')).toMatch(/train\.csv$/)
    const { code, found, hint } = await failure(() => localData('hf:some/configs/train'))
    expect([code, found]).toEqual(['not-on-hub', 'main/train-00000-of-00001.parquet, other/train-00000-of-00001.parquet'])
    expect(hint).toContain('hf:some/configs/main/train-00000-of-00001.parquet')
  })

  it.each([
    ['hf:some/parts/test', 'not-on-hub', 'a part of a file'],
    ['hf:some/plain/dev', 'not-on-hub', 'no file'],
    ['hf:some/script/train', 'not-on-hub', 'no file'],
    ['hf:some/none/train', 'not-on-hub', 'some/none'],
    ['hf:some/plain', 'invalid-data-name', 'names no split'],
    ['hf:some/plain/../../x', 'invalid-data-name', 'names no split'],
    ['hf:some/pl ain/x', 'invalid-data-name', 'names no split'],
  ])('%s: %s', async (name, code, message) => {
    const error = await failure(() => localData(name))
    expect(error.code).toBe(code)
    expect(error.message).toContain(message)
  })

  it('is told apart from a model and from a path', async () => {
    expect(['hf:a/b/c', 'hf:a/b@v/c/d', 'hf:a/b', 'a/b/c'].map(isHubData)).toEqual([true, true, false, false])
    expect(await localData('a/b.tsv')).toBe('a/b.tsv')
  })
})
