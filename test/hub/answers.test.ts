import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it } from 'vitest'
import { downloadFiles, listFiles } from '../../src/hub/download.js'
import { downloads, failure, repository } from './support/downloads.js'
import { answer, commit, inTurn, settingsFor } from './support/hub-server.js'

const place = downloads()

describe('what the Hub answers', () => {
  const refusing = (status: number, headers: Record<string, string> = {}): void => {
    place.server.trouble = answer(status, headers)
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
    const error = await failure(() => place.download(['config.json']))
    expect(error.code).toBe(code)
    expect(error.found).toContain(String(status))
    expect(error.hint).toContain(hint)
    expect(place.blobs().filter(name => !name.endsWith('.incomplete'))).toEqual([])
  })

  it('a token that may not is told apart from none', async () => {
    place.settings = { ...place.settings, token: 'hf_other' }
    refusing(403, {})
    const { code, found, hint } = await failure(() => place.download(['config.json']))
    expect([code, found]).toEqual(['gated-model', '403, with the token that is set'])
    expect(hint).toContain('the account of the token')
  })

  it.each([429, 503])('%i is waited for, as long as it says', async status => {
    place.server.trouble = inTurn(answer(status, { 'retry-after': '0.05' }), answer(status))
    await place.download(['config.json'])
    expect(place.server.requests.filter(({ path }) => path.includes('resolve')).length).toBe(3)
  })

  it('a repository, or a revision, that it does not have', async () => {
    const missing = await failure(() => listFiles(place.settings, { kind: 'model', id: 'no/model' }, 'main'))
    expect([missing.code, missing.message]).toEqual(['not-on-hub', 'The Hub has no no/model'])
    const revision = await failure(() => listFiles(place.settings, repository, 'v9'))
    expect(revision.message).toContain('revision v9')
    expect((await listFiles(place.settings, repository, 'v1')).commit).toBe(commit)
  })

  it('redirects that do not end, or lead away from https', async () => {
    refusing(302, { location: '/some/model/resolve/x/y' })
    expect((await failure(() => place.download(['config.json']))).found).toBe('more than 5 redirects')
    refusing(302, { location: 'file:///etc/passwd' })
    expect((await failure(() => place.download(['config.json']))).found).toBe('file:///etc/passwd')
  })

  it('nothing', async () => {
    const { code, hint } = await failure(() => listFiles(settingsFor('http://127.0.0.1:9', place.cache), repository, 'main'))
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
    const { code, message } = await failure(() => listFiles(settingsFor(url, place.cache), repository, 'main'))
    expect(code).toBe('hub-listing-invalid')
    expect(message).toContain(what)
    liar.closeAllConnections()
    liar.close()
  })

  it('of more than the disk holds is refused before anything is asked for', async () => {
    const listing = await listFiles(place.settings, repository, 'main')
    const huge = { ...listing, files: [{ path: 'x', size: 2 ** 52, etag: 'a'.repeat(64), hash: 'sha256' as const }] }
    expect((await failure(() => downloadFiles(place.settings, huge, ['x'], { onEvent: place.onEvent }))).code).toBe('disk-full')
    expect(place.events).toEqual([])
  })
})
