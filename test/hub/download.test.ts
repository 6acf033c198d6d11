import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { cachedSnapshot, cachedSnapshots } from '../../src/hub/cache.js'
import { downloadFiles, listFiles } from '../../src/hub/download.js'
import { cdnOnly, downloads, failure, files, repository, sha256, weights } from './support/downloads.js'
import { answer, commit, cutAfter, entryOf, inTurn, sendFile } from './support/hub-server.js'

const place = downloads()

describe('files of the Hub', () => {
  it('come into the layout that Python has: blobs by their hashes, links in a snapshot, the commit of the branch', async () => {
    const snapshot = await place.download(Object.keys(files))
    expect(snapshot).toBe(join(place.folder(), 'snapshots', commit))
    expect(readFileSync(join(place.folder(), 'refs', 'main'), 'utf8')).toBe(commit)
    for (const [path, content] of Object.entries(files)) {
      expect(readFileSync(join(snapshot, path)).equals(Buffer.from(content as Uint8Array)), path).toBe(true)
      expect(lstatSync(join(snapshot, path)).isSymbolicLink()).toBe(true)
    }
    expect(readlinkSync(join(snapshot, 'model.safetensors'))).toBe(join('..', '..', 'blobs', sha256))
    expect(readlinkSync(join(snapshot, 'a folder/ü.txt'))).toBe(
      join('..', '..', '..', 'blobs', entryOf('x', Buffer.from(files['a folder/ü.txt'])).blobId),
    )
    expect(place.blobs().length).toBe(Object.keys(files).length)
    expect(cachedSnapshot(place.settings, repository, 'main')).toBe(snapshot)
    expect(cachedSnapshot(place.settings, repository, commit)).toBe(snapshot)
    expect(cachedSnapshot(place.settings, repository, 'v1')).toBeUndefined()
    expect(cachedSnapshots(place.settings, 'model')).toEqual([{ ...repository, commit, folder: snapshot, revisions: ['main'] }])
    expect(cachedSnapshots(place.settings, 'dataset')).toEqual([])
  })

  it('are announced with their size, and are not asked for again', async () => {
    await place.download()
    const total = weights.length + files['config.json'].length
    expect(place.events[0]).toMatchObject({
      state: 'started',
      name: 'some/model',
      from: place.server.url,
      files: 2,
      total,
      done: 0,
    })
    expect(place.events.at(-1)).toMatchObject({ state: 'finished', done: total, total })
    const asked = place.server.requests.length
    place.events.length = 0
    await place.download()
    expect(place.events).toEqual([])
    expect(place.server.requests.length).toBe(asked + 1)
  })

  it('in the order that they are named', async () => {
    await place.download(['model.safetensors', 'config.json'])
    const asked = place.server.requests.flatMap(({ path }) => /resolve\/[0-9a-f]+\/(.*)$/.exec(path)?.[1] ?? [])
    expect(asked).toEqual(['model.safetensors', 'config.json'])
  })

  it('only those that are wanted', async () => {
    await place.download(['config.json'])
    expect(place.server.requests.map(({ path }) => path).filter(path => path.includes('safetensors'))).toEqual([])
    expect(place.blobs().length).toBe(1)
  })

  it('the token goes to the Hub, and to no other host that it sends to', async () => {
    const other = createServer((request, response) => {
      expect(request.headers.authorization).toBeUndefined()
      sendFile(request, response, weights)
    })
    await new Promise<void>(ready => other.listen(0, '127.0.0.1', ready))
    const location = `http://127.0.0.1:${(other.address() as AddressInfo).port}/x`
    place.server.trouble = (_, response, file) => file?.length === weights.length && answer(302, { location })(_, response, file)
    place.settings = { ...place.settings, token: 'hf_secret' }
    await place.download()
    expect(place.server.requests.every(({ authorization }) => authorization === 'Bearer hf_secret')).toBe(true)
    expect(place.blobs()).toContain(sha256)
    other.closeAllConnections()
    other.close()
  })
})

