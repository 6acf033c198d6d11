import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exportPrompt } from '../../src/api/export.js'
import { type TuneRun, tune } from '../../src/api/tune.js'
import type { SelfTest } from '../../src/export/self-test.js'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../train/toy.js'

let folder: string
let remove: () => void
let run: TuneRun
let model: LanguageModel
beforeAll(async () => {
  ;({ folder, remove } = temporaryFolder())
  run = await tune(toyConfig(folder, { train: { steps: 20 } }))
  model = await LanguageModel.load(toyModel)
})
afterAll(async () => {
  await model.dispose()
  remove()
})

const readSelfTest = (out: string) => JSON.parse(readFileSync(join(out, 'self-test.json'), 'utf8')) as SelfTest

test('a run becomes a PEFT adapter with a self-test', async () => {
  const out = join(folder, 'peft')
  const { folder: made, files } = await exportPrompt(run, { to: 'peft', out })
  expect(made).toBe(out)
  expect(files).toEqual(['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'self-test.json'])
  expect(JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8'))).toMatchObject({
    peft_type: 'PROMPT_TUNING',
    base_model_name_or_path: toyModel,
    num_virtual_tokens: 4,
    token_dim: 32,
    num_layers: 3,
    num_attention_heads: 4,
  })
  const adapter = await openSafetensors(join(out, 'adapter_model.safetensors'))
  expect(await adapter.read('prompt_embeddings')).toEqual(run.prompt.tensors[0]!.data)
  await adapter.close()
})

test('the self-test holds what the model computes behind the prompt for rows of the training data', async () => {
  const out = join(folder, 'tested')
  await exportPrompt(run.folder, { to: 'peft', out, model })
  const { cases } = readSelfTest(out)
  expect(cases.map(({ ids }) => model.tokenizer.decode(ids))).toEqual(toyRows(3).map(row => `${row.split('\t')[0]} -`))
  const softPrompt = { data: run.prompt.tensors[0]!.data, shape: [4, 32] as const }
  for (const { ids, greedy, top } of cases) {
    const row = [...ids]
    for (const [i, expected] of greedy.entries()) {
      const [logits] = await model.logits([row], softPrompt)
      const last = logits!.subarray(-96)
      expect(last.indexOf(Math.max(...last))).toBe(expected)
      if (i === 0) expect(top[0]!.logit).toBeCloseTo(Math.max(...last), 4)
      row.push(expected)
    }
  }
})

test('a run outlives its data', async () => {
  const data = join(folder, 'gone')
  const config = toyConfig(folder, { train: { steps: 2 }, out: join(folder, 'lonely') })
  const path = `${data}.tsv`
  writeFileSync(path, readFileSync(config.data.train))
  const { folder: lonely } = await tune({ ...config, data: { ...config.data, train: path } })
  rmSync(path)
  const out = join(folder, 'from-lonely')
  await exportPrompt(lonely, { to: 'peft', out, model })
  expect(readSelfTest(out).cases.map(({ ids }) => model.tokenizer.decode(ids))).toEqual(['text -'])
})

test('an unknown target, with the known ones', async () => {
  const out = join(folder, 'nowhere')
  expect(await problemOf(exportPrompt(run, { to: 'pefd', out }))).toMatchObject({
    code: 'unknown-target',
    expected: expect.stringMatching(/^one of peft, .*or the path of a JavaScript file$/),
    hint: 'did you mean peft?',
  })
  expect(existsSync(out)).toBe(false)
})

test('a folder that is taken, and another model', async () => {
  expect(await problemOf(exportPrompt(run, { to: 'peft', out: run.folder, model }))).toMatchObject({ code: 'folder-not-empty' })
  const error = await problemOf(exportPrompt(run, { to: 'peft', out: join(folder, 'x'), model: 'test/fixtures/models/gpt2' }))
  expect(error.code).toBe('model-mismatch')
  expect(existsSync(join(folder, 'x'))).toBe(false)
})

test('a prompt that stands after BOS cannot be what PEFT means', async () => {
  const config = toyConfig(folder, { train: { steps: 2 }, out: join(folder, 'after') })
  const after = await tune({
    ...config,
    template: '<|endoftext|>{text} -',
    method: { type: 'prompt-tuning', position: 'after-bos' },
  })
  expect(await problemOf(exportPrompt(after, { to: 'peft', out: join(folder, 'y'), model }))).toMatchObject({
    code: 'position-not-exportable',
  })
})
