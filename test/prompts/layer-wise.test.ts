import { afterAll, describe, expect, test } from 'vitest'
import type { ModelConfig } from '../../models/blocks/family.js'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { meanCrossEntropy } from '../../src/losses/index.js'
import { gradientRequest, readingRequest } from '../../src/model/model-programs.js'
import { targetLogProbabilities } from '../../src/model/readings.js'
import { traceGraph } from '../../src/program/graph.js'
import { specOf } from '../../src/program/open-programs.js'
import { SizeExpression } from '../../src/program/operations/sizes.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { random } from '../support/numbers.js'
import {
  disposeModels,
  expectParity,
  methodConfig,
  type PromptFixture,
  promptFixture,
  tinyModel,
} from '../support/prompt-fixtures.js'

afterAll(disposeModels)

const given = (fixture: PromptFixture, ...names: readonly string[]) =>
  new Map(names.map(name => [name, fixture.tensors.get(name)!.data] as const))

/** Copies of a row, [d] -> [k, d]. */
const tiled = (row: Float32Array, count: number) =>
  Float32Array.from({ length: row.length * count }, (_, i) => row[i % row.length]!)

/** The way back for gradients: [k, d] -> [d] */
function summed(rows: Float32Array, width: number): Float32Array {
  const sum = new Float32Array(width)
  for (const [i, x] of rows.entries()) sum[i % width]! += x
  return sum
}

describe('layer-wise methods compute what torch and PEFT compute', () => {
  test.each(['prefix-tuning', 'prefix-tuning-gpt2', 'prefix-tuning-projection'])('%s', async name => {
    const fixture = await promptFixture(name)
    const { projection, numVirtualTokens, encoderHidden } = fixture.method
    const config = methodConfig({
      type: 'prefix-tuning',
      numVirtualTokens,
      projection,
      ...(projection ? { encoderHiddenSize: encoderHidden } : {}),
    })
    const network = ['embedding.weight', 'transform.0.weight', 'transform.0.bias', 'transform.2.weight', 'transform.2.bias']
    await expectParity(fixture, config, given(fixture, ...(projection ? network : ['prefix'])))
  })

  test.each(['adaption-prompt', 'adaption-prompt-gpt2'])('%s', async name => {
    const fixture = await promptFixture(name)
    await expectParity(fixture, methodConfig(fixture.method), given(fixture, 'prompt', 'gate'))
  })

  test.each(['iapt', 'iapt-shared', 'iapt-gpt2'])('%s', async name => {
    const fixture = await promptFixture(name)
    const { numVirtualTokens, bottleneck, groups, bias } = fixture.method
    const sharing = (groups as number[]).filter(group => group === 0).length
    const config = methodConfig({ type: 'iapt', numVirtualTokens, bottleneck, sharing, bias, normalize: false })
    const names = ['down', 'pool', 'up', 'numerator', 'denominator', ...(bias ? ['bias'] : [])]
    await expectParity(fixture, config, given(fixture, ...names))
  })

  test.each(['lpt-static', 'lpt-last', 'lpt-average', 'lpt-maximum', 'lpt-gpt2'])('%s', async name => {
    const fixture = await promptFixture(name)
    const { numVirtualTokens, insertionLayer, generator, bottleneck } = fixture.method
    const ours = { static: 'none', last: 'last-token', average: 'mean', maximum: 'max' }[generator as string]!
    const config = methodConfig({
      type: 'lpt',
      numVirtualTokens,
      insertionLayer,
      generator: ours,
      normalize: false,
      ...(bottleneck ? { bottleneck } : {}),
    })
    if (ours === 'none') return expectParity(fixture, config, given(fixture, 'prompt'))
    const parameters = given(fixture, 'down', 'downBias', 'up', 'upBias')
    if (ours === 'last-token') return expectParity(fixture, config, parameters)
    // Theirs has one bias for all rows, ours one for each.
    const bias = parameters.get('upBias')!
    parameters.set('upBias', tiled(bias, numVirtualTokens as number))
    await expectParity(fixture, config, parameters, (name, gradient) =>
      name === 'upBias' ? summed(gradient, bias.length) : gradient,
    )
  })

  test.each(['idpg', 'idpg-gpt2'])('%s', async name => {
    const fixture = await promptFixture(name)
    const config = methodConfig({ ...fixture.method, normalize: false })
    await expectParity(fixture, config, given(fixture, 'down', 'downBias', 'up', 'upBias'))
  })

  test.each(['loreft', 'direft-gpt2'])('%s', async name => {
    const fixture = await promptFixture(name)
    await expectParity(fixture, methodConfig(fixture.method), given(fixture, 'rotation', 'source', 'bias'))
  })

  test.each(['steering', 'steering-gpt2'])('%s', async name => {
    const fixture = await promptFixture(name)
    await expectParity(fixture, methodConfig(fixture.method), given(fixture, 'vector'))
  })
})

