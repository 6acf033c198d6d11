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
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-whole-gguf-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const selfTest = (out: string) => JSON.parse(readFileSync(join(out, 'self-test.json'), 'utf8')) as SelfTest

/** A fixture's folder as a GGUF file. */
async function exported(name: string, dtype?: 'F32' | 'Q8_0' | 'Q4_0' | 'Q4_1', type = 'prompt-tuning') {
  const path = join(fixtures, name)
  const out = join(folder, `${name}-${type}-${dtype}`)
  const model = await LanguageModel.load(path)
  try {
    await exportPrompt(await learnedRun(model, path, type), { to: 'gguf', out, model, dtype })
    return { out, file: join(out, `${name}-prompted.gguf`) }
  } finally {
    await model.dispose()
  }
}

/** What was exported computes what its self-test expects, read again as a model of its own that knows no prompt. */
async function holds(out: string, file: string, tolerance: number): Promise<void> {
  const model = await LanguageModel.load(file)
  try {
    for (const { ids, greedy, top, text } of selfTest(out).cases) {
      if (text !== undefined) expect(model.tokenizer.encode(text)).toEqual(ids)
      const [logits] = await model.logits([[...ids, ...greedy]])
      const at = (position: number) =>
        logits!.subarray(position * model.config.vocabSize, (position + 1) * model.config.vocabSize)
      for (const { id, logit } of top) expect(Math.abs(at(ids.length - 1)[id]! - logit)).toBeLessThan(tolerance)
      for (const [i, expected] of greedy.entries()) {
        const own = at(ids.length - 1 + i)
        expect(own.indexOf(Math.max(...own))).toBe(expected)
      }
    }
  } finally {
    await model.dispose()
  }
}

const written = [
  ['llama-gqa', 'prompt-tuning'],
  ['llama-gqa', 'adept'],
  ['llama3-rope', 'prompt-tuning'],
  ['gpt2', 'prompt-tuning'],
  ['qwen2', 'prompt-tuning'],
  ['gemma3-pattern', 'prompt-tuning'],
  ['gpt-neox', 'prompt-tuning'],
  ['falcon-7b', 'prompt-tuning'],
  ['granite', 'prompt-tuning'],
] as const

test.each(written)('%s, %s: a folder of Hugging Face as a GGUF file in float32', async (name, type) => {
  const { out, file } = await exported(name, 'F32', type)
  await holds(out, file, 1e-4)
})

describe.each(['Q8_0', 'Q4_0', 'Q4_1'] as const)('in %s', dtype => {
  test('its matrices are of that type, and its self-test is what they compute', async () => {
    const { out, file } = await exported('llama-gqa', dtype)
    const { tensors, close } = await openGguf(file).then(made => ({ tensors: made.tensors, close: () => made.close() }))
    await close()
    expect(tensors.get('blk.0.ffn_up.weight')!.dtype).toBe(dtype)
    expect(tensors.get('blk.0.attn_norm.weight')!.dtype).toBe('F32')
    expect(tensors.get('output.weight')!.dtype).toBe('Q8_0')
    await holds(out, file, 1e-4)
  })
})

test('half precision, as by default, is near', async () => {
  const { out, file } = await exported('llama-gqa')
  await holds(out, file, 0.02)
})

test('what a GGUF file cannot say is refused, and nothing is left', async () => {
  for (const [name, expected] of [
    ['opt', 'not-exportable'],
    ['mistral-window', 'not-exportable'],
    ['phi3', 'not-exportable'],
    ['gemma', 'not-exportable'],
    ['llama-longrope', 'not-exportable'],
  ] as const) {
    const problem = await problemOf(exported(name)).catch(() => ({ code: 'nothing' }))
    expect([name, problem.code]).toEqual([name, expected])
    expect(readdirSync(folder).filter(made => made.startsWith(`${name}-`))).toEqual([])
  }
  expect(existsSync(join(folder, 'opt-prompt-tuning-undefined'))).toBe(false)
})