describe('a transfer that is cut', () => {
  it('goes on where it was, at once', async () => {
    place.server.trouble = cdnOnly(inTurn(cutAfter(100_000), cutAfter(50_000)))
    await place.download(['model.safetensors'])
    expect(readFileSync(join(place.folder(), 'blobs', sha256)).equals(weights)).toBe(true)
    // What had come and was not yet read is lost with a connection.
    const ranges = place.server.requests.flatMap(({ path, range }) => (path.startsWith('/cdn/') ? [range ?? ''] : []))
    const [first, ...later] = ranges.map(range => Number(/^bytes=(\d+)-$/.exec(range)?.[1] ?? 0))
    expect([first, later.length]).toEqual([0, 2])
    expect(later.every(start => start <= 150_000)).toBe(true)
    expect(later).toEqual(later.toSorted((x, y) => x - y))
    expect(place.events.at(-1)?.done).toBe(weights.length)
  })

  it('before anything came is asked for again', async () => {
    place.server.trouble = cdnOnly(
      inTurn((request, response) => {
        request.socket.destroy()
        void response
        return true
      }),
    )
    await place.download(['model.safetensors'])
    expect(place.blobs()).toEqual([sha256])
  })

  it('goes on in the next process', async () => {
    place.server.trouble = (request, response, file) =>
      (request.headers.range ? answer(503)(request, response, file) : false) ||
      cdnOnly(cutAfter(120_000))(request, response, file)
    const { code, hint } = await failure(() => place.download(['model.safetensors']))
    expect(code).toBe('hub-unavailable')
    expect(hint).toContain('gone on from')
    expect(place.blobs()).toEqual([`${sha256}.incomplete`])
    expect(existsSync(join(place.folder(), 'snapshots', commit, 'model.safetensors'))).toBe(false)
    const { size } = statSync(join(place.folder(), 'blobs', `${sha256}.incomplete`))
    expect(size).toBeGreaterThan(0)
    place.server.trouble = undefined
    place.server.requests.length = 0
    await place.download(['model.safetensors'])
    expect(place.server.requests.at(-1)).toMatchObject({ range: `bytes=${size}-` })
    expect(readFileSync(join(place.folder(), 'blobs', sha256)).equals(weights)).toBe(true)
    expect(place.blobs()).toEqual([sha256])
  })

  it('begins anew where the server knows no ranges, or what was there is too long', async () => {
    mkdirSync(join(place.folder(), 'blobs'), { recursive: true })
    writeFileSync(join(place.folder(), 'blobs', `${sha256}.incomplete`), weights.subarray(0, 1000))
    place.server.trouble = cdnOnly((_, response, file) => {
      response.writeHead(200, { 'content-length': file!.length }).end(file)
      return true
    })
    await place.download(['model.safetensors'])
    expect(place.blobs()).toEqual([sha256])
    rmSync(join(place.folder(), 'blobs', sha256))
    rmSync(join(place.folder(), 'snapshots'), { recursive: true })
    writeFileSync(join(place.folder(), 'blobs', `${sha256}.incomplete`), Buffer.alloc(weights.length + 5))
    place.server.trouble = undefined
    await place.download(['model.safetensors'])
    expect(readFileSync(join(place.folder(), 'blobs', sha256)).equals(weights)).toBe(true)
  })

  it('again and again ends, and says how far it came', async () => {
    place.server.trouble = cdnOnly(cutAfter(0))
    const { code, found, hint } = await failure(() => place.download(['model.safetensors']))
    expect([code, found]).toEqual(['download-interrupted', expect.stringContaining(`0 of ${weights.length} bytes`)])
    expect(hint).toContain('it goes on from there')
  })

  it('by silence is cut as well', async () => {
    place.server.trouble = cdnOnly(
      inTurn((_, response, file) => {
        response.writeHead(200, { 'content-length': file!.length }).write(file!.subarray(0, 1000))
        return true
      }),
    )
    await place.download(['model.safetensors'])
    expect(place.server.requests.at(-1)).toMatchObject({ range: 'bytes=1000-' })
    expect(place.blobs()).toEqual([sha256])
  })

  it('by whoever asked for it stops, and keeps what is there', async () => {
    const controller = new AbortController()
    place.server.trouble = cdnOnly((_, response, file) => {
      response.writeHead(200, { 'content-length': file!.length }).write(file!.subarray(0, 5000))
      setTimeout(() => controller.abort(), 50)
      return true
    })
    const listing = await listFiles(place.settings, repository, 'main')
    const { code } = await failure(() =>
      downloadFiles(place.settings, listing, ['model.safetensors'], { onEvent: place.onEvent, signal: controller.signal }),
    )
    expect(code).toBe('aborted')
    expect(place.blobs()).toEqual([`${sha256}.incomplete`])
  })
})

