import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { DownloadEvent } from '../../src/hub/download.js'
import { downloadLines, hearDownloads, progressLine } from '../../src/hub/news.js'
import { knownModels } from '../../src/model/known-models.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { openCheckpoint, shortName } from '../../src/model/weights/checkpoint.js'
import { failure } from '../formats/failure.js'
import { commit, type HubServer, hubServer } from './support/hub-server.js'

const fixture = 'test/fixtures/models'
const folderFiles = (name: string) =>
  Object.fromEntries(
    readdirSync(join(fixture, name))
      .filter(file => !file.startsWith('expected'))
      .map(file => [file, readFileSync(join(fixture, name, file))]),
  )
const gguf = readFileSync(join(fixture, 'llama-gguf', 'model.gguf'))
const whole = folderFiles('llama-gqa')
const sharded = folderFiles('llama-sharded')

let server: HubServer
let home: string
const kept = { ...process.env }
const events: DownloadEvent[] = []

beforeAll(async () => {
  server = await hubServer({
    'models/some/whole': {
      ...whole,
      'README.md': 'x',
      'pytorch_model.bin': 'pickle',
      'onnx/model.onnx': 'x',
      'model.fp16.safetensors': 'x',
    },
    'models/some/sharded': sharded,
    'models/some/one-gguf': { 'model.gguf': gguf, 'README.md': 'x' },
    'models/some/ggufs': { 'tiny-Q4_K_M.gguf': gguf, 'tiny-Q8_0.gguf': gguf, 'more/tiny-F16.gguf': gguf },
    'models/some/pickle': { 'config.json': whole['config.json']!, 'pytorch_model.bin': 'pickle' },
    'models/some/other': { ...whole, 'config.json': '{"model_type":"mixtral"}' },
    'models/some/empty': {},
  })
})
afterAll(() => server[Symbol.asyncDispose]())
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'gradprompt-hub-'))
  for (const name of Object.keys(process.env)) if (/^(HF_|HUGGING|TRANSFORMERS_)/.test(name)) delete process.env[name]
  Object.assign(process.env, { HF_HOME: home, HF_ENDPOINT: server.url })
  server.requests.length = 0
  events.length = 0
  hearDownloads({ onDownload: event => void events.push(event) })
})
afterEach(() => {
  rmSync(home, { recursive: true, force: true })
  hearDownloads({})
  process.env = { ...kept }
})

const open = async (name: string) => {
  const checkpoint = await openCheckpoint(name)
  await checkpoint.file.close()
  return checkpoint
}
const fetched = () => server.requests.flatMap(({ path }) => /\/resolve\/[0-9a-f]+\/(.+)$/.exec(path)?.[1] ?? [])

