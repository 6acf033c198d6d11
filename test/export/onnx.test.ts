import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { learnedRun } from '../../scripts/check/exported-prompts.js'
import { exportPrompt } from '../../src/api/export.js'
import type { SelfTest } from '../../src/export/self-test.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'
import { toyModel } from '../train/toy.js'

let folder: string
let model: LanguageModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-onnx-'))
  model = await LanguageModel.load(toyModel)
})
afterAll(async () => {
  await model.dispose()
  rmSync(folder, { recursive: true, force: true })
})

async function exported(type: string, template = '{text} -') {
  const out = join(folder, type)
  await exportPrompt(await learnedRun(model, toyModel, type, { template }), { to: 'onnx', out, model })
  return out
}

/** Runs the script that stands beside a model, as a user would. */
function selfTested(out: string) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(out, 'self-test.mjs')], { encoding: 'utf8' })
  const lines = stdout.split('\n').filter(Boolean)
  return { status, stderr, lines: lines.map(line => JSON.parse(line) as object) }
}

test.each([
  ['prefix-tuning', '{text} -'],
  ['adaption-prompt', '{text} -'],
  ['soft-template', '{soft:2}{text} -'],
])('ONNX Runtime computes what self-test.json expects of %s', async (type, template) => {
  const out = await exported(type, template)
  expect(selfTested(out)).toMatchObject({ status: 0, stderr: '', lines: [{ ok: true, same: true }] })
})

test('an offset by position goes with the text, padded at either side, and the folder has what both tools read', async () => {
  const out = await exported('dept')
  expect(selfTested(out)).toMatchObject({ status: 0, stderr: '', lines: [{ ok: true, same: true }] })
  const json = (name: string) => JSON.parse(readFileSync(join(out, name), 'utf8')) as Record<string, unknown>
  const [{ ids, top }] = (json('self-test.json') as unknown as SelfTest).cases as [SelfTest['cases'][0]]
  const session = await ort.InferenceSession.create(join(out, 'onnx', 'model.onnx'))
  const padded = [
    [0, 0, ...ids],
    [0, ...ids, 0],
    [...ids, 0, 0],
  ]
  const masks = [[0, 0], [0], []].map((before, i) =>
    [...before, ...ids.map(() => 1), ...Array(2 - before.length).fill(0)].slice(0, padded[i]!.length),
  )
  const int64 = (rows: number[][]) =>
    new ort.Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length])
  const past = Object.fromEntries(
    session.inputNames
      .filter(name => name.startsWith('past'))
      .map(name => [name, new ort.Tensor('float32', new Float32Array(), [3, 2, 0, 8])]),
  )
  const { logits, 'present.2.value': kept } = await session.run({
    input_ids: int64(padded),
    attention_mask: int64(masks),
    ...past,
  })
  await session.release()
  // The prompt is in nobody's cache.
  expect(kept!.dims).toEqual([3, 2, ids.length + 2, 8])
  for (const [text, last] of [ids.length + 1, ids.length, ids.length - 1].entries()) {
    const start = (text * (ids.length + 2) + last) * 96
    for (const { id, logit } of top) expect(Math.abs((logits!.data[start + id] as number) - logit)).toBeLessThan(1e-4)
  }
  expect(json('genai_config.json')).toMatchObject({
    model: { type: 'decoder', vocab_size: 96, decoder: { filename: 'onnx/model.onnx' } },
  })
  expect(json('config.json')).toMatchObject({ vocab_size: 96, 'transformers.js_config': { use_external_data_format: true } })
  expect(json('tokenizer_config.json')).toHaveProperty('tokenizer_class')
  // ONNX Runtime GenAI leaves BOS out of a text, unless it is asked for.
  expect(readFileSync(join(out, 'README.md'), 'utf8')).toContain('update_options(add_special_tokens="true")')
})

test('what reads the whole instruction is refused, with what can hold it', async () => {
  const out = join(folder, 'iapt')
  const run = await learnedRun(model, toyModel, 'prompt-tuning')
  const refused = exportPrompt({ ...run, prompt: { ...run.prompt, method: { type: 'iapt' } } }, { to: 'onnx', out, model })
  expect(await problemOf(refused)).toMatchObject({
    code: 'not-exportable',
    message: expect.stringContaining('fed token by token'),
  })
  expect(existsSync(out)).toBe(false)
})
