import { describe, expect, test } from 'vitest'
import { agreeing } from '../../../src/train/meta/filters.js'
import { type MetaModel, type MetaStep, metaGradient } from '../../../src/train/meta/meta-gradient.js'
import { metaSchema } from '../../../src/train/meta/options.js'
import {
  initialRegulator,
  mixed,
  regulate,
  regulatorGradient,
  regulatorParameters,
  rescaleRows,
} from '../../../src/train/meta/regulator.js'
import { drawTasks, metaTasks } from '../../../src/train/meta/tasks.js'
import { createOptimizer } from '../../../src/train/steps/optimizers.js'
import { random } from '../../support/numbers.js'
import { problem } from '../../support/problem.js'

/** Arithmetic of meta-learned starts, by what the papers' formulas come to. */

const vector = (...values: number[]) => new Map([['prompt', Float32Array.from(values)]])

describe('tasks of a step', () => {
  const records = Array.from({ length: 14 }, (_, i) => ({ kind: ['a', 'b', 'c'][i % 3]!, text: String(i) }))
  const tasks = metaTasks(records, 'kind')
  const options = metaSchema.parse({ tasks: 'kind', tasksPerStep: 2, inner: { steps: 2 } })

  test('are drawn by seed and step, and their rows are of them alone', () => {
    const drawn = drawTasks(tasks, 3, options, { batchSize: 2, seed: 5 })
    expect(drawTasks(tasks, 3, options, { batchSize: 2, seed: 5 })).toEqual(drawn)
    expect(drawTasks(tasks, 4, options, { batchSize: 2, seed: 5 })).not.toEqual(drawn)
    expect(new Set(drawn.map(({ name }) => name)).size).toBe(2)
    for (const { name, support, query, others } of drawn) {
      expect(support).toHaveLength(2)
      expect(others).toHaveLength(3)
      for (const batch of [...support, query]) {
        expect(batch).toHaveLength(2)
        expect(batch.every(place => records[place]!.kind === name)).toBe(true)
      }
      // Four rows: two batches are all of them, and the next begins again.
      expect(new Set(support.flat()).size).toBe(4)
      expect(others.flat().every(place => records[place]!.kind !== name)).toBe(true)
    }
  })

  test('one task is none, and a column that is not there is named', () => {
    expect(problem(() => metaTasks([{ kind: 'a' }, { kind: 'a' }], 'kind'))).toMatchObject({ code: 'too-few-tasks' })
    expect(problem(() => metaTasks([{ text: 'a' }], 'kind'))).toMatchObject({ code: 'missing-column' })
  })
})

describe('the filter of agreement', () => {
  test('takes out what speaks against the other gradient, and nothing else', () => {
    const against = agreeing(vector(1, -1), vector(0, 2))
    expect([...against.gradients.get('prompt')!]).toEqual([1, 0])
    expect(against.cosine).toBeCloseTo(-Math.SQRT1_2, 6)
    expect([...agreeing(vector(1, 1), vector(0, 2)).gradients.get('prompt')!]).toEqual([1, 1])
    expect([...agreeing(vector(1, 1), vector(0, 0)).gradients.get('prompt')!]).toEqual([1, 1])
    // Over all parameters together: what one of them has against it another may outweigh.
    const both = (a: number, b: number) => new Map([...vector(a), ['other', Float32Array.of(b)] as const])
    expect(agreeing(both(-1, 3), both(1, 1)).gradients.get('prompt')![0]).toBe(-1)
  })
})

describe('the regulator', () => {
  const sizes = { hiddenSize: 6, rank: 3, width: 4 }
  const g = random(1, [2, 6], 1).data
  const state = random(2, [6], 3).data

  test('rows take the length of the gradient rows, and the gate mixes', () => {
    expect([...rescaleRows([1, 0], [3, 4], 2)]).toEqual([5, 0])
    expect([...mixed([5, 0], [3, 4], 0.25)]).toEqual([4.5, 1])
    expect([...rescaleRows([0, 0, 1, 0], [3, 4, 0, 2], 2)]).toEqual([0, 0, 2, 0])
  })

  test('begins at the gradient itself', () => {
    const made = regulate(initialRegulator(sizes, 7), g, state)
    for (const [i, x] of made.gradient.entries()) expect(x).toBeCloseTo(g[i]!, 6)
    expect(made.gate).toBeGreaterThan(0)
    expect(made.gate).toBeLessThan(1)
  })

  test('its weights have the gradient of finite differences', () => {
    const weights = new Map(
      regulatorParameters(sizes).map(({ name, shape }, k) => [name, random(11 + k, [...shape], 0.7).data] as const),
    )
    const slope = random(3, [2, 6], 1).data
    const agreement = 0.8
    const value = () => {
      const { gradient, gate } = regulate(weights, g, state)
      return gradient.reduce((sum, x, i) => sum + x * slope[i]!, 0) + (gate - agreement) ** 2
    }
    const found = regulatorGradient(weights, regulate(weights, g, state), slope, agreement)
    let largest = 0
    for (const [name, values] of weights)
      for (const i of values.keys()) {
        const before = values[i]!
        const step = 2e-3
        values[i] = before + step
        const above = value()
        values[i] = before - step
        const below = value()
        values[i] = before
        largest = Math.max(largest, Math.abs(found.get(name)![i]!))
        expect(Math.abs(found.get(name)![i]! - (above - below) / (2 * step))).toBeLessThan(3e-3)
      }
    expect(largest).toBeGreaterThan(0.1)
  })
})

