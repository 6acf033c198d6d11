import { afterAll, describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import type { ModelConfig } from '../../models/blocks/family.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { Forest } from '../../src/model/forest/forest.js'
import { runEagerly } from '../../src/program/eager.js'
import { edgesAlike, isEdge } from '../../src/prompts/edges.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { orthonormalise } from '../../src/prompts/orthonormal.js'
import { difference, random } from '../support/numbers.js'
import { disposeModels, methodConfig, tinyModel } from '../support/prompt-fixtures.js'

/** Methods that change what layers give out: the published numbers, where they act, and the slider. */

afterAll(disposeModels)

/** What a method's hook makes of rows of three numbers in a model of one layer. */
async function changed(options: { readonly type: string }, parameters: Readonly<Record<string, [number[], number[]]>>) {
  const method = promptMethods.get(options.type)
  const config = methodConfig(options)
  const inputs = Object.fromEntries(
    Object.entries(parameters).map(([name, [shape]]) => [name, { shape, dtype: 'float32' as const }]),
  )
  const values = Object.fromEntries(
    Object.entries(parameters).map(([name, [shape, data]]) => [name, { shape, data: Float32Array.from(data) }]),
  )
  const model = { numLayers: 1, hiddenSize: 3 } as ModelConfig
  const { out } = await runEagerly(
    {
      name: 'a hook',
      inputs,
      fn: given => {
        const hidden = tf.tensor2d([1, 2, 3, 1, 2, 3], [2, 3])
        const [textIndex, answerMask] = [tf.tensor1d([0, 1], 'int32'), tf.zeros([2])]
        const edgeMask = tf.tensor1d([1, 0])
        return { out: method.layerOutput!(config, given, { layer: 0, model, hidden, textIndex, answerMask, edgeMask })! }
      },
    },
    values,
  )
  return [...out!.data]
}

describe('published numbers', () => {
  const parameters = {
    rotation: [
      [1, 1, 3],
      [1, 0, 0],
    ],
    source: [
      [1, 1, 3],
      [0, 1, 0],
    ],
    bias: [[1, 1], [0.5]],
  } as const satisfies Record<string, readonly [readonly number[], readonly number[]]>
  const given = parameters as unknown as Record<string, [number[], number[]]>

  test('LoReFT: h = (1, 2, 3), R = (1, 0, 0), W = (0, 1, 0), b = 0.5 comes to (2.5, 2, 3), and another token stays', async () => {
    expect(await changed({ type: 'loreft', layers: 0 } as never, given)).toEqual([2.5, 2, 3, 1, 2, 3])
  })

  test('DiReFT leaves out what stands there', async () => {
    expect(await changed({ type: 'loreft', layers: 0, variant: 'direft' } as never, given)).toEqual([3.5, 2, 3, 1, 2, 3])
  })

  test('a steering vector is added at every token', async () => {
    expect(
      await changed({ type: 'steering', layers: 0 } as never, {
        vector: [
          [1, 3],
          [1, -2, 0.5],
        ],
      }),
    ).toEqual([2, 0, 3.5, 2, 0, 3.5])
  })

  test('one r = 4 layer of a 7B model has 32,772 parameters', () => {
    const shapes = promptMethods.get('loreft').parameters(methodConfig({ type: 'loreft', rank: 4, layers: 3 } as never), {
      numLayers: 32,
      hiddenSize: 4096,
    } as ModelConfig)
    expect(shapes.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)).toBe(32_772)
  })
})

describe('edges of an instruction', () => {
  const edges = { first: 2, last: 1 }
  const marks = (length: number, tokens = length + 1) =>
    Array.from({ length: tokens }, (_, i) => (isEdge(edges, i, length) ? 1 : 0)).join('')

  test('are so many from each side, and half of a short one at most', () => {
    expect(marks(6)).toBe('1100010')
    expect(marks(3)).toBe('1010')
    expect(marks(1)).toBe('00')
    expect(marks(0)).toBe('0')
  })

  test('rows are shared as far as they are alike', () => {
    expect(edgesAlike(edges, [6, 6], 9)).toBe(9)
    // The last of the shorter one is none of the longer.
    expect(edgesAlike(edges, [6, 9], 9)).toBe(5)
    // A short one has one at the beginning.
    expect(edgesAlike(edges, [3, 9], 9)).toBe(1)
    const texts = [{ ids: [5, 6, 7, 8, 9, 10, 40] }, { ids: [5, 6, 7, 8, 9, 10, 11, 12, 41] }].map(text => ({
      ...text,
      instructionLength: text.ids.length - 1,
    }))
    const plain = { numVirtualTokens: 0, position: 'before-bos' } as const
    expect(new Forest(texts, plain).shared).toBe(6)
    expect(new Forest(texts, { ...plain, edges }).shared).toBe(5)
  })
})

