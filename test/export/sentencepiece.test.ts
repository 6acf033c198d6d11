import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { learnedRun } from '../../scripts/check/exported-prompts.js'
import { exportPrompt } from '../../src/api/export.js'
import type { SelfTest } from '../../src/export/self-test.js'
import { openGguf } from '../../src/formats/gguf.js'
import { tokenizerFromGguf } from '../../src/formats/gguf-tokenizer.js'
import { ggufTokenizer } from '../../src/formats/gguf-tokenizer-writer.js'
import { asLlamaReads, spacePrefixOf } from '../../src/formats/tokenize/sentencepiece.js'
import { createTokenizerCore } from '../../src/formats/tokenizer-core.js'
import { tokenizerFromFolder } from '../../src/formats/tokenizer-folder.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'

/**
 * Folders with a tokenizer of SentencePiece's kind as GGUF files. The texts' ids are those of transformers; llama.cpp has given the same for
 * the written files (`npm run test:consumers`).
 */

const source = 'test/fixtures/models/llama-sentencepiece'
const expected = JSON.parse(readFileSync('test/fixtures/tokenizer/sentencepiece.json', 'utf8')) as {
  texts: string[]
  ids: Record<'first' | 'always' | 'never', number[][]>
}

type Json = Record<string, unknown>

const underscores = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
const changes: Record<string, Json> = {
  first: {},
  always: {
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, underscores] },
    pre_tokenizer: null,
  },
  never: { normalizer: underscores, pre_tokenizer: null },
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-sentencepiece-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The fixture with another tokenizer.json; one that is run as it stands, but for `first`. */
function changed(
  name: string,
  change: (tokenizer: Json) => Json,
  config: Json = { tokenizer_class: 'TokenizersBackend' },
): string {
  const place = join(folder, name)
  cpSync(source, place, { recursive: true })
  for (const [file, made] of Object.entries({
    'tokenizer.json': change,
    'tokenizer_config.json': (own: Json) => ({ ...own, ...config }),
  })) {
    const path = join(place, file)
    writeFileSync(path, JSON.stringify(made(JSON.parse(readFileSync(path, 'utf8')) as Json)))
  }
  return place
}

async function exported(place: string, template: Parameters<typeof learnedRun>[3]) {
  const model = await LanguageModel.load(place)
  const out = `${place}-out`
  try {
    await exportPrompt(await learnedRun(model, place, 'prompt-tuning', template), { to: 'gguf', out, model, dtype: 'F32' })
    const file = await openGguf(join(out, readdirSync(out).find(name => name.endsWith('.gguf'))!))
    const { metadata } = file
    await file.close()
    const { cases } = JSON.parse(readFileSync(join(out, 'self-test.json'), 'utf8')) as SelfTest
    return { metadata, cases }
  } finally {
    await model.dispose()
  }
}

test.each(['first', 'always', 'never'] as const)(
  'a space in front %s: the written file reads texts as transformers reads the folder',
  async scheme => {
    const place = changed(scheme, own => ({ ...own, ...changes[scheme] }), scheme === 'first' ? {} : undefined)
    const { metadata, cases } = await exported(place, { template: 'the wine and the stone are on the {text} -' })
    const prefixed = scheme !== 'never'
    expect(metadata.get('tokenizer.ggml.model')).toBe('llama')
    expect(metadata.get('tokenizer.ggml.add_space_prefix')).toBe(prefixed)
    expect(metadata.get('tokenizer.ggml.add_bos_token')).toBe(false)
    const types = metadata.get('tokenizer.ggml.token_type') as unknown as number[]
    expect([...types.slice(0, 4), types[701], types.at(-1)]).toEqual([2, 3, 3, 6, 4, 3])
    const { definition } = tokenizerFromGguf(metadata)
    const { encode } = createTokenizerCore(asLlamaReads(definition, prefixed))
    // What begins with a space, or goes on behind a special token, llama.cpp reads otherwise than `first` says.
    const isPlain = (text: string) => !/^[ ▁]|<(s|think|start_of_turn)>/.test(text)
    for (const [i, text] of expected.texts.entries())
      if (scheme !== 'first' || isPlain(text)) expect([text, encode(text, false)]).toEqual([text, expected.ids[scheme][i]])
    for (const { text, ids } of cases) expect(encode(text!, false)).toEqual(ids)
  },
)

test('a chat template that begins with BOS wants no space where `first` says so', async () => {
  const chat = '{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message.content }}{% endfor %}'
  const place = changed('chat', own => own, { chat_template: chat })
  const { metadata } = await exported(place, { template: [{ role: 'user', content: 'the {text}' }] as never })
  expect(metadata.get('tokenizer.ggml.add_space_prefix')).toBe(false)
})

test('a template that llama.cpp would read otherwise is refused', async () => {
  const place = changed('spaced', own => own, {})
  const problem = await problemOf(exported(place, { template: '{text} <start_of_turn>the' }))
  expect(problem).toMatchObject({ code: 'not-exportable', found: expect.stringContaining('<start_of_turn>the') })
})

const model = (change: (own: Json & { vocab: Record<string, number>; merges: string[][] }) => Json) => (own: Json) => ({
  ...own,
  model: change(own.model as never),
})

test.each<[string, (own: Json) => Json, string]>([
  [
    'a way to cut a token that is no merge',
    model(own => ({ ...own, merges: own.merges.slice(1) })),
    'a merge for every way to cut it',
  ],
  [
    'a token that two places of the list make',
    model(own => ({ ...own, merges: own.merges.toSorted(([a], [b]) => (a! < b! ? -1 : 1)) })),
    'all of them in a row',
  ],
  ['no token for some byte', model(own => ({ ...own, vocab: renamed(own.vocab) })), '<0x00> to <0xFF>'],
  ['pieces that are tokens whatever the merges say', model(own => ({ ...own, ignore_merges: true })), 'none'],
  ['another normaliser', own => ({ ...own, normalizer: { type: 'NFKC' } }), 'spaces as ▁'],
  [
    'pieces cut at spaces',
    own => ({ ...own, pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: true } }),
    'spaces as ▁',
  ],
  [
    'a token that takes the space behind it',
    own => ({ ...own, added_tokens: (own.added_tokens as Json[]).map(token => ({ ...token, rstrip: true })) }),
    'no lstrip',
  ],
])('%s is refused', async (name, change, says) => {
  const parts = await tokenizerFromFolder(changed(`refused ${name}`, change))
  const problem = await problemOf(
    (async () => {
      ggufTokenizer(parts, true)
      spacePrefixOf(parts.definition)
    })(),
  )
  expect(problem).toMatchObject({ code: 'unsupported-tokenizer', expected: expect.stringContaining(says) })
})

const renamed = (vocab: Record<string, number>) =>
  Object.fromEntries(Object.entries(vocab).map(([token, id]) => [token === '<0x41>' ? '<other>' : token, id]))
