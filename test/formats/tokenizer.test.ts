import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type GgufValue, openGguf } from '../../src/formats/gguf.js'
import { type ChatMessage, loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { failure } from './failure.js'

interface Encoded {
  texts: string[]
  ids: number[][]
}
interface Expected extends Encoded {
  decoded: Decoded
  conversations: { messages: ChatMessage[]; addGenerationPrompt: boolean; text: string }[]
}
type Decoded = { ids: number[]; text: string; skipped: string }[]
interface GgufExpected {
  vocabularies: Record<string, Record<string, GgufValue>>
  variants: (Encoded & { vocabulary: string; architecture: string; extra: Record<string, GgufValue>; decoded: Decoded })[]
}

const fixtures = 'test/fixtures/tokenizer'
const fixture = async <T>(name: string) => JSON.parse(await readFile(join(fixtures, name), 'utf8')) as T

/** The texts whose ids differ: a diff of thousands of ids would hide them. */
function differing(tokenizer: Tokenizer, { texts, ids }: Encoded): unknown[] {
  return texts
    .map((text, i) => ({ text, expected: ids[i], found: tokenizer.encode(text) }))
    .filter(({ expected, found }) => JSON.stringify(expected) !== JSON.stringify(found))
}

function checkDecoding(tokenizer: Tokenizer, decoded: Decoded): void {
  expect(decoded.length).toBeGreaterThan(0)
  for (const { ids, text, skipped } of decoded) {
    expect(tokenizer.decode(ids)).toBe(text)
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(skipped)
  }
}

function checkAgainst(tokenizer: () => Tokenizer, expected: () => Expected): void {
  test('gives the ids of transformers', () => {
    expect(differing(tokenizer(), expected())).toEqual([])
  })

  test('gives the text of transformers, also for ids that are no whole characters', () => {
    checkDecoding(tokenizer(), expected().decoded)
  })

  test('renders conversations as transformers does', () => {
    for (const { messages, addGenerationPrompt, text } of expected().conversations) {
      expect(tokenizer().applyChatTemplate(messages, { addGenerationPrompt })).toBe(text)
    }
  })
}

describe('the bundled model', () => {
  let tokenizer: Tokenizer
  let expected: Expected
  let metadata: ReadonlyMap<string, GgufValue>
  beforeAll(async () => {
    expected = await fixture('smollm2.json')
    const file = await openGguf('models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf')
    metadata = file.metadata
    await file.close()
    tokenizer = await loadTokenizer({ ggufMetadata: metadata })
  })

  checkAgainst(
    () => tokenizer,
    () => expected,
  )

  test('has 2,000 fixtures', () => expect(expected.texts.length).toBe(2000))

  test('knows its special tokens', () => {
    expect(tokenizer.vocabSize).toBe(49_152)
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.padTokenId, tokenizer.unkTokenId]).toEqual([1, 2, 2, 0])
    expect([...tokenizer.specialTokenIds]).toEqual(Array.from({ length: 17 }, (_, id) => id))
    expect(tokenizer.chatTemplate).toContain('<|im_start|>')
    for (const id of tokenizer.specialTokenIds) expect(tokenizer.encode(tokenizer.token(id))).toEqual([id])
  })

  test('shows pieces as people read them', () => {
    const [good, newline] = tokenizer.encode(' good\n')
    expect(tokenizer.token(good!)).toBe(' good')
    expect(tokenizer.token(newline!)).toBe('\n')
    expect(tokenizer.token(2)).toBe('<|im_end|>')
    expect(tokenizer.encode('😀').map(id => tokenizer.token(id))).toContain('\uFFFD')
    expect(tokenizer.token(1_000_000)).toBe('')
  })

  test('gives nothing for ids without a token, and refuses what can be no id', async () => {
    expect(tokenizer.decode([])).toBe('')
    expect(tokenizer.decode([19_556, 60_000, 905])).toBe('Hello world')
    for (const id of [-1, 0.5, Number.NaN]) expect((await failure(() => tokenizer.decode([id]))).code).toBe('invalid-token-id')
  })

  test('decodes what it encodes', () => {
    // A few bytes that no common text needs have no token in this vocabulary: such characters vanish, as in transformers.
    const missing = new Set<string>()
    for (let code = 0; code < 0x20; code++)
      if (tokenizer.encode(String.fromCharCode(code)).length === 0) missing.add(String.fromCharCode(code))
    const characters = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' }), fc.string())
    const text = characters.map(raw =>
      [...raw].filter(character => !missing.has(character) && !isPrivateOrHigh(character)).join(''),
    )
    fc.assert(
      fc.property(text, value => {
        expect(tokenizer.decode(tokenizer.encode(value))).toBe(value)
      }),
      { numRuns: 500, seed: 3 },
    )
  })

  test('takes a word of 30,000 characters and 30,000 spaces', () => {
    for (const text of ['x'.repeat(30_000), ' '.repeat(30_000), 'ab'.repeat(15_000)]) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
    }
  })

  test('has a hash that depends on the ids alone', async () => {
    const changed = (key: string, value: GgufValue) => loadTokenizer({ ggufMetadata: new Map([...metadata, [key, value]]) })
    expect(tokenizer.hash).toMatch(/^[0-9a-f]{64}$/)
    expect((await changed('tokenizer.chat_template', '{{ messages }}')).hash).toBe(tokenizer.hash)
    expect((await changed('tokenizer.ggml.pre', 'llama-bpe')).hash).not.toBe(tokenizer.hash)
    expect((await changed('tokenizer.ggml.add_bos_token', true)).hash).not.toBe(tokenizer.hash)
  })

  test.each<[string, GgufValue | undefined, string]>([
    ['tokenizer.ggml.model', undefined, 'invalid-tokenizer'],
    ['tokenizer.ggml.model', 'lama', 'unknown-tokenizer-model'],
    ['tokenizer.ggml.model', 3, 'invalid-tokenizer'],
    ['tokenizer.ggml.pre', 'quen2', 'unknown-pre-tokenizer'],
    ['tokenizer.ggml.tokens', undefined, 'invalid-tokenizer'],
    ['tokenizer.ggml.tokens', [], 'invalid-tokenizer'],
    ['tokenizer.ggml.tokens', ['a', 'b', 'c'], 'invalid-tokenizer'],
    ['tokenizer.ggml.token_type', Int32Array.of(1, 2), 'invalid-tokenizer'],
    ['tokenizer.ggml.merges', ['a b c'], 'invalid-tokenizer'],
    ['tokenizer.ggml.merges', ['ab'], 'invalid-tokenizer'],
    ['tokenizer.ggml.merges', ['€ €'], 'invalid-tokenizer'],
    ['tokenizer.ggml.bos_token_id', 49_152, 'invalid-tokenizer'],
    ['tokenizer.ggml.eos_token_id', -1, 'invalid-tokenizer'],
    ['tokenizer.ggml.add_bos_token', 'yes', 'invalid-tokenizer'],
  ])('refuses %s = %j', async (key, value, code) => {
    const broken = new Map(metadata)
    if (value === undefined) broken.delete(key)
    else broken.set(key, value)
    const error = await failure(() => loadTokenizer({ ggufMetadata: broken }))
    expect(error.code).toBe(code)
  })

  test('names the known pre-tokenizers and the closest', async () => {
    const error = await failure(() => loadTokenizer({ ggufMetadata: new Map([...metadata, ['tokenizer.ggml.pre', 'quen2']]) }))
    expect(error.found).toBe('quen2')
    expect(error.expected).toContain('llama-bpe')
    expect(error.hint).toContain('qwen2')
  })

  test("passes on a template's refusal, and says when there is none or it is no Jinja", async () => {
    const user: ChatMessage[] = [{ role: 'user', content: 'hi' }]
    const withTemplate = (template: string) =>
      loadTokenizer({ ggufMetadata: new Map([...metadata, ['tokenizer.chat_template', template]]) })
    const refusing = await withTemplate("{{ raise_exception('roles must alternate') }}")
    const refusal = await failure(() => refusing.applyChatTemplate(user))
    expect([refusal.code, refusal.message]).toEqual(['chat-template-failed', expect.stringContaining('roles must alternate')])
    const broken = await withTemplate('{% for message in %}')
    expect((await failure(() => broken.applyChatTemplate(user))).code).toBe('invalid-chat-template')
    expect((await failure(() => tokenizer.applyChatTemplate([]))).code).toBe('empty-conversation')
    const without = new Map(metadata)
    without.delete('tokenizer.chat_template')
    const base = await loadTokenizer({ ggufMetadata: without })
    expect(base.chatTemplate).toBeUndefined()
    expect((await failure(() => base.applyChatTemplate(user))).code).toBe('no-chat-template')
  })

  test("gives a template variables of the caller's own", async () => {
    const template = '{{ bos_token }}{% if tools is none %}-{% endif %}{{ mood }}{% if messages[0].name is defined %}!{% endif %}'
    const own = await loadTokenizer({ ggufMetadata: new Map([...metadata, ['tokenizer.chat_template', template]]) })
    expect(own.applyChatTemplate([{ role: 'user', content: '', name: null }], { mood: 'calm' })).toBe('<|im_start|>-calm')
  })
})