describe('a blob that others may be fetching', () => {
  const lockPath = () => join(place.folder(), 'blobs', `${sha256}.lock`)

  it('is fetched once, by one of them', async () => {
    await Promise.all([1, 2, 3].map(() => place.download(['model.safetensors'])))
    expect(place.server.requests.filter(({ path }) => path.startsWith('/cdn/')).length).toBe(1)
    expect(place.blobs()).toEqual([sha256])
  })

  it.each([
    ['of a process that has ended', '999999999', 0],
    ['of an earlier process with the id of this one', String(process.pid), 0],
    ['that nobody has touched for long', String(process.ppid), 3600],
    ['that holds nonsense', 'x', 0],
  ])('a lock %s is left over', async (_, content, age) => {
    mkdirSync(join(place.folder(), 'blobs'), { recursive: true })
    writeFileSync(lockPath(), content)
    const then = Date.now() / 1000 - age
    utimesSync(lockPath(), then, then)
    await place.download(['model.safetensors'])
    expect(place.blobs()).toEqual([sha256])
  })

  it('the lock of one that lives is waited for', async () => {
    mkdirSync(join(place.folder(), 'blobs'), { recursive: true })
    writeFileSync(lockPath(), String(process.ppid))
    const done = place.download(['model.safetensors'])
    await new Promise(resolve => setTimeout(resolve, 400))
    expect(place.blobs()).toEqual([`${sha256}.lock`])
    rmSync(lockPath())
    await done
    expect(place.blobs()).toEqual([sha256])
  })
})

describe('a file that is not what the repository lists', () => {
  it.each<[string, (file: Buffer) => Buffer]>([
    ['as long, with other bytes', file => Buffer.from(file.map(byte => byte ^ 1))],
    ['longer', file => Buffer.concat([file, Buffer.alloc(10)])],
    ['shorter', file => file.subarray(0, 200)],
  ])('%s is thrown away', async (_, change) => {
    place.server.trouble = cdnOnly((request, response, file) => {
      sendFile(request, response, change(file!))
      return true
    })
    const { code } = await failure(() => place.download(['model.safetensors']))
    expect(code).toBe('download-damaged')
    expect(existsSync(join(place.folder(), 'blobs', sha256))).toBe(false)
    expect(existsSync(join(place.folder(), 'snapshots', commit, 'model.safetensors'))).toBe(false)
    place.server.trouble = undefined
    await place.download(['model.safetensors'])
    expect(place.blobs()).toEqual([sha256])
  })

  it('of a length that is not announced is read as far as the repository lists it', async () => {
    place.server.trouble = cdnOnly((_, response, file) => {
      response.writeHead(200).write(file!)
      return true
    })
    await place.download(['model.safetensors'])
    expect(place.blobs()).toEqual([sha256])
  })

  it('a small one, too: git has its hash', async () => {
    place.server.trouble = (request, response, file) => {
      sendFile(request, response, Buffer.from(file!.map(byte => byte ^ 1)))
      return true
    }
    expect((await failure(() => place.download(['config.json']))).code).toBe('download-damaged')
  })
})
