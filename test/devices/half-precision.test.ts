import { afterAll, describe, expect, test } from 'vitest'
import { resumeTune, tune } from '../../src/api/tune.js'
import { productsOf } from '../../src/generate/programs.js'
import { chooseWidth } from '../../src/generate/width.js'
import { meanCrossEntropy } from '../../src/losses/index.js'
import { plainPrompt } from '../../src/model/active-prompt.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { initialLossScale, LossScale } from '../../src/model/loss-scale.js'
import { gradientRequest } from '../../src/model/model-programs.js'
import { deviceProfile } from '../../src/program/devices.js'
import { SizeExpression } from '../../src/program/operations/sizes.js'
import { programFile } from '../../src/program/program-file.js'
import { inHalfPrecision } from '../../src/program/rewrite/half-precision.js'
import { Session } from '../../src/program/session.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { random, relativeError } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** Products of 16 bits, computed on the processor: ONNX Runtime casts around those of fp16, and has none of bf16. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

const rows = [11, 23, 30].map((length, i) => {
  const ids = Array.from({ length }, (_, j) => (7 * j + 3 * i + j * j) % 64)
  return { ids, labels: ids.map((id, at) => (at >= length - 3 ? id : -100)) }
})
const softPrompt = (size: number) => ({ data: random(5, [4, size], 0.3).data, shape: [4, size] as const })

async function computed(precision: 'fp32' | 'fp16' | 'bf16') {
  await using model = await LanguageModel.load(toyModel, { precision, threads: 1 })
  const { loss, gradient } = await model.lossAndGradient({ softPrompt: softPrompt(model.config.hiddenSize), rows })
  return { loss, gradient, plan: model.memory, scale: model.lossScale?.state }
}

test('loss and gradient are those of float32 but for rounding to 16 bits', async () => {
  const [exact, fp16, bf16] = [await computed('fp32'), await computed('fp16'), await computed('bf16')]
  for (const [half, digits] of [
    [fp16, 1e-2],
    [bf16, 1e-1],
  ] as const) {
    const error = relativeError(half.gradient, exact.gradient)
    expect(error).toBeLessThan(digits)
    // It would be less if anything were computed in float32 alone.
    expect(error).toBeGreaterThan(digits / 100)
    expect(Math.abs(half.loss / exact.loss - 1)).toBeLessThan(digits / 10)
    expect(half.plan.weights).toBeLessThan(0.6 * exact.plan.weights)
    const step = ({ plan }: typeof exact) => plan.estimate(512, 8, true) - plan.estimate(0, 0, true)
    expect(step(half) / step(exact)).toBeCloseTo(1.5)
  }
  expect(fp16.scale).toEqual({ ...initialLossScale, good: 1 })
  expect([exact.scale, bf16.scale]).toEqual([undefined, undefined])
})

describe('programs as they are written for other devices', () => {
  /** The file of a training step, written for a device. */
  const written = async (model: LanguageModel, device: 'webgpu' | 'cuda') => {
    const prompt = plainPrompt(softPrompt(model.config.hiddenSize), model.config)
    const request = gradientRequest(model, [meanCrossEntropy], prompt)
    const spec = { ...request.spec(), name: request.name, origin: request.origin }
    const sizes = Object.entries(spec.inputs).map(([name, { shape }]) => {
      const own = shape.map(size => (typeof size === 'number' ? size : SizeExpression.parse(size)))
      return [name, own] as const
    })
    return (await programFile(spec, device, new Map(sizes))).path
  }
  const opened = (path: string) => Session.open(path, { device: 'cpu', threads: 1, optimize: false })

  test('fp16 of WebGPU is a valid program', async () => {
    await using model = await LanguageModel.load(toyModel, { precision: 'fp16', threads: 1 })
    await (await opened(await written(model, 'webgpu'))).release()
  })

  test('bf16 of CUDA has the right types: the processor lacks its products, and finds nothing else', async () => {
    await using model = await LanguageModel.load(toyModel, { precision: 'bf16', threads: 1 })
    const { found } = (await problemOf(opened(await written(model, 'cuda'))))!
    expect(found).toMatch(/Could not find an implementation for (?:Gemm|MatMul)/)
  })
})

test('moves between products are of 16 bits, and a value is cast once', () => {
  const value = (id: number, kind: 'input' | 'node') => ({
    id,
    shape: [4, 4],
    dtype: 'float32' as const,
    source: kind === 'input' ? { kind, name: `x${id}` } : { kind },
  })
  const node = (operation: string, inputs: number[], output: number) => ({ operation, inputs, attributes: {}, outputs: [output] })
  const graph = {
    dimensions: {},
    values: [value(0, 'input'), ...[1, 2, 3, 4].map(id => value(id, 'node'))],
    nodes: [node('BatchMatMul', [0, 0], 1), node('Transpose', [1], 2), node('BatchMatMul', [2, 0], 3), node('Add', [3, 2], 4)],
    outputs: { y: 4 },
  }
  const options = { type: 'float16', stored: new Map(), quantized: new Set<string>() } as const
  const types = (rounded: boolean) => {
    const { nodes, values } = inHalfPrecision(graph, { ...options, rounded })
    return nodes.map(({ operation, outputs }) => `${operation} ${values[outputs[0]!]!.dtype}`)
  }
  const half = ['BatchMatMul float16', 'Transpose float16', 'BatchMatMul float16']
  expect(types(false)).toEqual(['Cast float16', ...half, 'Cast float32', 'Cast float32', 'Add float32'])
  expect(types(true).filter(type => /MatMul|Transpose|Add/.test(type))).toEqual(
    ['BatchMatMul', 'Transpose', 'BatchMatMul', 'Add'].map(operation => `${operation} float32`),
  )
})

