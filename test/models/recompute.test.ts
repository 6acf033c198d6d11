import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { DecoderConfig } from '../../models/blocks/config.js'
import { loadModel, resume, tune } from '../../src/index.js'
import { meanCrossEntropy } from '../../src/losses/index.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { comparedPairs } from '../../src/model/memory.js'
import { gradientRequest } from '../../src/model/model-programs.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { traceGraph } from '../../src/program/graph.js'
import { SizeExpression } from '../../src/program/operations/sizes.js'
import type { Graph } from '../../src/program/solve/symbolic-graph.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { disposeModels, methodConfig, tinyModel } from '../support/prompt-fixtures.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** Layers that are computed again in the backward pass: the same numbers, less kept; and what is kept otherwise, against the estimate. */

afterAll(disposeModels)

const ids = (count: number, from: number) => Array.from({ length: count }, (_, i) => (from + i * 37) % 90)
const rows = [ids(9, 5), ids(4, 11), ids(13, 2)].map(own => ({
  ids: own,
  labels: own.map((id, i) => (i > 1 ? id : -100)),
}))

/** One method for each place where a prompt can act. */
const METHODS: [model: string, type: string][] = [
  ['gemma2', 'prompt-tuning'],
  ['llama-gqa', 'prefix-tuning'],
  ['llama-gqa', 'lpt'],
  ['llama-gqa', 'idpg'],
  ['llama-gqa', 'softcot'],
]

test.each(METHODS)('%s, %s: loss and gradients are equal to the bit', async (name, type) => {
  const model = await tinyModel(name)
  const method = promptMethods.get(type)
  const config = methodConfig({ type, numVirtualTokens: 3 })
  const parameters = new Map(
    method.parameters(config, model.config).map(({ name, shape }, i) => [name, random(i + 1, shape, 0.3).data]),
  )
  const prompt: ActivePrompt = { method, config, parameters }
  const kept = await model.promptGradient(prompt, rows)
  expect([...kept.gradients.values()].every(gradient => gradient.some(value => value !== 0))).toBe(true)
  const again = await model.promptGradient(prompt, rows, { recompute: true })
  expect(again.loss).toBe(kept.loss)
  expect(again.gradients).toEqual(kept.gradients)
})

describe('what is kept for the backward pass', () => {
  const SIZES = { P: 4, S: 396, Q: 2, N: 2, G: 1, T: 400, K: 396, H: 1, U: 2, J: 396 }
  const method = promptMethods.get('prompt-tuning')
  const at = (size: number | string) => (typeof size === 'number' ? size : SizeExpression.parse(size).evaluate(SIZES))

  /** Numbers that the backward pass reads of the forward pass, of a model with so many layers, all but the first as its last. */
  async function kept(name: string, numLayers: number, recompute: boolean): Promise<number> {
    const checkpoint = await openCheckpoint(`test/fixtures/models/${name}`)
    await checkpoint.file.close()
    const { family, weights } = checkpoint
    const given = checkpoint.config as DecoderConfig
    const layers = Array.from({ length: numLayers }, (_, i) => given.layers[Math.min(i, 2)]!)
    const config: DecoderConfig = { ...given, numLayers, layers }
    const metas = weights.flatMap(({ name, shape, views = [] }) => [
      { name, shape },
      ...views.map(view => ({ name: view.name, shape: shape.with(0, view.rows) })),
    ])
    const named = new Map(
      metas.flatMap(({ name, shape }) => {
        const meta = { shape: [...shape], dtype: 'float32' as const }
        const layer = /^layers\.2\.(.*)/.exec(name)
        const further = layer ? Array.from({ length: numLayers - 3 }, (_, i) => `layers.${i + 3}.${layer[1]}`) : []
        return [name, ...further].map(own => [own, meta] as const)
      }),
    )
    const model = { checkpoint: { ...checkpoint, config }, weights: { folder: '', tensors: new Map(), hash: '' } }
    const prompt = { method, config: methodConfig({ type: 'prompt-tuning', numVirtualTokens: 4 }) }
    const { fn, inputs } = gradientRequest(model, [meanCrossEntropy], prompt, { recompute }).spec()
    expect(family.kept).toBeDefined()
    const placeholders = Object.entries(inputs).map(([name, { shape, dtype }]) => ({ name, dtype, shape: shape.map(at) }))
    return keptNumbers(traceGraph(fn, placeholders, named, {}))
  }

  function keptNumbers({ nodes, values, outputs }: Graph): number {
    const producer = new Map(nodes.flatMap((node, i) => node.outputs.map(id => [id, i] as const)))
    const isForward = new Set<number>()
    const pending = [outputs.loss!]
    for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
      const node = producer.get(id)
      if (node === undefined || isForward.has(node)) continue
      isForward.add(node)
      pending.push(...nodes[node]!.inputs)
    }
    const aliased = new Set(['Reshape', 'SegmentInput'])
    const origin = (id: number): number => {
      const node = nodes[producer.get(id) ?? -1]
      return node && aliased.has(node.operation) ? origin(node.inputs[0]!) : id
    }
    const read = new Set(nodes.flatMap(({ inputs }, i) => (isForward.has(i) ? [] : inputs.map(origin))))
    return [...read]
      .filter(id => isForward.has(producer.get(id) ?? -1))
      .reduce((sum, id) => sum + values[id]!.shape.reduce<number>((a, b) => a * Number(b), 1), 0)
  }

  test.each(['llama-gqa', 'gemma2', 'gemma3', 'olmo2', 'stablelm-parallel', 'gpt2', 'gpt2-erf', 'opt', 'cohere', 'cohere-norms'])(
    '%s: a further layer adds what estimates say of it, or its input alone',
    async name => {
      const { family, config, file } = await openCheckpoint(`test/fixtures/models/${name}`)
      await file.close()
      const { row, pair } = family.kept!(config)
      const estimate = row * 400 + pair * config.numAttentionHeads * comparedPairs(1, 396, 4).pairs
      const more = async (recompute: boolean) => (await kept(name, 5, recompute)) - (await kept(name, 4, recompute))
      const found = await more(false)
      expect(estimate / found).toBeGreaterThan(0.95)
      expect(estimate / found).toBeLessThan(1.05)
      expect(await more(true)).toBe(400 * config.hiddenSize)
    },
  )
})

