import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { linear } from '../../kernels/linear.js'
import { tf } from '../../kernels/tf.js'
import { encodeFloat16, float16Values } from '../../src/formats/blocks/half.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { type LanguageModel, loadModel, resume, tune } from '../../src/index.js'
import { MemoryPlan } from '../../src/model/memory.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { hashModel, readWeight, weightBytes, weightFile } from '../../src/model/weights/weight-file.js'
import { UNPACKED_BYTES } from '../../src/program/compact-weights.js'
import { Program, type WeightFile } from '../../src/program/program.js'
import { sealedLength } from '../../src/program/seals.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { difference, random } from '../support/numbers.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig } from '../train/toy.js'

/** Weights that are kept in fewer bytes have the same values, and what is computed from them is the same to the bit. */

const open: LanguageModel[] = []
afterAll(() => Promise.all(open.map(model => model.dispose())))

async function both(path: string): Promise<Readonly<Record<'fp32' | 'compact', LanguageModel>>> {
  const [fp32, compact] = await Promise.all(
    (['fp32', 'compact'] as const).map(keepWeights => loadModel(path, { keepWeights, threads: 1 })),
  )
  open.push(fp32!, compact!)
  return { fp32: fp32!, compact: compact! }
}

const ids = (count: number, vocabulary: number) => Array.from({ length: count }, (_, i) => (i * 37 + 5) % vocabulary)

describe.each([
  ['test/fixtures/models/llama-f16', ['float16']],
  ['test/fixtures/models/llama-bf16', ['bfloat16']],
  ['test/fixtures/models/gpt2-gguf', undefined],
  ['test/fixtures/models/falcon-7b-gguf', undefined],
])('%s', (path, dtypes) => {
  const models = both(path)

  test('the file holds the values of float32, in the bytes that were promised', async () => {
    const { fp32, compact } = await models
    const { weights, checkpoint } = compact
    for (const name of fp32.weights.tensors.keys())
      expect(await readWeight(weights, name)).toEqual(await readWeight(fp32.weights, name))
    const matrices = checkpoint.weights.filter(({ shape }) => shape.length === 2)
    if (dtypes)
      expect([...new Set(matrices.map(({ name }) => weights.tensors.get(name)!.dtype))].sort()).toEqual([...dtypes].sort())
    const promised = compact.memory.weights
    expect(statSync(join(weights.folder, 'weights.bin')).size).toBe(sealedLength(promised))
    expect(promised).toBe(weightBytes(checkpoint, 'compact'))
    expect(promised).toBeLessThan(dtypes ? 0.6 * fp32.memory.weights : fp32.memory.weights + 1)
  })

  test('logits, gradients and greedy tokens are equal to the bit', async () => {
    const { fp32, compact } = await models
    const { vocabSize, hiddenSize } = fp32.config
    const rows = [ids(9, vocabSize), ids(4, vocabSize)]
    const one = await fp32.logits(rows)
    expect(one[0]!.some(value => value !== 0)).toBe(true)
    expect(await compact.logits(rows)).toEqual(one)

    const softPrompt = { data: random(3, [4 * hiddenSize]).data, shape: [4, hiddenSize] as const }
    const labelled = rows.map(row => ({ ids: row, labels: row.map((id, i) => (i > 1 ? id : -100)) }))
    const step = { softPrompt, rows: labelled }
    expect(await compact.lossAndGradient(step)).toEqual(await fp32.lossAndGradient(step))
    expect(await compact.embeddingRows([1, 0, 7])).toEqual(await fp32.embeddingRows([1, 0, 7]))

    const written = await Promise.all(
      [fp32, compact].map(async model => {
        const ids = []
        for (const weights of ['fp32', 'stored'] as const) {
          await using engine = await GenerationEngine.open(model, { weights })
          ids.push((await engine.generate({ ids: rows[0]!, maxNewTokens: 8 })).ids)
        }
        return ids
      }),
    )
    expect(written[1]).toEqual(written[0])
  })
})

/** Without the sign of zeros: of a weight that is 0 a block keeps none. */
const unsigned = (values: Float32Array) => values.map(value => value + 0)

