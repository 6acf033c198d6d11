import * as tf from '@tensorflow/tfjs'
import { expect, test } from 'vitest'
import { Program } from '../../src/program/program.js'
import { runEagerly } from '../../src/program/eager.js'

test('a function with a gradient serves every size', async () => {
  const spec = {
    name: 'toy',
    inputs: { x: { shape: ['R', 4], dtype: 'float32' as const }, w: { shape: [4, 3], dtype: 'float32' as const } },
    dims: { R: [1, 64] as const },
    fn: ({ x, w }: Record<string, tf.Tensor>) => {
      const { value, grads } = tf.valueAndGrads((x: tf.Tensor, w: tf.Tensor) => tf.mean(tf.square(tf.softmax(tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D)))))([x!, w!])
      return { loss: value, dx: grads[0]!, dw: grads[1]! }
    },
  }
  const program = await Program.compile(spec)
  for (const rows of [1, 5, 64]) {
    const x = Float32Array.from({ length: rows * 4 }, (_, i) => Math.sin(i))
    const w = Float32Array.from({ length: 12 }, (_, i) => Math.cos(i))
    const compiled = await program.run({ x, w })
    const eager = await runEagerly(spec, { x: { data: x, shape: [rows, 4] }, w: { data: w, shape: [4, 3] } })
    for (const name of ['loss', 'dx', 'dw']) {
      expect(compiled[name]!.length).toBe(eager[name]!.data.length)
      for (const [i, value] of compiled[name]!.entries()) expect(Number(value)).toBeCloseTo(Number(eager[name]!.data[i]), 6)
    }
  }
})