test('a run that computes layers again learns the same, is stopped, and goes on to the same bits', async () => {
  const { folder, remove } = temporaryFolder()
  try {
    const config = (out: string, recompute: boolean) =>
      toyConfig(folder, { out: join(folder, out), train: { steps: 4, recompute } })
    const tensors = async (out: string) => (await readPrompt(join(folder, out, 'prompt.safetensors'))).tensors
    await tune(config('kept', false))
    await tune(config('again', true))
    expect(await tensors('again')).toEqual(await tensors('kept'))
    const controller = new AbortController()
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === 2 && controller.abort()
    expect(await problemOf(tune(config('cut', true), { signal: controller.signal, onEvent }))).toMatchObject({ code: 'aborted' })
    await resume(join(folder, 'cut'))
    expect(await tensors('cut')).toEqual(await tensors('again'))
  } finally {
    remove()
  }
})

test('a row that does not fit is refused before the first step, and whom train.recompute would help is told', async () => {
  const { folder, remove } = temporaryFolder()
  await using model = await loadModel(toyModel, { threads: 1 })
  try {
    const text = 'on the in '.repeat(15)
    writeFileSync(join(folder, 'long.tsv'), `the wine\t0\n${text}\t1\n`)
    const length = model.tokenizer.encode(`${text} - of`).length
    const of = (recompute: boolean) => model.memory.estimate(4 + length, 1, true, comparedPairs(1, length, 4), recompute)
    const tuned = (bytes: number, recompute: boolean) => {
      const data = { train: join(folder, 'long.tsv'), columns: ['text', 'label'], labels: { 0: 'the', 1: 'of' } }
      const options = { data, memory: bytes / 1e9, out: join(folder, `${bytes} ${recompute}`), threads: 1 }
      return tune(toyConfig(folder, { ...options, train: { steps: 1, batchSize: 2, recompute } }))
    }
    const between = (of(true) + of(false)) / 2
    const refused = await problemOf(tuned(between, false))
    expect(refused).toMatchObject({ code: 'not-enough-memory', hint: expect.stringContaining('--train.recompute') })
    expect(refused.message).toContain('long.tsv:2')
    expect((await tuned(between, true)).result.steps).toBe(1)
    const little = await problemOf(tuned(of(true) - (50 * (of(false) - of(true))) / 100, true))
    expect(little).toMatchObject({ code: 'not-enough-memory', hint: expect.stringContaining('shorten the texts') })
  } finally {
    remove()
  }
})