describe('a step', () => {
  /** Task t has the loss sum (P - goal_t)^2; its rows are called after it. */
  const goals = [
    [1, 5],
    [3, -1],
  ]
  const model: MetaModel = {
    async gradient(parameters, places) {
      const [values, goal] = [parameters.get('prompt')!, goals[places[0]! % 2]!]
      return {
        loss: values.reduce((sum, x, i) => sum + (x - goal[i]!) ** 2, 0),
        gradients: new Map([['prompt', values.map((x, i) => 2 * (x - goal[i]!))]]),
      }
    },
    state: async places => Float64Array.of(1, places[0]! % 2),
  }
  const shapes = [{ name: 'prompt', shape: [1, 2] }]
  const tasks = metaTasks(Array.from({ length: 12 }, (_, i) => ({ kind: String(i % 2) })), 'kind') // biome-ignore format: a call
  const stepOf = (given: object): MetaStep => ({
    options: metaSchema.parse({ tasks: 'kind', inner: { steps: 3, learningRate: 0.1, optimizer: 'sgd' }, ...given }),
    shapes,
    model,
    maxGradientNorm: Number.POSITIVE_INFINITY,
  })

  test('of Reptile moves towards the adapted prompt, and two tasks settle around their middle', async () => {
    const step = stepOf({})
    const parameters = vector(0, 0)
    const one = await metaGradient(parameters, drawTasks(tasks, 0, step.options, { batchSize: 2, seed: 1 }), step)
    const goal = goals[Number(drawTasks(tasks, 0, step.options, { batchSize: 2, seed: 1 })[0]!.name)]!
    // Three steps of rate 0.1 on (P - a)^2 leave 0.8^3 of the way.
    for (const [i, x] of one.gradients.get('prompt')!.entries()) expect(x).toBeCloseTo(-goal[i]! * (1 - 0.8 ** 3), 5)
    expect([...parameters.get('prompt')!]).toEqual([0, 0])
    expect(one.loss).toBeCloseTo(goal[0]! ** 2 + goal[1]! ** 2, 5)
    expect(one.figures.adaptedLoss).toBeLessThan(one.loss)
    const optimizer = createOptimizer({ type: 'sgd' }, shapes)
    const late: number[][] = []
    for (let i = 0; i < 400; i++) {
      const { gradients } = await metaGradient(parameters, drawTasks(tasks, i, step.options, { batchSize: 2, seed: 1 }), step)
      optimizer.step(parameters, gradients, 0.1)
      if (i >= 100) late.push([...parameters.get('prompt')!])
    }
    const settled = [0, 1].map(k => late.reduce((sum, row) => sum + row[k]! / late.length, 0))
    expect(settled[0]).toBeCloseTo(2, 0)
    expect(settled[1]).toBeCloseTo(2, 0)
  })

  test('of first-order MAML is the gradient where the prompt is adapted; a gate of one is the same', async () => {
    const step = stepOf({ update: 'maml' })
    const drawn = drawTasks(tasks, 0, step.options, { batchSize: 2, seed: 1 })
    const goal = goals[Number(drawn[0]!.name)]!
    const plain = await metaGradient(vector(0, 0), drawn, step)
    for (const [i, x] of plain.gradients.get('prompt')!.entries()) expect(x).toBeCloseTo(-2 * goal[i]! * 0.8 ** 3, 5)
    const weights = new Map(
      regulatorParameters({ hiddenSize: 2, rank: 2, width: 2 }).map(
        ({ name, shape }, k) => [name, random(5 + k, [...shape], 1).data] as const,
      ),
    )
    // The logit is large for every state: all of the gradient goes past the network.
    weights.set('regulator.gate', Float32Array.of(100, 100, 100, 100))
    weights.set('regulator.out', Float32Array.of(100, 100))
    const open = { ...stepOf({ update: 'maml', filter: 'regulated' }), regulator: weights }
    const regulated = await metaGradient(vector(0, 0), drawn, open)
    expect(regulated.figures.gate).toBe(1)
    expect(regulated.gradients.get('prompt')).toEqual(plain.gradients.get('prompt'))
    expect([...regulated.gradients.keys()]).toEqual(['prompt', ...weights.keys()])
    // With the gate shut the network decides, and the prompt goes another way.
    weights.set('regulator.out', Float32Array.of(-100, -100))
    const shut = await metaGradient(vector(0, 0), drawn, open)
    expect(shut.gradients.get('prompt')).not.toEqual(plain.gradients.get('prompt'))
  })

  test('inner gradients are bounded, each by itself', async () => {
    const step = { ...stepOf({ inner: { steps: 1, learningRate: 1, optimizer: 'sgd' } }), maxGradientNorm: 0.5 }
    const { gradients } = await metaGradient(vector(0, 0), drawTasks(tasks, 0, step.options, { batchSize: 2, seed: 1 }), step)
    expect(Math.hypot(...gradients.get('prompt')!)).toBeCloseTo(0.5, 4)
  })

  test('with the filter of agreement asks another task, and follows what both want', async () => {
    // At (2, 2) the two tasks pull in opposite directions: nothing is left.
    const step = stepOf({ filter: 'agreement', inner: { steps: 1, learningRate: 0.1, optimizer: 'sgd' } })
    const drawn = drawTasks(tasks, 0, step.options, { batchSize: 2, seed: 1 })
    const { gradients, figures } = await metaGradient(vector(2, 2), drawn, step)
    expect(figures.agreement).toBeCloseTo(-1, 6)
    for (const x of gradients.get('prompt')!) expect(x).toBeCloseTo(0, 6)
  })
})
