import { afterAll, expect, test } from 'vitest'
import { meanCrossEntropy } from '../../src/losses/index.js'
import { Forest, type Target } from '../../src/model/forest/forest.js'
import { isInTurn, PART } from '../../src/model/forest/groups.js'
import { gradientRequest } from '../../src/model/model-programs.js'
import { specOf } from '../../src/program/open-programs.js'
import { Program } from '../../src/program/program.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { difference, random, type Values } from '../support/numbers.js'
import { disposeModels, methodConfig, tinyModel } from '../support/prompt-fixtures.js'

/** Attention over long texts, its groups one after the other and in parts, against what it computes of all at once. */

afterAll(disposeModels)

const placement = { numVirtualTokens: 3, position: 'before-bos' } as const
const ids = (count: number, from: number) => Array.from({ length: count }, (_, i) => (from + i * 37) % 90)

test('long texts are in parts, whose queries see the keys up to themselves; short ones are not', () => {
  const layout = (lengths: readonly number[]) =>
    new Forest(
      lengths.map((length, i) => ({ ids: ids(length, i) })),
      placement,
      { inTurn: isInTurn },
    )
  expect(layout([900]).layout).toBe('distinct')
  // Many short groups would take longer one by one.
  expect(layout(Array.from({ length: 100 }, () => 120)).layout).toBe('distinct')
  expect(layout(Array.from({ length: 20 }, () => 250)).layout).toBe('in turn')
  const long = layout([1100])
  expect(long.layout).toBe('in turn')
  const inputs = long.inputs([{ row: 1102, id: 1, weight: 1 }]).inputs as Record<string, Values>
  expect(inputs.queryIndex!.shape).toEqual([5, PART])
  expect([...(inputs.keyCount!.data as Int32Array)]).toEqual([253, 509, 765, 1021, 1100])
  // Of the last layer's parts those alone that are read.
  expect(inputs.readQueryIndex!.shape).toEqual([1, 1])
  expect('keySlot' in inputs).toBe(false)
})

test.each([
  ['llama-gqa', 'prompt-tuning'],
  ['gemma2', 'prompt-tuning'],
  ['gemma3', 'prefix-tuning'],
  ['llama-gqa', 'idpg'],
  ['llama-gqa', 'softcot'],
  ['gpt2', 'lpt'],
])('%s, %s: loss and gradients are those of all groups at once', async (name, type) => {
  const model = await tinyModel(name)
  const method = promptMethods.get(type)
  const config = methodConfig({ type, numVirtualTokens: 3 })
  const parameters = method.parameters(config, model.config)
  const place = method.placement(config, model.config)
  // Learned positions end at the context's length.
  const lengths = name === 'gpt2' ? [120, 9] : [PART + 80, 40, PART + 3]
  const texts = lengths.map((length, i) => ({ ids: ids(length, i), instructionLength: length - 5 }))
  const results = []
  for (const isLong of [false, true]) {
    const forest = new Forest(texts, place, { inTurn: () => isLong })
    const targets = texts.flatMap(({ ids, instructionLength }, i) =>
      ids.slice(instructionLength).map((id, j): Target => ({ row: forest.rowOf(i, instructionLength + j)!, id, weight: 0.1 })),
    )
    const request = gradientRequest(model, [meanCrossEntropy], { method, config }, { layout: forest.layout })
    const program = await Program.compile(specOf(request), { threads: 1 })
    const given = parameters.map(({ name, shape }, i) => [`parameter:${name}`, random(i + 1, shape, 0.3)])
    results.push(await program.runWithShapes({ ...forest.inputs(targets).inputs, ...Object.fromEntries(given) }))
    await program.dispose()
  }
  const [atOnce, inTurn] = results
  for (const [output, { data }] of Object.entries(atOnce!)) {
    expect(difference(inTurn![output]!.data, data), output).toBeLessThan(1e-5)
    expect(data.some(value => value !== 0)).toBe(true)
  }
})
