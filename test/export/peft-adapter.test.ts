import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { peftAdapter } from '../../src/export/peft-adapter.js'
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { readPeftAdapter, summarizeAdapter } from '../../src/sources/peft-adapter.js'
import { problemOf } from '../support/problem.js'

const fixtures = 'test/fixtures/prompt-methods'
const models = new Map<string, Promise<LanguageModel>>()
const modelOf = (path: string) => {
  const known = models.get(path) ?? LanguageModel.load(path)
  models.set(path, known)
  return known
}
afterAll(async () => {
  for (const model of models.values()) await (await model).dispose()
})

interface Fixture {
  readonly model: string
  readonly rows: readonly { readonly ids: number[]; readonly task?: number }[]
}

const NAMES = [
  'prompt-tuning',
  'p-tuning-mlp',
  'p-tuning-lstm',
  'cpt',
  'mpt',
  'prefix-tuning',
  'prefix-tuning-gpt2',
  'prefix-tuning-projection',
  'prompt-tuning-gemma',
  'prompt-tuning-granite',
  'prefix-tuning-cohere',
  'prefix-tuning-qwen3',
  'adaption-prompt',
  'adaption-prompt-gpt2',
]

describe.each(NAMES)('the adapter that PEFT wrote: %s', name => {
  const folder = join(fixtures, name)
  const { model: path, rows } = JSON.parse(readFileSync(`${folder}.json`, 'utf8')) as Fixture
  const modelPath = existsSync(path) ? path : join('test/fixtures/models', path)

  test('gives the logits that PEFT gives', async () => {
    const model = await modelOf(modelPath)
    const expected = await openSafetensors(`${folder}.safetensors`)
    for (const [i, { ids, task = 0 }] of rows.entries()) {
      const prompt = await readPeftAdapter(folder, model.checkpoint, task)
      const [logits] = await model.logits([ids], prompt)
      const wanted = await expected.read(`logits.${i}`)
      expect(logits!.length).toBe(wanted.length)
      expect(Math.max(...logits!.map((value, j) => Math.abs(value - wanted[j]!)))).toBeLessThan(1e-4)
    }
    await expected.close()
  })

  test('is written as PEFT wrote it', async () => {
    const model = await modelOf(modelPath)
    const { method, config, parameters } = await readPeftAdapter(folder, model.checkpoint)
    const shapes = promptMethods.get(method.type)!.parameters(config, model.config)
    const { config: written, tensors } = await peftAdapter(
      {
        method: config,
        model: { name: model.name, hash: model.hash },
        hiddenSize: model.config.hiddenSize,
        numVirtualTokens: Math.max(1, method.placement(config, model.config).numVirtualTokens),
        position: 'before-bos',
        template: '',
        answer: '',
        seed: 0,
        tensors: shapes.map(({ name, shape }) => ({ name, shape, data: parameters.get(name)! })),
      },
      model.checkpoint,
    )
    const theirs = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')) as Record<string, unknown>
    const file = await openSafetensors(join(folder, 'adapter_model.safetensors'))
    const { peft_type: type, ...shared } = written
    // Rows are rows, whatever encoder, context or task they came from.
    if (theirs.peft_type === type) {
      for (const [key, value] of Object.entries(shared))
        if (!(key === 'encoder_hidden_size' || key === 'prefix_projection'))
          expect({ [key]: theirs[key] }).toEqual({ [key]: value })
      expect(tensors.map(({ name }) => name).sort()).toEqual([...file.tensors.keys()].sort())
    } else expect(type).toBe('PROMPT_TUNING')
    if (theirs.peft_type !== 'MULTITASK_PROMPT_TUNING') {
      for (const { name, data, shape } of tensors) {
        expect(file.tensors.get(name)!.shape).toEqual(shape)
        expect(await file.read(name)).toEqual(data)
      }
    }
    await file.close()
  })
})

