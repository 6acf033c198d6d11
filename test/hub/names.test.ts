import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { retryAfter } from '../../src/hub/client.js'
import { formatHubName, isRepositoryPath, parseHubName } from '../../src/hub/name.js'
import { hubSettings } from '../../src/hub/settings.js'

describe('names of the Hub', () => {
  it.each([
    ['Qwen/Qwen2.5-0.5B', { id: 'Qwen/Qwen2.5-0.5B', revision: 'main', explicit: false }],
    ['hf:a/b', { id: 'a/b', revision: 'main', explicit: true }],
    ['a/b@v1.0', { id: 'a/b', revision: 'v1.0', explicit: false }],
    ['a/b@refs/pr/3', { id: 'a/b', revision: 'refs/pr/3', explicit: false }],
    ['a/b:model-Q4_K_M.gguf', { id: 'a/b', revision: 'main', file: 'model-Q4_K_M.gguf', explicit: false }],
    ['a/b@main:q4/m-00001-of-00002.gguf', { id: 'a/b', revision: 'main', file: 'q4/m-00001-of-00002.gguf', explicit: false }],
  ])('%s', (name, parts) => {
    expect(parseHubName(name)).toEqual(parts)
    expect(parseHubName(formatHubName(parts))).toEqual({ ...parts, explicit: false })
  })

  it.each([
    'gpt2',
    'a/b/c',
    './a/b',
    '/a/b',
    'a/..',
    '../a',
    'a/b:../../x.gguf',
    'a/b:c.bin',
    'a/b:C:\\x.gguf',
    'a--b/c',
    'a/b@../x',
    'a/b@',
    'a b/c',
    '',
  ])('%j is none', name => {
    expect(parseHubName(name)).toBeUndefined()
  })

  it('whatever a name holds, its file stays in the repository', () => {
    fc.assert(
      fc.property(fc.string(), text => {
        const file = parseHubName(`a/b:${text}.gguf`)?.file
        if (file !== undefined) expect(join('/x/y', file).startsWith('/x/y/')).toBe(true)
        if (isRepositoryPath(text)) expect(join('/x/y', text).startsWith('/x/y/')).toBe(true)
      }),
    )
  })
})

describe('settings', () => {
  const home = join(homedir(), '.cache', 'huggingface')

  it.each<[Record<string, string>, object]>([
    [{}, { endpoint: 'https://huggingface.co', cache: join(home, 'hub'), offline: false }],
    [{ XDG_CACHE_HOME: '/x' }, { cache: join('/x', 'huggingface', 'hub') }],
    [{ HF_HOME: '/h' }, { cache: join('/h', 'hub') }],
    [{ HF_HOME: '/h', HF_HUB_CACHE: '/c' }, { cache: '/c' }],
    [{ HUGGINGFACE_HUB_CACHE: '/old' }, { cache: '/old' }],
    [{ HF_ENDPOINT: 'https://mirror.test//' }, { endpoint: 'https://mirror.test' }],
    [{ HF_HUB_OFFLINE: '1' }, { offline: true }],
    [{ HF_HUB_OFFLINE: 'True' }, { offline: true }],
    [{ HF_HUB_OFFLINE: '0' }, { offline: false }],
    [{ TRANSFORMERS_OFFLINE: 'yes' }, { offline: true }],
    [{ HF_TOKEN: ' hf_a \n' }, { token: 'hf_a' }],
  ])('%j', (environment, expected) => {
    expect(hubSettings(environment)).toMatchObject(expected)
  })

  it('the token that Python has kept is used, unless that is off', () => {
    const folder = mkdtempSync(join(tmpdir(), 'gradprompt-hub-'))
    writeFileSync(join(folder, 'token'), 'hf_kept\n')
    expect(hubSettings({ HF_HOME: folder }).token).toBe('hf_kept')
    expect(hubSettings({ HF_HOME: folder, HF_TOKEN: 'hf_given' }).token).toBe('hf_given')
    expect(hubSettings({ HF_HOME: folder, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }).token).toBeUndefined()
    expect(hubSettings({ HF_TOKEN_PATH: join(folder, 'token') }).token).toBe('hf_kept')
    rmSync(folder, { recursive: true })
  })
})

describe('how long a server wants to be left alone', () => {
  const now = Date.parse('2024-05-01T00:00:00Z')
  it.each([
    [null, undefined],
    ['', undefined],
    ['7', 7],
    ['0.5', 0.5],
    ['-3', 0],
    ['Wed, 01 May 2024 00:01:00 GMT', 60],
    ['Tue, 30 Apr 2024 00:01:00 GMT', 0],
    ['soon', undefined],
  ])('%j', (value, seconds) => {
    expect(retryAfter(value, now)).toBe(seconds)
  })
})
