import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { exportPrompt } from '../../src/api/export.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { readSources } from '../../src/sources/initial-prompts.js'
import { openPrompt } from '../../src/sources/open.js'
import { problemOf } from '../support/problem.js'
import { toyModel } from '../train/toy.js'

const fixtures = 'test/fixtures/imports'
let folder: string
let model: LanguageModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-imports-'))
  model = await LanguageModel.load(toyModel)
})
afterAll(async () => {
  await model.dispose()
  rmSync(folder, { recursive: true, force: true })
})

const written = (name: string, content: string | Uint8Array) => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
/** As scripts/fixtures/imports.py makes them. */
const expected = Float32Array.from({ length: 192 }, (_, i) => ((i % 96) - 48) / 64)
const rowsOf = async (path: string) => (await (await openPrompt(path)).active(model))?.parameters.get('prompt')

describe('rows', () => {
  test.each(['lzma.zip', 'deflated-bfloat16.zip', 'rows.npy'])('%s, as Python wrote it', async name => {
    expect(await rowsOf(join(fixtures, name))).toEqual(expected)
  })

  test('raw numbers are as wide as the model, and what LZMA packs comes out to the bit', async () => {
    const noise = await rowsOf(join(fixtures, 'noise.f32'))
    expect(noise).toHaveLength(160)
    expect(await rowsOf(join(fixtures, 'noise-lzma.zip'))).toEqual(noise)
  })

  test('they are converted, read again, evaluated, and started from', async () => {
    const out = join(folder, 'converted')
    await exportPrompt(join(fixtures, 'rows.npy'), { to: 'embeds', out, model })
    expect(await rowsOf(join(out, 'prompt_embeds.safetensors'))).toEqual(expected)
    const container = join(folder, 'container')
    await exportPrompt(join(fixtures, 'lzma.zip'), { to: 'gradprompt', out: container, model })
    expect(await rowsOf(container)).toEqual(expected)
    const data = [
      { text: 'the', label: 'of' },
      { text: 'of', label: 'the' },
    ]
    const { metrics } = await evaluate({
      model,
      data,
      template: '{text} -',
      answer: ' {label}',
      prompt: join(fixtures, 'rows.npy'),
    })
    const { metrics: native } = await evaluate({ model, data, template: '{text} -', answer: ' {label}', prompt: container })
    expect(metrics).toEqual(native)
    const target = { name: model.name, hash: model.hash, hiddenSize: 32 }
    const [source] = await readSources([join(fixtures, 'rows.npy')], target, 6)
    expect(await source!.rows()).toEqual(expected)
    expect(await problemOf(readSources([join(fixtures, 'rows.npy')], target, 5))).toMatchObject({
      code: 'prompt-length-mismatch',
    })
  })

  const header = (text: string) =>
    Buffer.concat([Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, text.length, 0]), Buffer.from(text)])
  const npy = (shape: string, numbers: Float32Array, descr = '<f4') =>
    Buffer.concat([header(`{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`), Buffer.from(numbers.buffer)])

  test.each([
    ['a pickle in .npy', () => join(fixtures, 'pickled.npy'), { code: 'invalid-npy', hint: expect.stringContaining('pickle') }],
    [
      'a pickle',
      () => written('x.bin', Buffer.from([0x80, 2, 0x7d, 0x2e])),
      { code: 'not-a-prompt', hint: expect.stringContaining('safetensors.torch') },
    ],
    ['a pickle by another name', () => written('x.dat', Buffer.from([0x80, 4, 0x95, 0x2e])), { code: 'not-a-prompt' }],
    [
      'NaN',
      () => written('nan.npy', npy('1, 32', new Float32Array(32).fill(Number.NaN))),
      { code: 'not-a-prompt', found: 'number 0 is NaN' },
    ],
    [
      'another width',
      () => written('wide.npy', npy('2, 16', new Float32Array(32))),
      { code: 'model-mismatch', found: 'rows of 16 numbers' },
    ],
    ['a header that lies', () => written('lies.npy', npy('99999999, 99999999', new Float32Array(32))), { code: 'invalid-npy' }],
    ['three axes', () => written('three.npy', npy('1, 1, 32', new Float32Array(32))), { code: 'not-a-prompt' }],
    ['a note', () => written('prompt.yaml', 'a: ['), { code: 'not-a-prompt', hint: expect.stringContaining('.txt') }],
    ['a longer note', () => written('notes.md', 'Say it. '.repeat(40)), { code: 'not-a-prompt' }],
    ['half a number', () => written('half.f32', Buffer.alloc(130)), { code: 'not-a-prompt' }],
    ['a row and a half', () => written('row.f32', Buffer.alloc(192)), { code: 'model-mismatch' }],
    [
      'a zip cut short',
      () => written('cut.zip', readFileSync(join(fixtures, 'lzma.zip')).subarray(0, 200)),
      { code: 'invalid-zip' },
    ],
    [
      'a zip that says it is huge',
      () => written('bomb.zip', huge(readFileSync(join(fixtures, 'deflated-bfloat16.zip')))),
      { code: 'invalid-zip', expected: 'at most 268435456' },
    ],
    [
      'LZMA that is damaged',
      () => written('damaged.zip', damaged(readFileSync(join(fixtures, 'noise-lzma.zip')))),
      { code: expect.stringMatching(/^(invalid-zip|invalid-npy|not-a-prompt)$/) },
    ],
  ])('%s is refused', async (_, path, problem) => {
    expect(await problemOf(rowsOf(path()))).toMatchObject(problem)
  })

  function huge(bytes: Buffer): Buffer {
    const at = bytes.indexOf(Buffer.from([0x50, 0x4b, 1, 2]))
    bytes.writeUInt32LE(0xfffffff0, at + 24)
    return bytes
  }

  function damaged(bytes: Buffer): Buffer {
    for (let at = 80; at < 200; at++) bytes[at] = 0xff
    return bytes
  }
})

