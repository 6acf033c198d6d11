import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sweepConfigSchema } from '../../src/api/sweep/plan.js'
import { loadConfigFile, mergeFlags } from '../../src/config/load.js'
import { alternatives, listOptions, type OptionSchema, schemasAt } from '../../src/config/options.js'
import { searchConfigJsonSchema } from '../../src/search/config.js'
import { configJsonSchema, parseConfig } from '../../src/train/config.js'
import { problem, problemOf } from '../support/problem.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-config-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}

const merged = (config: Readonly<Record<string, unknown>>, flags: Readonly<Record<string, unknown>>) =>
  mergeFlags(config, flags, configJsonSchema())

describe('files', () => {
  const yaml = `
model: models/smollm2-135m-instruct        # folder, .gguf file, or Hub id
data:
  train: examples/sst2/train.tsv
  columns: [text, label]
  labels: { "0": negative, 1: positive }
template: "Review: {text}\\nSentiment:"
answer: " {label}"
method: { type: prompt-tuning, numVirtualTokens: 20, init: { type: text, text: "Classify the sentiment" } }
train: { steps: 400, batchSize: 16, learningRate: 1e-2 }
`
  test('YAML, with number keys and comments', async () => {
    const config = parseConfig(await loadConfigFile(await file('a.yaml', yaml)))
    expect(config.data.labels).toEqual({ 0: 'negative', 1: 'positive' })
    expect(config.template).toBe('Review: {text}\nSentiment:')
    expect(config.train.learningRate).toBe(0.01)
  })

  test('JSON', async () => {
    const config = { data: { train: 'a' }, template: [{ role: 'user', content: '{a}' }], answer: '{b}' }
    expect(await loadConfigFile(await file('a.json', JSON.stringify(config, null, 2)))).toEqual(config)
  })

  test('a schema named for editors is no option', async () => {
    expect(await loadConfigFile(await file('s.json', '{ "$schema": "schemas/tune.json", "answer": "{b}" }'))).toEqual({
      answer: '{b}',
    })
  })

  test('paths stay as they are written', async () => {
    expect(await loadConfigFile(await file('b.yaml', 'data: { train: ./x/../y.tsv }'))).toEqual({
      data: { train: './x/../y.tsv' },
    })
  })

  test.each([
    ['a: [1, 2\nb: 3\n', /c\.yaml:2:\d+: /],
    ['a: 1\na: 2\n', /c\.yaml:2:1: .*unique/],
    ['', /c\.yaml is not a config/],
    ['- 1\n', /c\.yaml is not a config/],
    ['text', /c\.yaml is not a config/],
  ])('%j is refused', async (text, message) => {
    const error = await problemOf(loadConfigFile(await file('c.yaml', text)))
    expect(error.code).toBe('invalid-config')
    expect(error.message).toMatch(message)
  })

  test('aliases that grow without end are refused', async () => {
    const levels = Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(', ')}]`)
    const error = await problemOf(loadConfigFile(await file('d.yaml', ['a0: &a0 x', ...levels].join('\n'))))
    expect(error.code).toBe('invalid-config')
  })

  test.each([
    ['model: &m { a: [*m] }', 'an alias names what it stands in'],
    ['&all\nmodel: *all', 'an alias names what it stands in'],
    [`model: ${'['.repeat(50_000)}`, 'it is nested too deeply'],
  ])('%# one that has no end is refused', async (text, message) => {
    const error = await problemOf(loadConfigFile(await file('e.yaml', text)))
    expect(error).toMatchObject({ code: 'invalid-config', message: expect.stringContaining(message) })
  })

  test('one part may be named twice', async () => {
    expect(await loadConfigFile(await file('f.yaml', 'a: &a [1]\nb: { c: *a, d: *a }'))).toMatchObject({ b: { c: [1], d: [1] } })
  })

  test('a missing file', async () => {
    expect(await problemOf(loadConfigFile(join(folder, 'none.yaml')))).toMatchObject({ code: 'file-not-found', exitCode: 2 })
  })
})

describe('flags', () => {
  test('are read as the option says, kebab-case or camelCase', () => {
    const flags = {
      'train.learning-rate': '1e-3',
      'train.batchSize': '8',
      'train.max-gradient-norm': 'null',
      'train.truncate': true,
      'data.columns': 'text, label',
      'data.limit': '{ dev: 5 }',
      'data.labels.0': 'no',
      'data.labels.very-good': 'yes',
      'data.train': '2024',
      template: '{text}: 3',
      answer: '12',
      'method.num-virtual-tokens': '5',
      seed: undefined,
    }
    expect(merged({ train: { learningRate: 1, warmup: 0.1 }, seed: 7 }, flags)).toEqual({
      train: { learningRate: 0.001, warmup: 0.1, batchSize: 8, maxGradientNorm: null, truncate: true },
      data: { columns: ['text', 'label'], limit: { dev: 5 }, labels: { 0: 'no', 'very-good': 'yes' }, train: '2024' },
      template: '{text}: 3',
      answer: '12',
      method: { numVirtualTokens: 5 },
      seed: 7,
    })
  })

  test('a mapping may be written as pairs', () => {
    const labelsOf = (text: string) => (merged({}, { 'data.labels': text }).data as Record<string, unknown>).labels
    expect(labelsOf('0=no, 1 = very good')).toEqual({ 0: 'no', 1: 'very good' })
    expect(labelsOf('a=x=y')).toEqual({ a: 'x=y' })
    expect(labelsOf('{ a: b=c }')).toEqual({ a: 'b=c' })
    // A name that stands there twice has no value of its own.
    expect(labelsOf('a=x,a=y')).toBe('a=x,a=y')
  })

  test('a mapping or a list in the place of a name is what it says', () => {
    const read = (path: string, text: string) => {
      const [first, second] = path.split('.') as [string, string | undefined]
      const value = mergeFlags({}, { [path]: text }, searchConfigJsonSchema())[first]
      return second === undefined ? value : (value as Record<string, unknown>)[second]
    }
    const judge = { url: 'http://127.0.0.1:8080/v1', model: 'm' }
    expect(read('search.judge', JSON.stringify(judge))).toEqual(judge)
    expect(read('search.optimizer', '{ url: "http://127.0.0.1:8080/v1", model: m }')).toEqual(judge)
    expect(read('search.judge', 'models/{a}')).toBe('models/{a}')
    expect(read('search.judge', '{a} model')).toBe('{a} model')
    expect(read('search.prompt', '[" a", {"frozen": " b"}]')).toEqual([' a', { frozen: ' b' }])
    expect(read('search.prompt', '[a, b]')).toBe('[a, b]')
    expect(read('template', '[{"role": "user", "content": "{text}"}]')).toEqual([{ role: 'user', content: '{text}' }])
    // Texts that stand in braces or brackets, and may be nothing else.
    expect(read('template', '[INST] {text} [/INST]')).toBe('[INST] {text} [/INST]')
    expect(read('template', '{text}')).toBe('{text}')
    expect(read('answer', '["a"]')).toBe('["a"]')
  })

  const schemas: Readonly<Record<string, () => OptionSchema>> = {
    tune: configJsonSchema,
    search: searchConfigJsonSchema,
    sweep: () => sweepConfigSchema('tune'),
  }
  test.each(Object.keys(schemas))('every number and switch of %s can be given, also beside a word or a list', name => {
    const root = schemas[name]!()
    const read = (path: string, text: string) =>
      path
        .split('.')
        .reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], mergeFlags({}, { [path]: text }, root))
    const checked = { numbers: 0, beside: 0, lists: 0 }
    for (const { path } of listOptions(root)) {
      const kinds = schemasAt(root, path.split('.')).flatMap(schema => alternatives(schema))
      const types = kinds.flatMap(kind => ((kind.const ?? kind.enum) === undefined ? kind.type : []))
      if (types.includes('string')) continue
      if (types.includes('integer') || types.includes('number')) {
        expect(read(path, '3'), path).toBe(3)
        checked.numbers++
        if (kinds.length > 1) checked.beside++
      }
      if (types.includes('boolean')) expect(read(path, 'true'), path).toBe(true)
      for (const { const: word, enum: words = [word] } of kinds)
        for (const one of words) if (typeof one === 'string') expect(read(path, one), path).toBe(one)
      const items = kinds.flatMap(kind => schemasAt(kind, [0])).flatMap(schema => alternatives(schema))
      if (!items.some(({ type }) => type === 'integer' || type === 'number')) continue
      expect(read(path, '3,5'), path).toEqual([3, 5])
      checked.lists++
    }
    expect(checked.numbers).toBeGreaterThan(10)
    expect(checked.beside).toBeGreaterThan(0)
    if (name === 'sweep') expect(checked.lists).toBeGreaterThan(0)
  })

  test('take out what they contradict', () => {
    const config = { train: { epochs: 2 }, method: { type: 'prompt-tuning', init: { type: 'text', text: 'x' } } }
    expect(merged(config, { 'train.steps': '10' })).toEqual({ ...config, train: { steps: 10 } })
    expect(merged({ train: { steps: 2 } }, { 'train.epochs': '10' })).toEqual({ train: { epochs: 10 } })
    expect(merged(config, { 'method.init.scale': '2', 'method.init.type': 'random' }).method).toEqual({
      type: 'prompt-tuning',
      init: { type: 'random', scale: 2 },
    })
    expect(merged(config, { 'method.init.type': 'text' })).toEqual(config)
    expect(merged(config, { 'train.steps': '10', 'train.epochs': '3' }).train).toEqual({ steps: 10, epochs: 3 })
  })

  test('leave the config as it was', () => {
    const config = { train: { steps: 1 }, data: { labels: { a: 'b' } } }
    const copy = structuredClone(config)
    merged(config, { 'train.epochs': '2', 'data.labels.c': 'd' })
    expect(config).toEqual(copy)
  })

  test.each([
    ['train.lerning-rate', 'did you mean --train.learning-rate?'],
    ['learning-rate', 'did you mean --train.learning-rate?'],
    ['trian.steps', 'did you mean --train?'],
    ['__proto__.x', undefined],
    ['seed.x', undefined],
  ])('--%s is unknown', (flag, hint) => {
    const error = problem(() => merged({}, { [flag]: '1' }))
    expect(error.code).toBe('unknown-option')
    expect(error.hint).toBe(hint)
  })

  test('text that cannot be read', () => {
    expect(problem(() => merged({}, { 'data.limit': '{' }))).toMatchObject({ code: 'invalid-config', found: '{' })
    expect(problem(() => parseConfig(merged({}, { 'train.learning-rate': 'fast' }))).code).toBe('invalid-config')
  })

  test('any text reaches a text option unchanged', () => {
    fc.assert(
      fc.property(fc.string(), text => {
        expect(merged({}, { template: text, 'data.labels.a': text })).toEqual({
          template: text,
          data: { labels: { a: text } },
        })
      }),
    )
  })
})