describe('rows that are brought back to orthonormal ones', () => {
  const products = (rows: Float32Array, count: number) => {
    const width = rows.length / count
    return Array.from({ length: count * count }, (_, at) => {
      const [i, j] = [Math.floor(at / count), at % count]
      return Array.from({ length: width }, (_, k) => rows[i * width + k]! * rows[j * width + k]!).reduce((a, b) => a + b, 0)
    })
  }
  const worst = (rows: Float32Array, count: number) =>
    Math.max(...products(rows, count).map((x, at) => Math.abs(x - (at % (count + 1) === 0 ? 1 : 0))))

  test('are orthonormal, whatever they were', () => {
    for (const [count, width] of [
      [1, 3],
      [4, 9],
      [8, 576],
      [5, 5],
    ] as const) {
      const rows = Float32Array.from(random(count, [count * width], 3).data)
      orthonormalise(rows, count)
      expect(worst(rows, count)).toBeLessThan(1e-6)
    }
    const dependent = Float32Array.of(1, 2, 2, 2, 4, 4, 0, 0, 0)
    orthonormalise(dependent, 3)
    expect(worst(dependent, 3)).toBeLessThan(1e-6)
  })

  test('are the nearest: a symmetric stretch is taken back', () => {
    const rows = Float32Array.of(1, 0, 0, 0, 1, 0)
    const stretched = Float32Array.of(1.2, 0.1, 0, 0.1, 0.9, 0)
    orthonormalise(stretched, 2)
    for (const [i, x] of rows.entries()) expect(stretched[i]!).toBeCloseTo(x, 6)
  })

  test('stay as they are where numbers are not finite', () => {
    const rows = Float32Array.of(1, Number.NaN, 0)
    orthonormalise(rows, 1)
    expect([...rows]).toEqual([1, Number.NaN, 0])
  })
})

/** A method somewhere: every parameter is noise. */
async function anyPrompt(options: { readonly type: string }) {
  const model = await tinyModel('llama-gqa')
  const config = methodConfig(options)
  const method = promptMethods.get(config.type)
  const parameters = method
    .parameters(config, model.config)
    .map(({ name, shape }, i) => [name, random(i + 1, shape, 0.4).data] as const)
  return { model, prompt: { method, config, parameters: new Map(parameters) } satisfies ActivePrompt }
}

test('texts with one beginning and other ends are scored, and learned from, beside each other as alone', async () => {
  const { model, prompt } = await anyPrompt({ type: 'loreft', rank: 3, firstTokens: 2, lastTokens: 2 } as never)
  const start = [5, 6, 7, 8, 9, 10]
  const rows = [start, [...start, 11, 12], start.slice(0, 3)].map(context => ({
    context,
    candidates: [{ ids: [40, 41] }, { ids: [9] }],
  }))
  const alone = await Promise.all(rows.map(async row => (await model.logLikelihoods(prompt, [row]))[0]!))
  const together = await model.logLikelihoods(prompt, rows)
  for (const [i, scores] of together.entries())
    for (const [j, score] of scores.entries()) expect(score).toBeCloseTo(alone[i]![j]!, 5)
  const labelled = rows.map(({ context }) => ({ ids: [...context, 40, 41], labels: [...context.map(() => -100), 40, 41] }))
  const { loss } = await model.promptGradient(prompt, labelled)
  const sum = alone.reduce((total, [score]) => total + score!, 0)
  expect(loss).toBeCloseTo(-sum / 6, 5)
})

test('a backward pass that computes layers again has the same gradient to the bit', async () => {
  for (const options of [
    { type: 'loreft', rank: 3 },
    { type: 'steering', layers: [0, 2] },
  ]) {
    const { model, prompt } = await anyPrompt(options)
    const rows = [{ ids: [5, 6, 7, 8, 40], labels: [-100, -100, -100, -100, 40] }]
    const [kept, again] = [
      await model.promptGradient(prompt, rows),
      await model.promptGradient(prompt, rows, { recompute: true }),
    ]
    expect(again.loss).toBe(kept.loss)
    expect(again.gradients).toEqual(kept.gradients)
  }
})

