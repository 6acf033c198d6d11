import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { type GgufValue, openGguf } from '../../src/formats/gguf.js'
import { type ChatMessage, loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { failure } from './failure.js'
import { checkAgainst, checkDecoding, differing, type Expected, fixture, type GgufExpected } from './support/tokenizers.js'

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

  test('merges, where there are none', async () => {
    expect((await open(['tokenizer.ggml.pre', 'qwen2'], ['tokenizer.ggml.merges', []])).encode('hey')).toEqual([4, 5, 6])
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
