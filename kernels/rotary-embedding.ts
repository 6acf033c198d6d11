import { defineKernel, type Lowering } from './kernel.js'
import { tf } from './tf.js'

const run = defineKernel({
  name: 'RotaryEmbedding',
  inputs: ['x', 'cos', 'sin'],
  reference: ({ x, cos, sin }) => {
    const [first, second] = tf.split(x!, 2, -1) as [tf.Tensor, tf.Tensor] // [H, R, D/2]
    return tf.concat([tf.sub(tf.mul(first, cos!), tf.mul(second, sin!)), tf.add(tf.mul(second, cos!), tf.mul(first, sin!))], -1)
  },
  gradient: {
    inputsToSave: ['cos', 'sin'],
    // A rotation's transpose is the rotation by the opposite angle.
    gradFunc: (dy, [cos, sin]) => ({ x: () => run({ x: dy as tf.Tensor, cos: cos!, sin: tf.neg(sin!) }) }),
  },
  lower: {
    shape: ({ x }) => x!.shape,
    write: lowering => (lowering.has('RotaryEmbedding') ? contrib(lowering) : plain(lowering)),
  },
})

/** ONNX Runtime's own operator: one pass over x, whose heads are its batch. Row i of x takes row i of the tables. */
function contrib({ inputs: [x, cos, sin], emit, int64 }: Lowering): string {
  return emit('RotaryEmbedding', [x!.name, int64([0]), cos!.name, sin!.name], {}, 'com.microsoft')
}

function plain({ inputs: [x, cos, sin], emit, emitMany, int64 }: Lowering): string {
  const half = (x!.shape.at(-1) as number) / 2
  const [first, second] = emitMany('Split', [x!.name, int64([half, half])], 2, { axis: -1 }) as [string, string]
  const product = (a: string, b: string) => emit('Mul', [a, b])
  const turned = [
    emit('Sub', [product(first, cos!.name), product(second, sin!.name)]),
    emit('Add', [product(second, cos!.name), product(first, sin!.name)]),
  ]
  return emit('Concat', turned, { axis: -1 })
}

/**
 * Rotary position embedding (Su et al. 2021) in the half-rotation form of Hugging Face checkpoints: the first half of each head's
 * vector is paired with the second.
 *
 * @param x [H, R, D]
 * @param cos cosines of the angles of each row, [R, D/2]
 * @param sin sines, [R, D/2]
 * @returns [H, R, D]
 */
export function rotaryEmbedding(x: tf.Tensor, cos: tf.Tensor, sin: tf.Tensor): tf.Tensor3D {
  return run({ x, cos, sin }) as tf.Tensor3D
}