describe('words', () => {
  const opened = async (name: string, content: string) => {
    const { kind, text, template, notice } = await openPrompt(written(name, content))
    return { kind, text, template, notice: notice?.message }
  }

  test('a text, to the last byte', async () => {
    expect(await opened('own.txt', 'Sort {these}.\n')).toMatchObject({
      kind: 'text',
      text: 'Sort {these}.\n',
      template: undefined,
    })
  })

  test('a promptfoo config, whose prompt may stand beside it and nowhere else', async () => {
    const inline = 'prompts:\n  - "On {{ text }}: {x}"\nproviders: [echo]\n'
    expect(await opened('a.yaml', inline)).toMatchObject({
      template: 'On {text}: {{x}}',
      notice: expect.stringContaining('providers'),
    })
    written('beside.json', '[{"role": "system", "content": "Be brief"}, {"role": "user", "content": "{{text}}"}]')
    expect((await opened('b.yaml', 'prompts: [file://beside.json]')).template).toEqual([
      { role: 'system', content: 'Be brief' },
      { role: 'user', content: '{text}' },
    ])
    symlinkSync('/etc/hostname', join(folder, 'link.txt'))
    for (const name of ['../outside.txt', 'link.txt', 'prompt.js', 'none.txt']) {
      const path = written('c.yaml', `prompts: ["file://${name}"]`)
      expect(await problemOf(openPrompt(path))).toMatchObject({ code: 'not-a-prompt', found: expect.stringContaining(name) })
    }
    for (const prompts of ['["{{ text | upper }}"]', '["{% if a %}b{% endif %}"]', '["a", "b"]', '[]', '{ a: 1 }'])
      expect(await problemOf(openPrompt(written('d.yaml', `prompts: ${prompts}`)))).toMatchObject({ code: 'not-a-prompt' })
  })

  test('a DSPy program of one predictor, and a LangChain template', async () => {
    const predictor = { traces: [], demos: [{ question: 'x' }], signature: { instructions: 'Say {it}.', fields: [] } }
    expect(await opened('d.json', JSON.stringify({ predict: predictor, metadata: {} }))).toMatchObject({
      text: 'Say {it}.',
      template: undefined,
      notice: expect.stringContaining('1 demonstrations'),
    })
    expect(await problemOf(openPrompt(written('two.json', JSON.stringify({ a: predictor, b: predictor }))))).toMatchObject({
      code: 'not-a-prompt',
      found: '2 predictors: a, b',
    })
    const kwargs = { template: '{text} -', input_variables: ['text'], template_format: 'f-string' }
    expect(await opened('l.json', JSON.stringify({ lc: 1, id: ['PromptTemplate'], kwargs }))).toMatchObject({
      template: '{text} -',
    })
    expect(
      await problemOf(openPrompt(written('bad.json', JSON.stringify({ lc: 1, kwargs: { ...kwargs, template: '{' } })))),
    ).toMatchObject({
      code: 'not-a-prompt',
    })
  })

  test('a template from another tool is what rows are scored in', async () => {
    const data = [
      { text: 'the', label: 'of' },
      { text: 'of', label: 'the' },
    ]
    const prompt = written('scored.yaml', 'prompts: ["{{text}} -"]')
    const scored = await evaluate({ model, data, answer: ' {label}', prompt })
    const plain = await evaluate({ model, data, answer: ' {label}', template: '{text} -' })
    expect(scored.metrics).toEqual(plain.metrics)
  })
})
