import { afterAll, describe, test } from 'vitest'
import { ownCache } from '../support/cache.js'
import { disposeModels, expectParity, methodConfig, type PromptFixture, promptFixture } from '../support/prompt-fixtures.js'

ownCache()
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
})
