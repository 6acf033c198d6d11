import { defineKernel, type Kernel, type Lowering } from './kernel.js'
import { tf } from './tf.js'

/** 1 / sqrt(mean(x²) + epsilon), [R, 1] */
const inverseNorm = (x: tf.Tensor, epsilon: unknown) => tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon as number))

const definition: Pick<Kernel, 'inputs' | 'reference'> = {
  inputs: ['x', 'weight'],
  reference: ({ x, weight }, { epsilon }) => tf.mul(tf.mul(x!, inverseNorm(x!, epsilon)), weight!),
}

const withGradient = defineKernel({
  ...definition,
  name: 'RmsNorm',
  gradient: {
    inputsToSave: ['x', 'weight'],
    gradFunc: (dy, saved, { epsilon }) => {
      const [x, weight] = saved as [tf.Tensor, tf.Tensor]
      return {
        x: () => {
          const inverse = inverseNorm(x, epsilon)
          const g = tf.mul(dy as tf.Tensor, weight) // [R, d]
          const projection = tf.mul(tf.mean(tf.mul(g, x), -1, true), tf.square(inverse)) // [R, 1]
          return tf.mul(tf.sub(g, tf.mul(x, projection)), inverse)
        },
      }
    },
  },
})

const alone = defineKernel({
  ...definition,
  name: 'RmsNormAlone',
  lower: {
    shape: ({ x }) => x!.shape,
    write: lowering => (lowering.has('SimplifiedLayerNormalization') ? contrib(lowering) : plain(lowering)),
  },
})

/** ONNX Runtime's own operator: one pass over x, where its parts would be seven. */
function contrib({ inputs: [x, weight], attributes: { epsilon }, emit }: Lowering): string {
  return emit('SimplifiedLayerNormalization', [x!.name, weight!.name], { axis: -1, epsilon })
}

function plain({ inputs: [x, weight], attributes: { epsilon }, emit, float, int64 }: Lowering): string {
  const mean = emit('ReduceMean', [emit('Mul', [x!.name, x!.name]), int64([-1])], { keepdims: 1 })
  const norm = emit('Sqrt', [emit('Add', [mean, float(epsilon as number)])])
  return emit('Mul', [emit('Div', [x!.name, norm]), weight!.name])
}

/**
 * Root-mean-square normalisation (Zhang & Sennrich 2019): `x / sqrt(mean(x²) + epsilon) * weight` over the last axis. The weight
 * is frozen. Under a gradient its parts stay apart, because the backward pass takes the inverse norm again.
 *
 * @param x [R, d]
 * @param weight [d]
 * @returns [R, d]
 */
export function rmsNorm(x: tf.Tensor, weight: tf.Tensor, epsilon: number): tf.Tensor2D {
  const run = tf.engine().state.gradientDepth > 0 ? withGradient : alone
  return run({ x, weight }, { epsilon }) as tf.Tensor2D
}
