import { existsSync, readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { testDevice } from '../support/test-device.js'

interface Expected {
  rows: { ids: number[]; labels: number[] }[]
  loss: number
  loss64: number
}

const folder = (name: string) => `test/fixtures/models/${name}`

/** Small checkpoints, one for each way that a family's config may go; some of them as GGUF as well. */
const FAMILIES =
  `qwen2 qwen2-window qwen3 qwen3-bias gemma gemma2 gemma3 gemma3-pattern phi3 phi3-longrope ministral smollm3 smollm3-nope4
   llama-yarn llama-yarn-mscale llama-linear llama-dynamic llama-longrope stablelm stablelm-parallel gpt-neox gpt-neox-sequential
   opt olmo2 olmo3 granite falcon-7b falcon-40b falcon-sequential cohere starcoder2 starcoder2-window phi gpt2-erf
   cohere-norms stablelm-norms phi-norms`.split(/\s+/)

/** Checkpoint, and the fixture that holds what transformers computes with it. */
const CHECKPOINTS: [checkpoint: string, fixture: string][] = [
  ['llama-gqa', 'llama-gqa'],
  ['llama-untied-bias', 'llama-untied-bias'],
  ['llama3-rope', 'llama3-rope'],
  ['mistral-window', 'mistral-window'],
  ['gpt2', 'gpt2'],
  ['llama-sharded', 'llama-gqa'],
  ['llama-f16', 'llama-f16'],
  ['llama-bf16', 'llama-bf16'],
  ['llama-gguf', 'llama-gqa'],
  ['gpt2-gguf', 'gpt2'],
  ...FAMILIES.flatMap(name =>
    [name, `${name}-gguf`]
      .filter(checkpoint => existsSync(folder(checkpoint)))
      .map((checkpoint): [string, string] => [checkpoint, name]),
  ),
]

const relative = (found: Float32Array, wanted: Float32Array) => {
  const square = (values: Iterable<number>) => Math.sqrt([...values].reduce((sum, x) => sum + x * x, 0))
  return square(found.map((x, i) => x - wanted[i]!)) / square(wanted)
}

describe.each(CHECKPOINTS)('%s equals transformers (%s)', (checkpoint, fixture) => {
  const expected = JSON.parse(readFileSync(`${folder(fixture)}/expected.json`, 'utf8')) as Expected
  const opened = Promise.all([
    LanguageModel.load(folder(checkpoint), { device: testDevice }),
    openSafetensors(`${folder(fixture)}/expected.safetensors`),
  ])
  afterAll(async () => {
    const [model, file] = await opened
    await model.dispose()
    await file.close()
  })

  test('logits of every position', async () => {
    const [model, file] = await opened
    const logits = await model.logits(expected.rows.map(row => row.ids))
    for (const [i, found] of logits.entries()) expect(relative(found, await file.read(`logits64.${i}`))).toBeLessThan(1e-5)
  })

  test.runIf(FAMILIES.includes(fixture))('embeddings are as the first layer takes them', async () => {
    const [model, file] = await opened
    const ids = [3, 4, 5, 6, 7, 8]
    const rows = await model.embeddingRows(ids)
    expect(relative(rows, await file.read('embeddings'))).toBeLessThan(1e-7)
    const table = await model.embeddingTable()
    expect(table.slice(3 * model.config.hiddenSize, 9 * model.config.hiddenSize)).toEqual(rows)
  })

  // The weights of a GGUF file are those of the folder; llama and gpt2 stand for all.
  test.runIf(checkpoint === fixture || !FAMILIES.includes(fixture))('loss and gradient of a soft prompt', async () => {
    const [model, file] = await opened
    const softPrompt = { data: await file.read('prompt'), shape: [4, model.config.hiddenSize] as const }
    const { loss, gradient } = await model.lossAndGradient({ softPrompt, rows: expected.rows })
    expect(Math.abs(loss - expected.loss64)).toBeLessThan(1e-5)
    expect(relative(gradient, await file.read('gradient64'))).toBeLessThan(1e-5)
  })
})