test('texts with one beginning and other ends are answered as they are scored', async () => {
  const { model, prompt } = await anyPrompt({ type: 'loreft', rank: 3, firstTokens: 2, lastTokens: 3 } as never)
  const engine = await GenerationEngine.open(model, {
    weights: 'fp32',
    endTokenIds: [],
    prompts: { prompt },
    defaultPrompt: 'prompt',
  })
  try {
    // More than a block of the cache in common, one of them a beginning of the other.
    const start = Array.from({ length: 40 }, (_, i) => 3 + ((7 * i) % 60))
    const contexts = [start, [...start, 5, 9], [...start, 30, 41, 12, 55, 7], start]
    const answered = async () =>
      Promise.all(
        contexts.map((ids, seed) => engine.generate({ ids, maxNewTokens: 5, temperature: 1, seed, logProbabilities: true })),
      )
    // The second and third time beginnings come from the cache.
    for (const found of [await answered(), await answered(), await answered()]) {
      for (const [i, context] of contexts.entries()) {
        const { ids, logProbabilities } = found[i]!
        const [[wanted]] = (await model.logLikelihoods(prompt, [{ context, candidates: [{ ids }] }])) as [[number]]
        expect(logProbabilities!.reduce((sum, x) => sum + x, 0)).toBeCloseTo(wanted, 4)
      }
    }
    expect(engine.state.keptBytes).toBeGreaterThan(0)
  } finally {
    await engine.dispose()
  }
})

test('a strength of 0 is the model alone to the bit, -1 takes away what 1 adds', async () => {
  const { model, prompt } = await anyPrompt({ type: 'steering', layers: [0, 2] } as never)
  const at = (strength: number): ActivePrompt => ({
    ...prompt,
    parameters: prompt.method.atStrength!(prompt.config, prompt.parameters, strength) as Map<string, Float32Array>,
  })
  const rows = [
    { context: [78, 80, 31], candidates: [{ ids: [14, 9, 5] }, { ids: [60] }] },
    { context: [78, 80, 9, 12], candidates: [{ ids: [61] }] },
  ]
  expect(await model.logLikelihoods(at(0), rows)).toEqual(await model.logLikelihoods(undefined, rows))
  expect(await model.logLikelihoods(at(1), rows)).toEqual(await model.logLikelihoods(prompt, rows))
  expect(await model.logLikelihoods(at(1), rows)).not.toEqual(await model.logLikelihoods(at(-1), rows))
  expect(at(-1).parameters.get('vector')).toEqual(prompt.parameters.get('vector')!.map(x => -x))
  const answers = async (given: ActivePrompt | undefined) => {
    const engine = await GenerationEngine.open(model, {
      weights: 'fp32',
      endTokenIds: [],
      ...(given && { prompts: { given }, defaultPrompt: 'given' }),
    })
    try {
      return await engine.generate({ ids: [78, 80, 31], maxNewTokens: 6, logProbabilities: true })
    } finally {
      await engine.dispose()
    }
  }
  expect(await answers(at(0))).toEqual(await answers(undefined))
})

// Norms behind as well, attention and MLP side by side, learned positions.
test.each(['gemma2', 'falcon-7b', 'opt'])('%s: what a layer gives out is what the next one takes', async family => {
  const model = await tinyModel(family)
  const config = methodConfig({ type: 'steering', layers: 0 } as never)
  const method = promptMethods.get('steering')
  const { hiddenSize } = model.config
  const vector = random(3, [hiddenSize], 0.4)
  const prompt: ActivePrompt = { method, config, parameters: new Map([['vector', vector.data]]) }
  const ids = [5, 9, 30, 7, 12]
  const [steered] = await model.logits([ids], prompt)
  const hook = {
    inputs: { shift: { data: vector.data, shape: [hiddenSize] } },
    rows: (layer: number, x: tf.Tensor2D, own: Readonly<Record<string, tf.Tensor>>) =>
      layer === 1 ? (tf.add(x, own.shift!) as tf.Tensor2D) : undefined,
  }
  const [{ logits }] = (await model.forward([ids], { hook })) as [{ logits: Float32Array }]
  expect(difference(steered!, logits)).toBeLessThan(1e-5)
  expect(difference(steered!, (await model.logits([ids]))[0]!)).toBeGreaterThan(1e-3)
})