test('a run in fp16 says its scale, begins with its own, and goes on with what it had', async () => {
  await using model = await LanguageModel.load(toyModel, { precision: 'fp16', threads: 1 })
  const { model: _, ...config } = toyConfig(folder, { train: { steps: 2, batchSize: 4, schedule: 'constant' } })
  model.lossScale!.restore({ scale: 8, good: 150 })
  const scales: unknown[] = []
  const listen = { onEvent: (event: GradpromptEvent) => void (event.event === 'step' && scales.push(event.lossScale)) }
  const run = await tune({ ...config, model }, listen)
  // Gradients of this model were too large for the first scale.
  const { scale, good } = model.lossScale!.state
  expect([scale < initialLossScale.scale, good]).toEqual([true, 2])
  model.lossScale!.restore({ scale: 8, good: 150 })
  await resumeTune(run.folder, { ...listen, model, steps: 3 })
  expect(model.lossScale!.state).toEqual({ scale, good: 3 })
  expect(scales).toEqual(Array(3).fill(scale))
})

describe('the loss scale', () => {
  const scaled = (scale: number, limit: number) => ({
    loss: 1,
    scaled: [Float32Array.of(scale > limit ? Number.POSITIVE_INFINITY : 3 * scale)],
  })

  test('is halved until gradients are finite, which are then divided by it', async () => {
    const own = new LossScale()
    const tried: number[] = []
    const {
      scaled: [gradient],
    } = await own.gradients(async scale => {
      tried.push(scale)
      return scaled(scale, 2 ** 14)
    })
    expect(tried).toEqual([2 ** 16, 2 ** 15, 2 ** 14])
    expect(gradient).toEqual(Float32Array.of(3))
    expect(own.state).toEqual({ scale: 2 ** 14, good: 1 })
  })

  test('is doubled after 200 gradients in turn, and restored', async () => {
    const own = new LossScale()
    own.restore({ scale: 4, good: 198 })
    for (const expected of [
      { scale: 4, good: 199 },
      { scale: 8, good: 0 },
      { scale: 8, good: 1 },
    ]) {
      await own.gradients(async scale => scaled(scale, 100))
      expect(own.state).toEqual(expected)
    }
  })

  test('a loss that is none, and a gradient that no scale mends, are returned as they are', async () => {
    const own = new LossScale()
    let runs = 0
    const lost = await own.gradients(async () => ({ loss: Number.NaN, scaled: [Float32Array.of(Number.NaN)], run: runs++ }))
    expect([lost.loss, runs, own.state.scale]).toEqual([Number.NaN, 1, initialLossScale.scale])
    const {
      scaled: [gradient],
    } = await own.gradients(async scale => scaled(scale, 0))
    expect([gradient, own.state.scale]).toEqual([Float32Array.of(Number.POSITIVE_INFINITY), 1])
  })
})

test('what a device has not, and what does not go together, is refused', async () => {
  const refused = async (options: object) => (await problemOf(LanguageModel.load(toyModel, options)))!
  expect(await refused({ precision: 'fp8' })).toMatchObject({ code: 'invalid-option', expected: expect.stringContaining('fp32') })
  expect(await refused({ device: 'webgpu', precision: 'bf16' })).toMatchObject({ code: 'invalid-option', expected: 'fp32, fp16' })
  expect(await refused({ keepWeights: 'compact', precision: 'fp16' })).toMatchObject({ code: 'invalid-option' })
  expect(deviceProfile('cuda:1').halves).toEqual({ fp16: 'own', bf16: 'own' })
})

test('what writes is in the precision that was asked for, and results say so', () => {
  const plan = { budget: 1, float32Weights: 100 }
  expect((['fp32', 'compact', 'fp16', 'bf16'] as const).map(keeping => chooseWidth('auto', { ...plan, keeping }))).toEqual([
    ...['stored', 'stored'],
    ...['fp32', 'fp32'],
  ])
  const weights = { folder: '', tensors: new Map(), hash: '' }
  expect(productsOf({ weights: { ...weights, precision: 'bf16' } }, 'fp32')).toBe('bf16')
  expect(productsOf({ weights }, 'fp32')).toBe('fp32')
  expect(productsOf({ weights: { ...weights, precision: 'bf16' } }, 'stored')).toBe('stored')
})
