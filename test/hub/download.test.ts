import { createHash } from 'node:crypto'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { GradpromptError } from '../../src/errors.js'
import { cachedSnapshot, cachedSnapshots } from '../../src/hub/cache.js'
import { type DownloadEvent, downloadFiles, listFiles } from '../../src/hub/download.js'
import type { HubSettings } from '../../src/hub/settings.js'
import { failure as anyFailure } from '../formats/failure.js'
import {
  answer,
  commit,
  cutAfter,
  entryOf,
  type HubServer,
  hubServer,
  inTurn,
  sendFile,
  settingsFor,
  type Trouble,
} from './support/hub-server.js'

const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 255))
const files = {
  'config.json': '{"model_type":"llama"}',
  'model.safetensors': weights,
  'empty.txt': '',
  'a folder/ü.txt': 'naïve',
}
const repository = { kind: 'model', id: 'some/model' } as const
const sha256 = createHash('sha256').update(weights).digest('hex')

let server: HubServer
let cache: string
let settings: HubSettings
const events: DownloadEvent[] = []
const onEvent = (event: DownloadEvent) => void events.push(event)

beforeAll(async () => {
  server = await hubServer({ 'models/some/model': files })
})
afterAll(() => server[Symbol.asyncDispose]())
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'gradprompt-hub-'))
  settings = settingsFor(server.url, cache)
  server.trouble = undefined
  server.requests.length = 0
  events.length = 0
})
afterEach(() => rmSync(cache, { recursive: true, force: true }))

const folder = () => join(cache, 'models--some--model')
const blobs = () => (existsSync(join(folder(), 'blobs')) ? readdirSync(join(folder(), 'blobs')).sort() : [])
const download = async (paths: readonly string[] = ['config.json', 'model.safetensors']) =>
  downloadFiles(settings, await listFiles(settings, repository, 'main'), paths, { onEvent })

/** A failure that may be the network's. */
async function failure(work: () => unknown): Promise<{ code: string; message: string; found: string; hint: string }> {
  const error = await Promise.resolve()
    .then(work)
    .catch((cause: unknown) => cause)
  expect(error).toBeInstanceOf(GradpromptError)
  return error as { code: string; message: string; found: string; hint: string }
}

