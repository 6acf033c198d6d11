import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { learnedRun } from '../../scripts/check/exported-prompts.js'
import { exportPrompt } from '../../src/api/export.js'
import type { SelfTest } from '../../src/export/self-test.js'
import { openGguf } from '../../src/formats/gguf.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'

const fixtures = 'test/fixtures/models'
let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-vocabulary-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const selfTest = (out: string) => JSON.parse(readFileSync(join(out, 'self-test.json'), 'utf8')) as SelfTest

/** What was exported computes what its self-test expects, read again as a model of its own that knows no prompt. */
async function holds(out: string, name: string, tolerance: number): Promise<void> {
  const exported = await LanguageModel.load(name)
  try {
    for (const { ids, greedy, top, text } of selfTest(out).cases) {
      if (text !== undefined) expect(exported.tokenizer.encode(text)).toEqual(ids)
      const row = [...ids]
      for (const [i, expected] of greedy.entries()) {
        const [logits] = await exported.logits([row])
        const last = logits!.subarray(-exported.config.vocabSize)
        if (i === 0) for (const { id, logit } of top) expect(Math.abs(last[id]! - logit)).toBeLessThan(tolerance)
        expect(last.indexOf(Math.max(...last))).toBe(expected)
        row.push(expected)
      }
    }
  } finally {
    await exported.dispose()
  }
}

const ggufFile = (name: string) => {
  const path = join(fixtures, name)
  return join(path, readdirSync(path).find(file => file.endsWith('.gguf'))!)
}

describe.each([
  ['llama-gguf', 'prompt-tuning'],
  ['llama-gguf', 'adept'],
  ['gpt2-gguf', 'prompt-tuning'],
  ['falcon-7b-gguf', 'prompt-tuning'],
  ['qwen2-gguf', 'adept'],
])('%s with %s', (name, type) => {
  test('is the same model as a checkpoint and as a GGUF file', async () => {
    const path = ggufFile(name)
    const model = await LanguageModel.load(path)
    const run = await learnedRun(model, path, type)
    const [hf, gguf] = ['hf', 'gguf'].map(target => join(folder, `${name}-${type}-${target}`)) as [string, string]
    await exportPrompt(run, { to: 'hf', out: hf, model })
    await exportPrompt(run, { to: 'gguf', out: gguf, model })
    const before = await openGguf(path)
    const file = join(gguf, readdirSync(gguf).find(found => found.endsWith('.gguf'))!)
    const after = await openGguf(file)
    for (const tensor of before.tensors.keys()) {
      if (/^(token_embd|output)\./.test(tensor)) continue
      expect(Buffer.from(await after.readBytes(tensor)).equals(Buffer.from(await before.readBytes(tensor)))).toBe(true)
    }
    await before.close()
    await after.close()
    await model.dispose()
    await holds(hf, hf, 1e-4)
    await holds(gguf, file, 0.02)
  })
})

test('an architecture of which llama.cpp reads no head is written as a checkpoint alone', async () => {
  const path = ggufFile('gemma-gguf')
  const model = await LanguageModel.load(path)
  const run = await learnedRun(model, path, 'prompt-tuning')
  const out = join(folder, 'gemma')
  await exportPrompt(run, { to: 'hf', out, model })
  const refused = await problemOf(exportPrompt(run, { to: 'gguf', out: `${out}-gguf`, model }))
  expect(refused).toMatchObject({ code: 'not-exportable', found: 'the gemma family' })
  await model.dispose()
  await holds(out, out, 1e-4)
})

describe('a folder of Hugging Face', () => {
  test.each(['llama-gqa', 'llama-bf16', 'gpt2'])('%s, its tensors as they are', async name => {
    const path = join(fixtures, name)
    const model = await LanguageModel.load(path)
    const run = await learnedRun(model, path, 'prompt-tuning')
    const out = join(folder, name)
    await exportPrompt(run, { to: 'hf', out, model })
    const delta = await exportPrompt(run, { to: 'hf', out: `${out}-delta`, model, delta: true })
    expect(delta.files).toContain('merge.py')
    expect(delta.files).not.toContain('model.safetensors')
    await model.dispose()
    await holds(out, out, 1e-4)
  })
})

test.each([
  ['soft-template', 'before-bos', '{text}{soft:2} -'],
  ['prompt-tuning', 'after-bos', '<|endoftext|>{text} -'],
] as const)('%s, %s: tokens stand where the template has them', async (type, position, template) => {
  const path = ggufFile('llama-gguf')
  const model = await LanguageModel.load(path)
  const run = await learnedRun(model, path, type, { position, template })
  for (const to of ['hf', 'gguf']) {
    const out = join(folder, `${type}-${position}-${to}`)
    await exportPrompt(run, { to, out, model })
    const { cases } = selfTest(out)
    const soft = cases[0]!.ids.filter(id => id >= model.config.vocabSize)
    const place = cases[0]!.ids.indexOf(model.config.vocabSize)
    expect([soft.length, place > 0]).toEqual([type === 'soft-template' ? 2 : 5, true])
    await holds(out, to === 'hf' ? out : join(out, 'model-prompted.gguf'), to === 'hf' ? 1e-4 : 0.02)
  }
  await model.dispose()
})

test('what cannot be held is refused with the targets that can', async () => {
  const path = join(fixtures, 'llama-gqa')
  const model = await LanguageModel.load(path)
  const dept = await learnedRun(model, path, 'dept')
  const error = await problemOf(exportPrompt(dept, { to: 'hf', out: join(folder, 'dept'), model }))
  expect(error).toMatchObject({ code: 'not-exportable', hint: 'onnx can: --to onnx' })
  expect(error.message).toContain('depends on where a token stands')
  const tuned = await learnedRun(model, path, 'prompt-tuning')
  const option = await problemOf(exportPrompt(tuned, { to: 'embeds', out: join(folder, 'no'), model, delta: true }))
  expect(option).toMatchObject({ code: 'invalid-option', hint: 'hf has it' })
  const width = await problemOf(exportPrompt(tuned, { to: 'hf', out: join(folder, 'no'), model, dtype: 'F16' }))
  expect(width.code).toBe('invalid-option')
  expect(existsSync(join(folder, 'no'))).toBe(false)
  await model.dispose()
})