/** A method somewhere: every parameter is noise. */
async function anyPrompt(options: { readonly type: string }, family: string) {
  const model = await tinyModel(family)
  const config = methodConfig(options)
  const method = promptMethods.get(config.type)!
  const parameters = method
    .parameters(config, model.config)
    .map(({ name, shape }, i) => [name, random(i + 1, shape, name === 'numerator' ? 0.01 : 0.4).data] as const)
  return { model, prompt: { method, config, parameters: new Map(parameters) } }
}

describe('generation goes on as scoring says', () => {
  test.each([
    { type: 'prefix-tuning', numVirtualTokens: 3, family: 'llama-gqa' },
    { type: 'adaption-prompt', adapterLayers: 2, family: 'gpt2' },
    { type: 'iapt', bottleneck: 5, family: 'llama-gqa' },
    { type: 'iapt', bottleneck: 5, family: 'gpt2' },
    { type: 'lpt', family: 'llama-gqa' },
    { type: 'lpt', generator: 'mean', bottleneck: 5, family: 'llama-gqa' },
    { type: 'idpg', bottleneck: 5, family: 'gpt2' },
    { type: 'softcot', numVirtualTokens: 3, beforeLast: 2, family: 'llama-gqa' },
    { type: 'softcot', family: 'gpt2' },
    { type: 'loreft', rank: 3, firstTokens: 2, lastTokens: 2, family: 'llama-gqa' },
    { type: 'loreft', rank: 3, variant: 'direft', layers: 2, family: 'gpt2' },
    { type: 'steering', layers: [0, 2], family: 'gpt2' },
  ])('$type on $family', async ({ family, ...options }) => {
    const { model, prompt } = await anyPrompt(options, family)
    const engine = await GenerationEngine.open(model, {
      weights: 'fp32',
      endTokenIds: [],
      prompts: { prompt },
      defaultPrompt: 'prompt',
    })
    try {
      const contexts = [[9], [9, 5, 6, 30, 41], [17, 5, 6, 30, 41, 12, 55, 7]]
      const found = await Promise.all(
        contexts.map((ids, seed) => engine.generate({ ids, maxNewTokens: 8, temperature: 1, seed, logProbabilities: true })),
      )
      for (const [i, context] of contexts.entries()) {
        const { ids, logProbabilities } = found[i]!
        const [[wanted]] = (await model.logLikelihoods(prompt, [{ context, candidates: [{ ids }] }])) as [[number]]
        expect(logProbabilities!.reduce((sum, x) => sum + x, 0)).toBeCloseTo(wanted, 4)
      }
    } finally {
      await engine.dispose()
    }
  })
})

