import { afterAll, describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { tokenCrossEntropy, tokenLogProbabilities } from '../../kernels/token-cross-entropy.js'
import { kernelCases } from '../support/kernel-fixtures.js'
import { difference, integers, random, type Values } from '../support/numbers.js'
import { Compared } from '../support/programs.js'

interface Case {
  name: string
  targets: number[]
  labelSmoothing: number
}

const dims = { Q: [1, 64], N: [1, 64] } as const
const float = (...shape: (string | number)[]) => ({ shape, dtype: 'float32' as const })
const int = (...shape: (string | number)[]) => ({ shape, dtype: 'int32' as const })

/** The vocabulary is a fixed size, as in a model. */
const lossOf = (vocabulary: number, smoothing: number) =>
  new Compared({
    name: 'loss',
    dims,
    inputs: {
      logits: float('Q', vocabulary),
      row: int('N'),
      target: int('N'),
      weight: float('N'),
      rowWeight: float('Q'),
      cotangent: float(),
    },
    compute: ({ logits, row, target, weight, rowWeight }) =>
      tokenCrossEntropy(logits!, { row: row!, target: target!, weight: weight!, rowWeight: rowWeight! }, smoothing),
    differentiable: ['logits'],
  })

const logProbabilities = (vocabulary: number) =>
  new Compared({
    name: 'log-probabilities',
    dims,
    inputs: { logits: float('Q', vocabulary), row: int('N'), target: int('N'), cotangent: float('N') },
    compute: ({ logits, row, target }) => tokenLogProbabilities(logits!, row!, target!),
    differentiable: ['logits'],
  })

const made: Compared[] = []
const keep = (compared: Compared) => {
  made.push(compared)
  return compared
}
afterAll(() => Promise.all(made.map(compared => compared.dispose())))

/** One target for each row. */
const eachRow = (targets: readonly number[], weights: Values): Record<string, Values> => ({
  row: integers(targets.map((_, i) => i)),
  target: integers(targets),
  weight: weights,
  rowWeight: weights,
})

describe.each(await kernelCases<Case>('token-cross-entropy'))('$name equals torch', ({ targets, labelSmoothing, tensors }) => {
  const { logits, weights, output, cotangent, losses } = tensors as Record<string, Values & { data: Float32Array }>
  const vocabulary = logits!.shape[1]!

  test.each(['compiled', 'eager'] as const)('loss and gradient, %s', async way => {
    const loss = keep(lossOf(vocabulary, labelSmoothing))
    const found = await loss[way]({ ...eachRow(targets, weights!), logits: logits!, cotangent: { ...cotangent!, shape: [] } })
    expect(difference(found.output!.data, output!.data)).toBeLessThan(2e-6)
    expect(difference(found['grad.logits']!.data, tensors['grad.logits']!.data)).toBeLessThan(2e-6)
  })

  test('log-probabilities', async () => {
    const subject = keep(logProbabilities(vocabulary))
    const inputs = { logits: logits!, row: integers(targets.map((_, i) => i)), target: integers(targets), cotangent: weights! }
    expect(await subject.disagreement(inputs)).toBeLessThan(2e-6)
    if (labelSmoothing > 0) return
    const { output } = await subject.compiled(inputs)
    expect(
      difference(
        (output!.data as Float32Array).map(x => -x),
        losses!.data,
      ),
    ).toBeLessThan(2e-6)
  })
})

/** Rows that predict several targets, the same one twice among them, or none. */
const SHARED = [
  { rows: 1, row: [0], target: [3] },
  { rows: 1, row: [0, 0, 0], target: [3, 9, 3] },
  { rows: 5, row: [0, 1, 1, 4, 1, 4], target: [0, 10, 2, 7, 10, 8] },
]

describe.each([0, 0.1])('rows that predict several targets, smoothing %d', smoothing => {
  const subject = keep(lossOf(11, smoothing))

  test.each(SHARED)('$row', async ({ rows, row, target }) => {
    const weight = Float32Array.from(row, (_, i) => (i + 1) / 8)
    const rowWeight = new Float32Array(rows)
    for (const [i, at] of row.entries()) rowWeight[at]! += weight[i]!
    const logits = random(rows, [rows, 11], 3)
    const inputs = {
      logits,
      row: integers(row),
      target: integers(target),
      weight: { data: weight, shape: [row.length] },
      rowWeight: { data: rowWeight, shape: [rows] },
      cotangent: { data: Float32Array.of(0.7), shape: [] },
    }
    expect(await subject.disagreement(inputs)).toBeLessThan(2e-6)
    expect(await subject.finiteDifferenceError(inputs)).toBeLessThan(1e-3)

    // The same as every target with a row of its own.
    const apart = {
      data: Float32Array.from(row.flatMap(at => [...logits.data.subarray(11 * at, 11 * at + 11)])),
      shape: [row.length, 11],
    }
    const alone = await subject.compiled({
      ...eachRow(target, inputs.weight),
      logits: apart,
      cotangent: inputs.cotangent,
    })
    const shared = await subject.compiled(inputs)
    expect(difference(shared.output!.data, alone.output!.data)).toBeLessThan(2e-6)
    const summed = new Float32Array(rows * 11)
    for (const [i, at] of row.entries())
      for (let j = 0; j < 11; j++) summed[11 * at + j]! += (alone['grad.logits']!.data as Float32Array)[11 * i + j]!
    expect(difference(shared['grad.logits']!.data, summed)).toBeLessThan(2e-6)
  })
})

test('logits far apart neither overflow nor lose the loss', async () => {
  const subject = keep(lossOf(11, 0))
  const logits = { data: new Float32Array(11).fill(-1e4), shape: [1, 11] }
  logits.data[2] = 1e4
  const inputs = {
    ...eachRow([5], { data: Float32Array.of(1), shape: [1] }),
    logits,
    cotangent: { data: Float32Array.of(1), shape: [] },
  }
  for (const results of [await subject.compiled(inputs), await subject.eager(inputs)]) {
    expect(results.output!.data[0]).toBeCloseTo(2e4, 0)
    expect([...(results['grad.logits']!.data as Float32Array)]).toEqual([0, 0, 1, 0, 0, -1, 0, 0, 0, 0, 0])
  }
})

test('rows of very different height each keep their own loss', async () => {
  const subject = keep(lossOf(11, 0))
  const logits = random(5, [3, 11])
  for (const [row, height] of [1000, -1000, 0].entries()) for (let i = 0; i < 11; i++) logits.data[11 * row + i]! += height
  const inputs = {
    ...eachRow([3, 4, 5], { data: Float32Array.of(1, 1, 1), shape: [3] }),
    logits,
    cotangent: { data: Float32Array.of(1), shape: [] },
  }
  expect((await subject.compiled(inputs)).output!.data[0]).toBeLessThan(12)
  expect(await subject.disagreement(inputs)).toBeLessThan(1e-5)
})

test('a zero weight leaves a target out', async () => {
  const subject = keep(lossOf(11, 0.1))
  const two = await subject.compiled({
    logits: random(1, [2, 11]),
    row: integers([0, 1]),
    target: integers([3, 4]),
    weight: { data: Float32Array.of(0.5, 0), shape: [2] },
    rowWeight: { data: Float32Array.of(0.5, 0), shape: [2] },
    cotangent: { data: Float32Array.of(1), shape: [] },
  })
  const gradient = two['grad.logits']!.data as Float32Array
  expect(gradient.subarray(0, 11).some(x => x !== 0)).toBe(true)
  expect(gradient.subarray(11).every(x => x === 0)).toBe(true)
  expect(tf.util.sizeFromShape(two.output!.shape as number[])).toBe(1)
})