describe('files of the Hub', () => {
  it('come into the layout that Python has: blobs by their hashes, links in a snapshot, the commit of the branch', async () => {
    const snapshot = await download(Object.keys(files))
    expect(snapshot).toBe(join(folder(), 'snapshots', commit))
    expect(readFileSync(join(folder(), 'refs', 'main'), 'utf8')).toBe(commit)
    for (const [path, content] of Object.entries(files)) {
      expect(readFileSync(join(snapshot, path)).equals(Buffer.from(content as Uint8Array)), path).toBe(true)
      expect(lstatSync(join(snapshot, path)).isSymbolicLink()).toBe(true)
    }
    expect(readlinkSync(join(snapshot, 'model.safetensors'))).toBe(join('..', '..', 'blobs', sha256))
    expect(readlinkSync(join(snapshot, 'a folder/ü.txt'))).toBe(
      join('..', '..', '..', 'blobs', entryOf('x', Buffer.from(files['a folder/ü.txt'])).blobId),
    )
    expect(blobs().length).toBe(Object.keys(files).length)
    expect(cachedSnapshot(settings, repository, 'main')).toBe(snapshot)
    expect(cachedSnapshot(settings, repository, commit)).toBe(snapshot)
    expect(cachedSnapshot(settings, repository, 'v1')).toBeUndefined()
    expect(cachedSnapshots(settings, 'model')).toEqual([{ ...repository, commit, folder: snapshot, revisions: ['main'] }])
    expect(cachedSnapshots(settings, 'dataset')).toEqual([])
  })

  it('are announced with their size, and are not asked for again', async () => {
    await download()
    const total = weights.length + files['config.json'].length
    expect(events[0]).toMatchObject({ state: 'started', name: 'some/model', from: server.url, files: 2, total, done: 0 })
    expect(events.at(-1)).toMatchObject({ state: 'finished', done: total, total })
    const asked = server.requests.length
    events.length = 0
    await download()
    expect(events).toEqual([])
    expect(server.requests.length).toBe(asked + 1)
  })

  it('in the order that they are named', async () => {
    await download(['model.safetensors', 'config.json'])
    const asked = server.requests.flatMap(({ path }) => /resolve\/[0-9a-f]+\/(.*)$/.exec(path)?.[1] ?? [])
    expect(asked).toEqual(['model.safetensors', 'config.json'])
  })

  it('only those that are wanted', async () => {
    await download(['config.json'])
    expect(server.requests.map(({ path }) => path).filter(path => path.includes('safetensors'))).toEqual([])
    expect(blobs().length).toBe(1)
  })

  it('the token goes to the Hub, and to no other host that it sends to', async () => {
    const other = createServer((request, response) => {
      expect(request.headers.authorization).toBeUndefined()
      sendFile(request, response, weights)
    })
    await new Promise<void>(ready => other.listen(0, '127.0.0.1', ready))
    const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/x`
    server.trouble = (_, response, file) => file?.length === weights.length && answer(302, { location })(_, response, file)
    settings = { ...settings, token: 'hf_secret' }
    await download()
    expect(server.requests.every(({ authorization }) => authorization === 'Bearer hf_secret')).toBe(true)
    expect(blobs()).toContain(sha256)
    other.closeAllConnections()
    other.close()
  })
})

describe('a transfer that is cut', () => {
  it('goes on where it was, at once', async () => {
    server.trouble = cdnOnly(inTurn(cutAfter(100_000), cutAfter(50_000)))
    await download(['model.safetensors'])
    expect(readFileSync(join(folder(), 'blobs', sha256)).equals(weights)).toBe(true)
    const ranges = server.requests.flatMap(({ path, range }) => (path.startsWith('/cdn/') ? [range] : []))
    expect(ranges).toEqual([undefined, 'bytes=100000-', 'bytes=150000-'])
    expect(events.at(-1)?.done).toBe(weights.length)
  })

  it('before anything came is asked for again', async () => {
    server.trouble = cdnOnly(
      inTurn((request, response) => {
        request.socket.destroy()
        void response
        return true
      }),
    )
    await download(['model.safetensors'])
    expect(blobs()).toEqual([sha256])
  })

  it('goes on in the next process', async () => {
    server.trouble = (request, response, file) =>
      (request.headers.range ? answer(503)(request, response, file) : false) ||
      cdnOnly(cutAfter(120_000))(request, response, file)
    const { code, hint } = await failure(() => download(['model.safetensors']))
    expect(code).toBe('hub-unavailable')
    expect(hint).toContain('gone on from')
    expect(blobs()).toEqual([`${sha256}.incomplete`])
    expect(existsSync(join(folder(), 'snapshots', commit, 'model.safetensors'))).toBe(false)
    server.trouble = undefined
    server.requests.length = 0
    await download(['model.safetensors'])
    expect(server.requests.at(-1)).toMatchObject({ range: 'bytes=120000-' })
    expect(readFileSync(join(folder(), 'blobs', sha256)).equals(weights)).toBe(true)
    expect(blobs()).toEqual([sha256])
  })

  it('begins anew where the server knows no ranges, or what was there is too long', async () => {
    mkdirSync(join(folder(), 'blobs'), { recursive: true })
    writeFileSync(join(folder(), 'blobs', `${sha256}.incomplete`), weights.subarray(0, 1000))
    server.trouble = cdnOnly((_, response, file) => {
      response.writeHead(200, { 'content-length': file!.length }).end(file)
      return true
    })
    await download(['model.safetensors'])
    expect(blobs()).toEqual([sha256])
    rmSync(join(folder(), 'blobs', sha256))
    rmSync(join(folder(), 'snapshots'), { recursive: true })
    writeFileSync(join(folder(), 'blobs', `${sha256}.incomplete`), Buffer.alloc(weights.length + 5))
    server.trouble = undefined
    await download(['model.safetensors'])
    expect(readFileSync(join(folder(), 'blobs', sha256)).equals(weights)).toBe(true)
  })

  it('again and again ends, and says how far it came', async () => {
    server.trouble = cdnOnly(cutAfter(0))
    const { code, found, hint } = await failure(() => download(['model.safetensors']))
    expect([code, found]).toEqual(['download-interrupted', expect.stringContaining(`0 of ${weights.length} bytes`)])
    expect(hint).toContain('it goes on from there')
  })

  it('by silence is cut as well', async () => {
    server.trouble = cdnOnly(
      inTurn((_, response, file) => {
        response.writeHead(200, { 'content-length': file!.length }).write(file!.subarray(0, 1000))
        return true
      }),
    )
    await download(['model.safetensors'])
    expect(server.requests.at(-1)).toMatchObject({ range: 'bytes=1000-' })
    expect(blobs()).toEqual([sha256])
  })

  it('by whoever asked for it stops, and keeps what is there', async () => {
    const controller = new AbortController()
    server.trouble = cdnOnly((_, response, file) => {
      response.writeHead(200, { 'content-length': file!.length }).write(file!.subarray(0, 5000))
      setTimeout(() => controller.abort(), 50)
      return true
    })
    const listing = await listFiles(settings, repository, 'main')
    const { code } = await failure(() =>
      downloadFiles(settings, listing, ['model.safetensors'], { onEvent, signal: controller.signal }),
    )
    expect(code).toBe('aborted')
    expect(blobs()).toEqual([`${sha256}.incomplete`])
  })
})

describe('a file that is not what the repository lists', () => {
  it.each<[string, (file: Buffer) => Buffer]>([
    ['as long, with other bytes', file => Buffer.from(file.map(byte => byte ^ 1))],
    ['longer', file => Buffer.concat([file, Buffer.alloc(10)])],
    ['shorter', file => file.subarray(0, 200)],
  ])('%s is thrown away', async (_, change) => {
    server.trouble = cdnOnly((request, response, file) => {
      sendFile(request, response, change(file!))
      return true
    })
    const { code } = await failure(() => download(['model.safetensors']))
    expect(code).toBe('download-damaged')
    expect(existsSync(join(folder(), 'blobs', sha256))).toBe(false)
    expect(existsSync(join(folder(), 'snapshots', commit, 'model.safetensors'))).toBe(false)
    server.trouble = undefined
    await download(['model.safetensors'])
    expect(blobs()).toEqual([sha256])
  })

  it('of a length that is not announced is read as far as the repository lists it', async () => {
    server.trouble = cdnOnly((_, response, file) => {
      response.writeHead(200).write(file!)
      return true
    })
    await download(['model.safetensors'])
    expect(blobs()).toEqual([sha256])
  })

  it('a small one, too: git has its hash', async () => {
    server.trouble = (request, response, file) => {
      sendFile(request, response, Buffer.from(file!.map(byte => byte ^ 1)))
      return true
    }
    expect((await failure(() => download(['config.json']))).code).toBe('download-damaged')
  })
})

describe('what the Hub answers', () => {
  const refusing = (status: number, headers: Record<string, string> = {}): void => {
    server.trouble = answer(status, headers)
  }

  it.each<[number, Record<string, string>, string, string]>([
    [401, { 'x-error-code': 'GatedRepo' }, 'gated-model', '/some/model'],
    [403, { 'x-error-code': 'GatedRepo' }, 'gated-model', 'settings/tokens'],
    [401, {}, 'unauthorised', 'HF_TOKEN'],
    [404, { 'x-error-code': 'EntryNotFound' }, 'not-on-hub', '/some/model'],
    [429, { 'retry-after': '3600' }, 'hub-busy', 'later'],
    [429, { 'retry-after': '0' }, 'hub-busy', 'later'],
    [503, {}, 'hub-unavailable', 'later'],
    [500, {}, 'hub-unavailable', 'later'],
    [418, {}, 'hub-unavailable', 'later'],
  ])('%i %j: %s', async (status, headers, code, hint) => {
    refusing(status, headers)
    const error = await failure(() => download(['config.json']))
    expect(error.code).toBe(code)
    expect(error.found).toContain(String(status))
    expect(error.hint).toContain(hint)
    expect(blobs().filter(name => !name.endsWith('.incomplete'))).toEqual([])
  })

  it('a token that may not is told apart from none', async () => {
    settings = { ...settings, token: 'hf_other' }
    refusing(403, {})
    const { code, found, hint } = await failure(() => download(['config.json']))
    expect([code, found]).toEqual(['gated-model', '403, with the token that is set'])
    expect(hint).toContain('the account of the token')
  })

  it.each([429, 503])('%i is waited for, as long as it says', async status => {
    server.trouble = inTurn(answer(status, { 'retry-after': '0.05' }), answer(status))
    await download(['config.json'])
    expect(server.requests.filter(({ path }) => path.includes('resolve')).length).toBe(3)
  })

  it('a repository, or a revision, that it does not have', async () => {
    const missing = await failure(() => listFiles(settings, { kind: 'model', id: 'no/model' }, 'main'))
    expect([missing.code, missing.message]).toEqual(['not-on-hub', 'The Hub has no no/model'])
    const revision = await failure(() => listFiles(settings, repository, 'v9'))
    expect(revision.message).toContain('revision v9')
    expect((await listFiles(settings, repository, 'v1')).commit).toBe(commit)
  })

  it('redirects that do not end, or lead away from https', async () => {
    refusing(302, { location: '/some/model/resolve/x/y' })
    expect((await failure(() => download(['config.json']))).found).toBe('more than 5 redirects')
    refusing(302, { location: 'file:///etc/passwd' })
    expect((await failure(() => download(['config.json']))).found).toBe('file:///etc/passwd')
  })

  it('nothing', async () => {
    const { code, hint } = await failure(() => listFiles(settingsFor('http://127.0.0.1:9', cache), repository, 'main'))
    expect(code).toBe('hub-unreachable')
    expect(hint).toContain('gradprompt models')
  })
})

describe('a list of files', () => {
  const good = { rfilename: 'config.json', size: 3, blobId: 'a'.repeat(40) }
  it.each<[string, unknown]>([
    ['no JSON', '<html>'],
    ['no object', '[]'],
    ['no commit', { siblings: [] }],
    ['no commit', { sha: '../../x', siblings: [] }],
    ['no list of files', { sha: commit, siblings: 3 }],
    ['an entry that is no file', { sha: commit, siblings: [null] }],
    ['an entry that is no file', { sha: commit, siblings: [{ ...good, rfilename: '../../../etc/x' }] }],
    ['an entry that is no file', { sha: commit, siblings: [{ ...good, rfilename: '/etc/x' }] }],
    ['an entry that is no file', { sha: commit, siblings: [{ ...good, size: -1 }] }],
    ['an entry that is no file', { sha: commit, siblings: [{ ...good, size: 2 ** 60 }] }],
    ['an entry that is no file', { sha: commit, siblings: [{ ...good, blobId: '../x' }] }],
    ['an entry that is no file', { sha: commit, siblings: [{ ...good, blobId: undefined, lfs: { sha256: 'x', size: 3 } }] }],
  ])('%s: %j', async (what, body) => {
    const liar = createServer((_, response) => void response.end(typeof body === 'string' ? body : JSON.stringify(body)))
    await new Promise<void>(ready => liar.listen(0, '127.0.0.1', ready))
    const url = `http://127.0.0.1:${(liar.address() as AddressInfo).port}`
    const { code, message } = await failure(() => listFiles(settingsFor(url, cache), repository, 'main'))
    expect(code).toBe('hub-listing-invalid')
    expect(message).toContain(what)
    liar.closeAllConnections()
    liar.close()
  })

  it('of more than the disk holds is refused before anything is asked for', async () => {
    const listing = await listFiles(settings, repository, 'main')
    const huge = { ...listing, files: [{ path: 'x', size: 2 ** 52, etag: 'a'.repeat(64), hash: 'sha256' as const }] }
    expect((await anyFailure(() => downloadFiles(settings, huge, ['x'], { onEvent }))).code).toBe('disk-full')
    expect(events).toEqual([])
  })
})

/** Where the Hub sends to for large files: what it is asked first is let pass. */
const cdnOnly =
  (trouble: Trouble): Trouble =>
  (request, response, file) =>
    request.url!.startsWith('/cdn/') && trouble(request, response, file)