test('no gradient passes below the insertion layer', async () => {
  const nodes = async (options: { readonly type: string }, kind: 'gradient' | 'logProbabilities') => {
    const { model, prompt } = await anyPrompt(options, 'llama-gqa')
    const { inputs, dims, fn, weights } = specOf(
      kind === 'gradient'
        ? gradientRequest(model, [meanCrossEntropy], prompt)
        : readingRequest(model, targetLogProbabilities, prompt),
    )
    const declared = Object.entries(inputs).map(([name, { dtype, shape }]) => ({
      name,
      dtype,
      shape: shape.map(size => (typeof size === 'number' ? size : SizeExpression.parse(size))),
    }))
    const tensors = new Map(
      [...weights!.tensors].map(([name, { shape, dtype }]) => [name, { shape: [...shape], dtype: dtype as 'float32' }]),
    )
    return traceGraph(fn, declared, tensors, dims).nodes.length
  }
  for (const generator of ['none', 'last-token', 'attention']) {
    const options = (insertionLayer: number) => ({ type: 'lpt', generator, bottleneck: 5, insertionLayer })
    const backward: number[] = []
    for (const layer of [0, 1, 2])
      backward.push((await nodes(options(layer), 'gradient')) - (await nodes(options(layer), 'logProbabilities')))
    // A layer's backward pass is some tens of nodes; every layer below the insertion has none.
    expect(backward[0]! - backward[1]!, generator).toBeGreaterThan(30)
    expect(backward[1]! - backward[2]!, generator).toBeGreaterThan(30)
  }
})

describe('options that contradict the model or each other are refused by name', () => {
  const model = { numLayers: 30, hiddenSize: 576, numKeyValueHeads: 3, headDim: 64 } as ModelConfig
  const problemOf = (options: { readonly type: string }) => promptMethods.get(options.type)!.check!(methodConfig(options), model)
  test.each([
    [{ type: 'lpt', insertionLayer: 40 }, "method.insertionLayer (40) is beyond the model's last layer (29)"],
    [{ type: 'lpt', generator: 'max', bottleneck: 600 }, "method.bottleneck (600) is beyond the model's width (576)"],
    [{ type: 'idpg', insertionLayer: 30 }, "method.insertionLayer (30) is beyond the model's last layer (29)"],
    [{ type: 'idpg', bottleneck: 577 }, "method.bottleneck (577) is beyond the model's width (576)"],
    [{ type: 'iapt', bottleneck: 577 }, "method.bottleneck (577) is beyond the model's width (576)"],
    [{ type: 'iapt', sharing: 31 }, "method.sharing (31) is more than the model's layers (30)"],
    [{ type: 'iapt', bilevel: true, activation: 'gelu' }, /method\.bilevel: true .* method\.activation: gelu/],
    [{ type: 'adaption-prompt', adapterLayers: 31 }, "method.adapterLayers (31) is more than the model's layers (30)"],
    [{ type: 'loreft', layers: [3, 30] }, 'method.layers names layer 30, which does not exist here: take 0 to 29'],
    [{ type: 'loreft', rank: 577 }, "method.rank (577) is beyond the model's width (576)"],
    [{ type: 'loreft', firstTokens: 0, lastTokens: 0 }, /method\.firstTokens and method\.lastTokens are both 0/],
    [{ type: 'steering', layers: 30 }, 'method.layers names layer 30, which does not exist here: take 0 to 29'],
    [{ type: 'steering', layers: [4, 4] }, 'method.layers names layer 4 twice'],
    [{ type: 'steering', layers: 29, init: { type: 'pairs' } }, /none behind layer 29: take 0 to 28/],
    [{ type: 'prefix-tuning', projection: true, init: { type: 'zero' } }, /method\.init\.type: zero .* method\.projection: true/],
    [{ type: 'prefix-tuning', frozenTokens: 1, projection: true }, /method\.frozenTokens \(1\) and method\.projection: true/],
    [{ type: 'prefix-tuning', frozenTokens: 2, numVirtualTokens: 2 }, /method\.frozenTokens \(2\) leaves nothing to learn/],
    [{ type: 'prefix-tuning', encoderHiddenSize: 8 }, /method\.encoderHiddenSize .* method\.projection \(false\)/],
  ] as const)('%j', (options, message) => {
    expect(problemOf(options)).toMatch(message)
  })

  test('the defaults fit', () => {
    for (const type of ['lpt', 'idpg', 'iapt', 'adaption-prompt', 'prefix-tuning', 'loreft', 'steering'])
      expect(problemOf({ type })).toBeUndefined()
  })
})