describe.each(['mixed', 'codes'])('blocks of %s.gguf', name => {
  const forms = (async () => {
    const checkpoint = await openCheckpoint(`test/fixtures/quantized/${name}.gguf`)
    const hash = await hashModel(checkpoint.files)
    const [fp32, compact] = [await weightFile(checkpoint, hash), await weightFile(checkpoint, hash, { keeping: 'compact' })]
    await checkpoint.file.close()
    return { checkpoint, fp32, compact }
  })()

  test('have the values of float32, each type but those whose scales are not known', async () => {
    const { checkpoint, fp32, compact } = await forms
    for (const key of fp32.tensors.keys())
      expect(unsigned(await readWeight(compact, key))).toEqual(unsigned(await readWeight(fp32, key)))
    const wide = checkpoint.weights.filter(({ shape }) => shape.length === 2).map(({ name }) => compact.tensors.get(name)!.dtype)
    const inBlocks = wide.filter(dtype => dtype === 'int8').length
    expect([inBlocks, wide.length - inBlocks]).toEqual(name === 'mixed' ? [9, 2] : [7, 4])
    expect(statSync(join(compact.folder, 'weights.bin')).size).toBe(sealedLength(weightBytes(checkpoint, 'compact')))
  })

  test('give the same products, gradients and rows to the bit', async () => {
    const { checkpoint, fp32, compact } = await forms
    const names = [...compact.tensors.keys()].filter(key => compact.tensors.get(key)!.shape.length === 2)
    const results = []
    for (const weights of [fp32, compact]) {
      await using program = await Program.compile(
        {
          name: 'blocks',
          inputs: Object.fromEntries(
            names.map(key => [key, { shape: ['R', weights.tensors.get(key)!.shape[1]!], dtype: 'float32' as const }]),
          ),
          dims: { R: [1, 8] },
          weights,
          fn: (given, weight) =>
            Object.fromEntries(
              names.flatMap(key => {
                const w = weight(key)
                const { value, grad } = tf.valueAndGrad(x => tf.sum(tf.square(linear(x, w))))(given[key]!)
                const rows = tf.gather(w, tf.tensor1d([2, 0], 'int32'))
                return [
                  [`value ${key}`, value],
                  [`gradient ${key}`, grad as tf.Tensor],
                  [`rows ${key}`, rows],
                ]
              }),
            ),
        },
        { threads: 1 },
      )
      results.push(
        await program.run(
          Object.fromEntries(names.map((key, i) => [key, random(i, [3 * weights.tensors.get(key)!.shape[1]!]).data])),
        ),
      )
    }
    expect(names.length).toBeGreaterThan(checkpoint.config.numLayers)
    for (const [key, values] of Object.entries(results[0]!))
      expect(unsigned(results[1]![key] as Float32Array)).toEqual(unsigned(values as Float32Array))
  })
})

test('a run is learned from compact weights, stopped, and gone on with to the same bits', async () => {
  const { folder, remove } = temporaryFolder()
  try {
    const config = (out: string, keepWeights: 'fp32' | 'compact', steps: number) =>
      toyConfig(folder, { model: 'test/fixtures/models/llama-f16', out: join(folder, out), keepWeights, train: { steps } })
    const tensors = async (out: string) => (await readPrompt(join(folder, out, 'prompt.safetensors'))).tensors
    await tune(config('fp32', 'fp32', 4))
    await tune(config('compact', 'compact', 4))
    expect(await tensors('compact')).toEqual(await tensors('fp32'))
    const controller = new AbortController()
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === 2 && controller.abort()
    const cut = tune(config('cut', 'compact', 4), { signal: controller.signal, onEvent })
    expect(await problemOf(cut)).toMatchObject({ code: 'aborted' })
    await resume(join(folder, 'cut'))
    expect(await tensors('cut')).toEqual(await tensors('compact'))
  } finally {
    remove()
  }
})