/** Characters whose UTF-8 has a byte that this vocabulary lacks: F1 and above. */
function isPrivateOrHigh(character: string): boolean {
  return character.codePointAt(0)! >= 0x40000
}

describe('GGUF files of every kind', async () => {
  const { vocabularies, variants } = await fixture<GgufExpected>('gguf.json')
  test.each(variants)('$vocabulary, $architecture, $extra', async ({ vocabulary, architecture, extra, decoded, ...encoded }) => {
    const metadata = new Map<string, GgufValue>([['general.architecture', architecture]])
    for (const [key, value] of Object.entries({ ...vocabularies[vocabulary], ...extra })) {
      metadata.set(`tokenizer.ggml.${key}`, key === 'scores' ? Float32Array.from(value as unknown as number[]) : value)
    }
    const tokenizer = await loadTokenizer({ ggufMetadata: metadata })
    expect(differing(tokenizer, encoded)).toEqual([])
    checkDecoding(tokenizer, decoded)
  })
})

describe('a GGUF file that leaves things out', () => {
  // The bytes that matter, merges of no word but "he", and a word that no merge makes.
  const tokens = ['<s>', '</s>', '<|eot_id|>', '<|eom_id|>', 'h', 'e', 'y', 'Ġ', 'he', 'hey', '<|im_end|>']
  const base: [string, GgufValue][] = [
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', Int32Array.of(3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 3)],
    ['tokenizer.ggml.merges', ['h e']],
    ['tokenizer.ggml.bos_token_id', 0],
    ['tokenizer.ggml.eos_token_id', 1],
  ]
  const open = (...more: [string, GgufValue][]) => loadTokenizer({ ggufMetadata: new Map([...base, ...more]) })

  test.each([
    ['llama-bpe', [0, 9]],
    ['llama3', [0, 9]],
    ['pixtral', [0, 9]],
    ['tekken', [0, 9]],
    ['smaug-bpe', [8, 6]],
    ['qwen2', [8, 6]],
    ['gpt-2', [8, 6]],
    ['default', [8, 6]],
  ])('%s: BOS, and merges or none for whole words, as llama.cpp has it', async (pre, ids) => {
    expect((await open(['tokenizer.ggml.pre', pre])).encode('hey')).toEqual(ids)
  })

  test('BOS is what the file says where it says it', async () => {
    const without = await open(['tokenizer.ggml.pre', 'llama-bpe'], ['tokenizer.ggml.add_bos_token', false])
    expect(without.encode('hey')).toEqual([9])
    const added = await open(['tokenizer.ggml.pre', 'qwen2'], ['tokenizer.ggml.add_bos_token', true])
    expect(added.encode('hey')).toEqual([0, 8, 6])
    const nameless = new Map([...base, ['tokenizer.ggml.add_eos_token', true] as const])
    nameless.delete('tokenizer.ggml.eos_token_id')
    expect((await failure(() => loadTokenizer({ ggufMetadata: nameless }))).code).toBe('invalid-tokenizer')
  })

  test('a pre-tokenizer with a name of 32 MB is refused at once', async () => {
    const start = process.cpuUsage()
    const error = await failure(() => open(['tokenizer.ggml.pre', 'llama'.repeat(6_400_000)]))
    expect([error.code, error.found?.length]).toEqual(['unknown-pre-tokenizer', 64])
    expect(process.cpuUsage(start).user).toBeLessThan(1_000_000)
  })

  test('every end of a text, a turn and a message is an end, named or known by its text', async () => {
    const tokenizer = await open(['tokenizer.ggml.eot_token_id', 6], ['tokenizer.ggml.eom_token_id', 3])
    expect([tokenizer.eosTokenId, tokenizer.endTokenIds]).toEqual([1, [1, 6, 3, 2, 10]])
    expect((await failure(() => open(['tokenizer.ggml.eot_token_id', 99]))).code).toBe('invalid-tokenizer')
  })

  test('an unknown token outside the vocabulary is refused', async () => {
    expect((await failure(() => open(['tokenizer.ggml.unknown_token_id', 11]))).code).toBe('invalid-tokenizer')
  })
})

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