describe('a model by its name on the Hub', () => {
  it('is fetched once, the files that it needs and no others', async () => {
    const checkpoint = await open('some/whole')
    expect(checkpoint.path).toBe(join(home, 'hub', 'models--some--whole', 'snapshots', commit))
    expect([checkpoint.family.name, shortName(checkpoint)]).toEqual(['llama', 'some/whole'])
    expect(fetched().sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'])
    expect(events.map(({ state }) => state)).toEqual(expect.arrayContaining(['started', 'finished']))
    const asked = server.requests.length
    await open('some/whole')
    await open(`hf:some/whole@${commit}`)
    expect(server.requests.length).toBe(asked)
  })

  it('computes what the folder does', async () => {
    const ids = [5, 6, 7, 8]
    const [one, two] = [
      await LanguageModel.load('some/whole', { threads: 1 }),
      await LanguageModel.load(join(fixture, 'llama-gqa'), { threads: 1 }),
    ]
    const logits = async (model: LanguageModel) => (await model.forward([ids]))[0]!.logits
    expect(await logits(one)).toEqual(await logits(two))
    expect(one.hash).not.toBe('')
    await Promise.all([one.dispose(), two.dispose()])
  })

  it('of several files', async () => {
    await open('some/sharded')
    expect(fetched().filter(path => path.endsWith('.safetensors')).length).toBe(2)
  })

  it('at a revision', async () => {
    await open('some/whole@v1')
    expect(readFileSync(join(home, 'hub', 'models--some--whole', 'refs', 'v1'), 'utf8')).toBe(commit)
    const { code, message } = await failure(() => open('some/whole@v7'))
    expect([code, message]).toEqual(['not-on-hub', 'The Hub has no revision v7 of some/whole'])
  })

  it('as the one GGUF file of a repository, or the one that is named', async () => {
    const several = await failure(() => open('some/ggufs'))
    expect(several.code).toBe('not-a-model')
    expect(several.hint).toBe('name the file: some/ggufs:tiny-Q4_K_M.gguf')
    expect((await open('some/one-gguf')).path).toMatch(/model\.gguf$/)
    expect((await open('some/ggufs:tiny-Q8_0.gguf')).path).toMatch(/tiny-Q8_0\.gguf$/)
    expect((await open('some/ggufs:more/tiny-F16.gguf')).path).toMatch(/more[/\\]tiny-F16\.gguf$/)
    // The third has the bytes of the second, which are there.
    expect(fetched()).toEqual(['model.gguf', 'tiny-Q8_0.gguf'])
    const misspelt = await failure(() => open('some/ggufs:tiny-Q8_1.gguf'))
    expect(misspelt.hint).toContain('tiny-Q8_0.gguf')
  })

  it('whose family is not known is refused before its weights are fetched', async () => {
    const { code, hint } = await failure(() => open('some/other'))
    expect(code).toBe('unknown-architecture')
    expect(hint).toContain('mixture of experts')
    expect(fetched()).toEqual(['config.json'])
  })

  it.each([
    ['some/pickle', 'unsupported-format'],
    ['some/empty', 'not-a-model'],
    ['some/none', 'not-on-hub'],
  ])('%s: %s', async (name, code) => {
    expect((await failure(() => open(name))).code).toBe(code)
  })

  it('is not asked for offline; what is whole in the cache opens', async () => {
    process.env.HF_HUB_OFFLINE = '1'
    const { code, hint } = await failure(() => open('some/whole'))
    expect(code).toBe('offline')
    expect(hint).toContain('gradprompt models')
    delete process.env.HF_HUB_OFFLINE
    await open('some/whole')
    process.env.HF_HUB_OFFLINE = '1'
    server.requests.length = 0
    await open('some/whole')
    expect(server.requests).toEqual([])
  })

  it('lacking a file in the cache is made whole', async () => {
    const { path } = await open('some/sharded')
    rmSync(join(path, 'model-00002-of-00002.safetensors'), { force: true })
    server.requests.length = 0
    await open('some/sharded')
    // Its blob is there: the link alone is made anew.
    expect(fetched()).toEqual([])
    expect(existsSync(join(path, 'model-00002-of-00002.safetensors'))).toBe(true)
  })

  it('is whole when its weights are there: they come last', async () => {
    server.trouble = (request, response) => {
      if (!request.url!.includes('.safetensors')) return false
      response.writeHead(403).end()
      return true
    }
    expect((await failure(() => open('some/whole'))).code).toBe('unauthorised')
    server.trouble = undefined
    expect(fetched()).toEqual(['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'])
    server.requests.length = 0
    await open('some/whole')
    expect(fetched()).toEqual(['model.safetensors'])
    rmSync(join(home, 'hub', 'models--some--whole', 'snapshots', commit, 'tokenizer.json'))
    await open('some/whole')
    expect(server.requests.length).toBeGreaterThan(2)
  })

  it('that looks like a path of this folder is not told to anybody', async () => {
    const { code, hint } = await failure(() => open('models/no-such-model'))
    expect([code, hint]).toEqual(['file-not-found', 'if it is the id of a model of the Hub: hf:models/no-such-model'])
    expect(server.requests).toEqual([])
    expect((await failure(() => open('hf:models/no-such-model'))).code).toBe('not-on-hub')
    expect(server.requests.length).toBe(1)
  })

  it('tells whoever calls', async () => {
    const own: DownloadEvent[] = []
    const { file } = await openCheckpoint('some/one-gguf', { onDownload: event => void own.push(event) })
    await file.close()
    expect(own[0]).toMatchObject({ event: 'download', state: 'started', name: 'some/one-gguf', files: 1, total: gguf.length })
    expect(events).toEqual([])
  })
})

describe('the models at hand', () => {
  const known = async () => {
    const found = []
    for await (const model of knownModels()) found.push(model)
    return found
  }

  it('are the bundled one and those of the cache, each with what it needs, or why it cannot be read', async () => {
    await open('some/whole')
    await open('some/ggufs:tiny-Q8_0.gguf')
    await open('some/sharded@v1')
    await failure(() => open('some/other'))
    symlinkSync('nowhere', join(home, 'hub', 'models--broken'))
    const [bundled, ...cached] = await known()
    expect(bundled).toMatchObject({
      name: 'models/smollm2-135m-instruct',
      from: 'bundled',
      model: { family: 'llama', contextLength: 8192 },
    })
    expect(bundled!.model!.parameters.total).toBe(134_515_008)
    const { embedding, attention, mlp, norms, head } = bundled!.model!.parameters
    expect([embedding, head]).toEqual([49152 * 576, 0])
    expect(embedding + attention + mlp + norms).toBe(134_515_008)
    expect(norms).toBe(61 * 576)
    expect(cached.map(({ name, model, problem }) => [name, model?.family ?? problem?.code])).toEqual([
      ['some/ggufs:tiny-Q8_0.gguf', 'llama'],
      ['some/other', 'not-a-model'],
      ['some/sharded@v1', 'llama'],
      ['some/whole', 'llama'],
    ])
    for (const { name, model, bytes } of cached.filter(({ model }) => model !== undefined)) {
      expect(bytes).toBeGreaterThan(10_000)
      expect(model!.memory.trainingStep).toBeGreaterThan(model!.memory.weights)
      // The name is one that opens it.
      await open(name)
    }
  })

  it('an empty cache has none', async () => {
    expect((await known()).map(({ from }) => from)).toEqual(['bundled'])
  })
})

describe('what is said of a download', () => {
  const base = { event: 'download', name: 'a/b', from: 'https://hub', folder: '/f', files: 2, total: 2.5e9 } as const

  it('before it begins, while it lasts, and at its end', () => {
    const lines: string[] = []
    const tell = downloadLines({ write: text => lines.push(text), isTTY: true })
    tell({ ...base, state: 'started', done: 0 })
    tell({ ...base, state: 'finished', done: 2.5e9 })
    expect(lines).toEqual(['downloading a/b from https://hub: 2 files, 2.50 GB, into /f\n', '\r\x1b[2Kdownloaded 2.50 GB\n'])
  })

  it('with rate and time left', () => {
    const state = { ...base, state: 'progress', file: 'model.safetensors', done: 5e8 } as const
    expect(progressLine(state)).toBe('model.safetensors: 500.0 MB of 2.50 GB')
    expect(progressLine({ ...state, bytesPerSecond: 12.34e6, secondsLeft: 162 })).toBe(
      'model.safetensors: 500.0 MB of 2.50 GB  12.3 MB/s  2 min 42 s left',
    )
    expect(progressLine({ ...state, secondsLeft: 7320 })).toContain('2 h 02 min left')
  })
})