describe('a weight that is too large to be unpacked at once', () => {
  const columns = 1024
  const rows = UNPACKED_BYTES / 4 / columns + 100
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-'))
  const { data } = random(1, [rows * columns])
  const halves = new Uint16Array(data.length)
  encodeFloat16(data, halves)
  const values = Float32Array.from(data, (_, i) => float16Values[halves[i]!]!)
  const file = (name: string, bytes: Float32Array | Uint16Array, dtype: 'float16' | 'float32'): WeightFile => {
    writeFileSync(join(folder, name), bytes)
    const tensor = { file: name, offset: 0, byteLength: bytes.byteLength, shape: [rows, columns], dtype }
    return { folder, hash: name, tensors: new Map([['w', tensor]]) }
  }
  const forms = [file('f32.bin', values, 'float32'), file('f16.bin', halves, 'float16')]
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  test('gives the same products by parts, forward and back', async () => {
    const x = random(2, [3, columns]).data
    const results = []
    for (const weights of forms) {
      await using program = await Program.compile(
        {
          name: 'parts',
          inputs: { x: { shape: ['R', columns], dtype: 'float32' }, at: { shape: [2], dtype: 'int32' } },
          dims: { R: [1, 8] },
          weights,
          fn: ({ x, at }, weight) => {
            const w = weight('w')
            const { value, grad } = tf.valueAndGrad(x => tf.sum(tf.square(linear(x, w))))(x!) as {
              value: tf.Tensor
              grad: tf.Tensor
            }
            return {
              value,
              grad,
              product: linear(x!, w),
              transposed: tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D, false, true),
              rows: tf.gather(w, at as tf.Tensor1D),
            }
          },
        },
        { threads: 1 },
      )
      results.push(await program.run({ x, at: Int32Array.from([rows - 1, 0]) }))
    }
    const [one, other] = results
    expect(other!.product).toEqual(one!.product)
    expect(other!.transposed).toEqual(one!.transposed)
    expect(other!.rows).toEqual(one!.rows)
    // The sums of the gradient are taken in another order.
    expect(difference(other!.grad as Float32Array, one!.grad as Float32Array)).toBeLessThan(1e-5)
  })
})

describe('what is kept how', () => {
  const path = 'test/fixtures/models/llama-f16'

  test('float32 where it takes half of the memory at most, what is asked for otherwise', async () => {
    const checkpoint = await openCheckpoint(path)
    await checkpoint.file.close()
    const fp32 = weightBytes(checkpoint)
    const keeping = (budget: number, choice?: 'auto' | 'fp32' | 'compact') => new MemoryPlan(checkpoint, budget, choice).keeping
    expect(keeping(2 * fp32)).toBe('fp32')
    expect(keeping(2 * fp32 - 1)).toBe('compact')
    expect(keeping(fp32, 'fp32')).toBe('fp32')
    expect(keeping(1e12, 'compact')).toBe('compact')
    const [large, small] = (['fp32', 'compact'] as const).map(choice => new MemoryPlan(checkpoint, 1e12, choice))
    const saved = large!.estimate(10, 1, true) - small!.estimate(10, 1, true)
    expect(saved).toBeLessThan(large!.weights - small!.weights)
    const refused = problem(() => new MemoryPlan(checkpoint, 1e6, 'fp32').requireWeights())
    expect(refused.hint).toContain('--keep-weights compact')
  })

  test('no more than 4 GB of float32, however much there is to use', async () => {
    const checkpoint = await openCheckpoint(path)
    await checkpoint.file.close()
    const [{ parts }] = checkpoint.weights as [(typeof checkpoint.weights)[0]]
    const keeping = (rows: number) => {
      const shape = [rows, 1000]
      const weights = [{ name: 'embedding', shape, parts: [{ source: parts[0]!.source, shape }] }]
      return new MemoryPlan({ ...checkpoint, weights }, 1e12).keeping
    }
    expect(keeping(999_000)).toBe('fp32')
    expect(keeping(1_001_000)).toBe('compact')
  })

  test('a checkpoint of float32 has no smaller form', async () => {
    const checkpoint = await openCheckpoint('test/fixtures/models/llama-gqa')
    await checkpoint.file.close()
    expect(weightBytes(checkpoint, 'compact')).toBe(weightBytes(checkpoint))
    expect(new MemoryPlan(checkpoint, 1000).keeping).toBe('fp32')
  })

  test('is refused where it cannot be', async () => {
    const refused = await problemOf(loadModel(path, { keepWeights: 'compact', device: 'webgpu' }))
    expect(refused.code).toBe('invalid-option')
    expect((await problemOf(loadModel(path, { keepWeights: 'small' as never }))).code).toBe('invalid-option')
  })
})