test('an adapter of another width, of another kind, or none', async () => {
  const { config, family } = (await modelOf('test/fixtures/models/llama-gqa')).checkpoint
  const wide = await problemOf(
    readPeftAdapter(join(fixtures, 'prompt-tuning'), { family, config: { ...config, hiddenSize: 48 } }),
  )
  expect(wide).toMatchObject({ code: 'model-mismatch', found: 'prompt_embeddings of shape [4, 32]', expected: '[4, 48]' })
  expect(await problemOf(readPeftAdapter(fixtures, { family, config }))).toMatchObject({ code: 'not-a-prompt' })
  const task = await problemOf(readPeftAdapter(join(fixtures, 'mpt'), { family, config }, 3))
  expect(task).toMatchObject({ code: 'not-a-prompt', found: 'task 3 of 3' })
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-'))
  try {
    copyFileSync(join(fixtures, 'prompt-tuning', 'adapter_config.json'), join(folder, 'adapter_config.json'))
    writeFileSync(join(folder, 'adapter_model.bin'), 'a pickle')
    expect(await problemOf(readPeftAdapter(folder, { family, config }))).toMatchObject({
      code: 'unsupported-format',
      found: 'adapter_model.bin',
      hint: expect.stringMatching(/python -c '.*weights_only=True.*adapter_model.safetensors/),
    })
    writeFileSync(join(folder, 'adapter_config.json'), '{"peft_type":"LORA","r":8}')
    expect(await problemOf(readPeftAdapter(folder, { family, config }))).toMatchObject({
      code: 'not-a-prompt',
      found: 'peft_type "LORA"',
      hint: expect.stringContaining('merge_and_unload'),
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('an adapter with a number that is none is refused with its tensor’s name, by inspection as well', async () => {
  const { checkpoint } = await modelOf('test/fixtures/models/llama-gqa')
  const whole = await openSafetensors(join(fixtures, 'prompt-tuning', 'adapter_model.safetensors'))
  const data = await whole.read('prompt_embeddings')
  const { shape } = whole.tensors.get('prompt_embeddings')!
  await whole.close()
  expect(await summarizeAdapter(join(fixtures, 'prompt-tuning'))).toMatchObject({
    type: 'PROMPT_TUNING',
    tensors: [{ name: 'prompt_embeddings', shape }],
  })
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-'))
  try {
    copyFileSync(join(fixtures, 'prompt-tuning', 'adapter_config.json'), join(folder, 'adapter_config.json'))
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      const tensor = { name: 'prompt_embeddings', shape, data: data.with(data.length - 1, value) }
      await writeSafetensors(join(folder, 'adapter_model.safetensors'), [tensor])
      const refused = { code: 'not-finite', message: expect.stringContaining('"prompt_embeddings"') }
      expect(await problemOf(readPeftAdapter(folder, checkpoint))).toMatchObject(refused)
      expect(await problemOf(summarizeAdapter(folder))).toMatchObject(refused)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the model’s own embeddings and head may stand beside the prompt; others are refused by name, and not dropped', async () => {
  const { checkpoint } = await modelOf('test/fixtures/models/llama-gqa')
  const rows = await openSafetensors(join(fixtures, 'prompt-tuning', 'adapter_model.safetensors'))
  const model = await openSafetensors('test/fixtures/models/llama-gqa')
  const [name, table] = ['prompt_embeddings', 'model.embed_tokens.weight']
  const prompt = { name, shape: rows.tensors.get(name)!.shape, data: await rows.read(name) }
  const shape = model.tensors.get(table)!.shape
  const own = await model.read(table)
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-'))
  copyFileSync(join(fixtures, 'prompt-tuning', 'adapter_config.json'), join(folder, 'adapter_config.json'))
  const opened = async (...further: { name: string; shape: readonly number[]; data: Float32Array }[]) => {
    await writeSafetensors(join(folder, 'adapter_model.safetensors'), [prompt, ...further])
    return readPeftAdapter(folder, checkpoint)
  }
  try {
    const embeddings = { name: 'base_model.model.embed_tokens.weight', shape, data: own }
    const head = { name: 'base_model.lm_head.weight', shape, data: own }
    const { parameters } = await opened(embeddings, head)
    expect(parameters.get('prompt')).toEqual(prompt.data)
    const trained = { ...head, data: own.map(value => 1.05 * value) }
    expect(await problemOf(opened(embeddings, trained))).toMatchObject({ code: 'unsupported-adapter', found: head.name })
    const more = { name: 'base_model.model.layers.0.mlp.up_proj.lora_A.weight', shape: [1, 1], data: Float32Array.of(1) }
    expect(await problemOf(opened(more))).toMatchObject({ code: 'unsupported-adapter', found: more.name })
  } finally {
    await rows.close()
    await model.close()
    rmSync(folder, { recursive: true })
  }
})
