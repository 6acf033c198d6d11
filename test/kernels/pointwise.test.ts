import { expect, test } from 'vitest'
import { geluErf, geluTanh } from '../../kernels/gelu.js'
import type { Pointwise } from '../../kernels/pointwise.js'
import { relu } from '../../kernels/relu.js'
import { silu } from '../../kernels/silu.js'
import { tf } from '../../kernels/tf.js'
import { traceGraph } from '../../src/program/graph.js'
import { Program } from '../../src/program/program.js'
import { random } from '../support/numbers.js'

/** What an MLP's activation makes is made again in the backward pass: the same bits, and only what it takes is kept. */

const FUNCTIONS: [name: string, f: Pointwise][] = [
  ['silu', silu],
  ['gelu, tanh', geluTanh],
  ['gelu, erf', geluErf],
  ['relu', relu],
]
const inputs = { gate: { shape: ['R', 24], dtype: 'float32' }, up: { shape: ['R', 24], dtype: 'float32' } } as const

/** The product's gradients: by its kernel, or by TF.js from an activation and a product of their own. */
const gradients = (product: (gate: tf.Tensor, up: tf.Tensor) => tf.Tensor) => (given: Record<string, tf.Tensor>) => {
  const loss = (gate: tf.Tensor, up: tf.Tensor) => tf.sum(tf.sin(product(gate, up))) as tf.Scalar
  const [gate, up] = tf.grads(loss)([given.gate!, given.up!]) as [tf.Tensor, tf.Tensor]
  return { gate, up, loss: loss(given.gate!, given.up!) }
}

test.each(FUNCTIONS)('%s before a product: the bits of an activation and a product of their own', async (_, f) => {
  const data = { gate: random(1, [7, 24], 4).data, up: random(2, [7, 24]).data }
  const run = async (name: string, product: Parameters<typeof gradients>[0]) => {
    await using program = await Program.compile({ name, inputs, dims: { R: [1, 16] }, fn: gradients(product) }, { threads: 1 })
    return program.run(data)
  }
  const apart = await run('apart', (gate, up) => tf.mul(f(gate), up))
  expect(apart.gate!.some(x => x !== 0)).toBe(true)
  expect(await run('gated', f.gated)).toEqual(apart)
})

test.each(FUNCTIONS)('%s: of its values the backward pass reads those that it takes', (_, f) => {
  const placeholders = Object.entries(inputs).map(([name, { dtype }]) => ({ name, dtype, shape: [5, 24] }))
  // As after a projection: what is kept is what nodes of the forward pass have made.
  const doubled = gradients((gate, up) => f.gated(tf.mul(gate, 2), tf.mul(up, 2)))
  const { nodes, outputs } = traceGraph(doubled, placeholders, new Map(), {})
  const producer = new Map(nodes.flatMap((node, i) => node.outputs.map(id => [id, i] as const)))
  const forward = new Set<number>()
  const pending = [outputs.loss!]
  for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
    const node = producer.get(id)
    if (node === undefined || forward.has(node)) continue
    forward.add(node)
    pending.push(...nodes[node]!.inputs)
  }
  const read = new Set(
    nodes.flatMap(({ inputs }, i) => (forward.has(i) ? [] : inputs.filter(id => forward.has(producer.get(id) ?? -1)))),
  )
  // The two factors, and the product, whose sine is taken here.
  expect(read.size).toBe(3)
})
