import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { failure } from './failure.js'
import { checkAgainst, differing, type Expected, fixture, fixtures } from './support/tokenizers.js'

describe('a folder', () => {
  let tokenizer: Tokenizer
  let expected: Expected
  const temporary: string[] = []
  beforeAll(async () => {
    expected = await fixture('tiny.json')
    tokenizer = await loadTokenizer({ folder: join(fixtures, 'tiny') })
  })
  afterAll(() => Promise.all(temporary.map(folder => rm(folder, { recursive: true }))))

  /** A copy of the folder with some of its files replaced. */
  async function folderWith(files: Record<string, string>): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'gradprompt-tokenizer-'))
    temporary.push(folder)
    await cp(join(fixtures, 'tiny'), folder, { recursive: true })
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
    return folder
  }
  const json = async (change: (value: Record<string, Record<string, unknown>>) => void) => {
    const value = JSON.parse(await readFile(join(fixtures, 'tiny/tokenizer.json'), 'utf8'))
    change(value)
    return JSON.stringify(value)
  }

  checkAgainst(
    () => tokenizer,
    () => expected,
  )

  test('adds BOS and EOS unless told not to', () => {
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.unkTokenId, tokenizer.padTokenId]).toEqual([1, 2, 0, 3])
    expect(tokenizer.encode('', { addSpecialTokens: true })).toEqual([1, 2])
    expect(tokenizer.encode('', { addSpecialTokens: false })).toEqual([])
    expect(tokenizer.decode(tokenizer.encode('two words'))).toBe('<s>two words</s>')
    expect(tokenizer.vocabSize).toBe(521)
    expect(tokenizer.specialTokenIds).toEqual(new Set([0, 1, 2, 3]))
  })

  test('decodes what it encodes', () => {
    const text = fc.string({ unit: 'binary' }).filter(value => !/<(s|\/s|pad|unk|think)>/.test(value))
    fc.assert(
      fc.property(text, value => {
        expect(tokenizer.decode(tokenizer.encode(value, { addSpecialTokens: false }))).toBe(value)
      }),
      { numRuns: 500, seed: 4 },
    )
  })

  test('adds what its post-processor says, whatever add_bos_token and add_eos_token of the config are', async () => {
    const config = JSON.stringify({ bos_token: '<s>', eos_token: '</s>', add_bos_token: true, add_eos_token: false })
    const changed = await loadTokenizer({ folder: await folderWith({ 'tokenizer_config.json': config }) })
    expect(changed.encode('')).toEqual([1, 2])
    const without = await json(value => Object.assign(value, { post_processor: null }))
    const bare = await loadTokenizer({ folder: await folderWith({ 'tokenizer_config.json': config, 'tokenizer.json': without }) })
    expect(bare.encode('')).toEqual([])
    expect(bare.hash).not.toBe(changed.hash)
  })

  test('takes EOS from generation_config.json where no file names it', async () => {
    const folder = await folderWith({ 'tokenizer_config.json': '{}', 'generation_config.json': '{"eos_token_id":[2,3]}' })
    const changed = await loadTokenizer({ folder })
    expect([changed.bosTokenId, changed.eosTokenId]).toEqual([undefined, 2])
    expect(changed.endTokenIds).toEqual([2, 3])
  })

  test('takes a template from the config, also out of several', async () => {
    const chat_template = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'hello {{ messages[0].content }}' },
    ]
    const folder = await folderWith({ 'tokenizer_config.json': JSON.stringify({ chat_template }) })
    await rm(join(folder, 'chat_template.jinja'))
    const changed = await loadTokenizer({ folder })
    expect(changed.applyChatTemplate([{ role: 'user', content: 'you' }])).toBe('hello you')
  })

  test('merges in either notation', async () => {
    const strings = await json(value => {
      value.model!.merges = (value.model!.merges as [string, string][]).map(pair => pair.join(' '))
    })
    const changed = await loadTokenizer({ folder: await folderWith({ 'tokenizer.json': strings }) })
    expect(differing(changed, expected)).toEqual([])
  })

  test('says when there is no tokenizer', async () => {
    expect((await failure(() => loadTokenizer({ folder: 'test/fixtures' }))).code).toBe('file-not-found')
    expect((await failure(() => loadTokenizer({ folder: 'no/such/folder' }))).code).toBe('file-not-found')
  })

  test.each<[string, (value: Record<string, Record<string, unknown>>) => void, string]>([
    ['no model', value => delete value.model, 'invalid-tokenizer'],
    ['a model that is not known', value => Object.assign(value.model!, { type: 'Magic' }), 'unsupported-tokenizer'],
    ['a normalizer that is not known', value => Object.assign(value, { normalizer: { type: 'Magic' } }), 'unsupported-tokenizer'],
    [
      'a regular expression that is none',
      value => Object.assign(value, { pre_tokenizer: { type: 'Split', pattern: { Regex: '(' } } }),
      'unsupported-tokenizer',
    ],
    ['a vocabulary that is a list', value => Object.assign(value.model!, { vocab: ['a'] }), 'invalid-tokenizer'],
    ['an id that is a word', value => Object.assign(value.model!.vocab!, { a: 'one' }), 'invalid-tokenizer'],
    [
      'a prefix at every character',
      value => Object.assign(value.model!, { continuing_subword_prefix: 'a'.repeat(65) }),
      'invalid-tokenizer',
    ],
    ['a suffix that is a list', value => Object.assign(value.model!, { end_of_word_suffix: [] }), 'invalid-tokenizer'],
    ['a huge id', value => Object.assign(value.model!.vocab!, { a: 2 ** 31 }), 'invalid-tokenizer'],
    ['a negative id', value => Object.assign(value, { added_tokens: [{ id: -1, content: 'x' }] }), 'invalid-tokenizer'],
    ['an added token without content', value => Object.assign(value, { added_tokens: [{ id: 1 }] }), 'invalid-tokenizer'],
    ['an unknown token that is none', value => Object.assign(value.model!, { unk_token: 'nope' }), 'invalid-tokenizer'],
    ['merges left out by chance', value => Object.assign(value.model!, { dropout: 0.1 }), 'unsupported-tokenizer'],
    [
      'an id that its vocabulary does not give',
      value => Object.assign(value, { added_tokens: [{ id: 7777, content: 'new', special: false }] }),
      'invalid-tokenizer',
    ],
    ['a merge of three', value => Object.assign(value.model!, { merges: [['a', 'b', 'c']] }), 'invalid-tokenizer'],
    ['a merge into nothing known', value => Object.assign(value.model!, { merges: [['\u0120', '\u0121']] }), 'invalid-tokenizer'],
    [
      'a template that adds what is not there',
      value =>
        Object.assign(value, { post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<x>' } }] } }),
      'invalid-tokenizer',
    ],
  ])('refuses %s', async (_, change, code) => {
    const folder = await folderWith({ 'tokenizer.json': await json(change) })
    expect((await failure(() => loadTokenizer({ folder }))).code).toBe(code)
  })

  test('stops an expression that backtracks without end', async () => {
    const pattern = { Regex: '(a+)+$' }
    const split = await json(value => Object.assign(value, { pre_tokenizer: { type: 'Split', pattern, behavior: 'Isolated' } }))
    const slow = await loadTokenizer({ folder: await folderWith({ 'tokenizer.json': split }) })
    expect(slow.encode('aa b aa', { addSpecialTokens: false }).length).toBeGreaterThan(0)
    const error = await failure(() => slow.encode(`${'a'.repeat(40)}b`))
    expect(error.code).toBe('tokenizer-too-slow')
  })

  test('refuses a normalizer that doubles its text again and again', async () => {
    const normalizers = Array.from({ length: 40 }, () => ({ type: 'Replace', pattern: { String: 'a' }, content: 'aa' }))
    const text = await json(value => Object.assign(value, { normalizer: { type: 'Sequence', normalizers } }))
    const growing = await loadTokenizer({ folder: await folderWith({ 'tokenizer.json': text }) })
    expect((await failure(() => growing.encode('banana'))).code).toBe('text-grows')
  })

  test('refuses ten million values, and an expression of megabytes', async () => {
    const many = (await json(value => Object.assign(value, { extra: 'HERE' }))).replace('"HERE"', `[${'0,'.repeat(10_000_000)}0]`)
    const folder = await folderWith({ 'tokenizer.json': many })
    expect((await failure(() => loadTokenizer({ folder }))).code).toBe('invalid-tokenizer')
    const pattern = { Regex: 'a'.repeat(32_000_000) }
    const long = await json(value => Object.assign(value, { pre_tokenizer: { type: 'Split', pattern, behavior: 'Isolated' } }))
    const other = await folderWith({ 'tokenizer.json': long })
    expect((await failure(() => loadTokenizer({ folder: other }))).code).toBe('invalid-tokenizer')
  })

  test('refuses steps nested without end', async () => {
    const steps = `${'{"type":"Sequence","pretokenizers":['.repeat(50_000)}{"type":"ByteLevel"}${']}'.repeat(50_000)}`
    const text = (await json(value => Object.assign(value, { pre_tokenizer: 'HERE' }))).replace('"HERE"', steps)
    const folder = await folderWith({ 'tokenizer.json': text })
    expect((await failure(() => loadTokenizer({ folder }))).code).toBe('invalid-tokenizer')
  })

  test.each(['', '[]', 'null', '{"model":', '\u0000'])('refuses %j for a tokenizer.json', async text => {
    const folder = await folderWith({ 'tokenizer.json': text })
    expect((await failure(() => loadTokenizer({ folder }))).code).toBe('invalid-tokenizer')
  })
})
