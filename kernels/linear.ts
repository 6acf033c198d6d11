import { defineKernel, type LoweredCompact, type Lowering } from './kernel.js'
import { lowerIntegerLinear } from './linear-integer.js'
import { lowerQuantizedLinear } from './linear-quantized.js'
import { tf } from './tf.js'

const run = defineKernel({
  name: 'LinearFrozen',
  inputs: ['x', 'weight', 'bias?'],
  reference: ({ x, weight, bias }) => {
    const y = tf.matMul(x as tf.Tensor2D, weight as tf.Tensor2D, false, true) // [R, out]
    return bias ? tf.add(y, bias) : y
  },
  gradient: {
    inputsToSave: ['weight'],
    gradFunc: (dy, [weight]) => ({ x: () => tf.matMul(dy as tf.Tensor2D, weight as tf.Tensor2D) }), // [R, in]
  },
  lower: {
    shape: ({ x, weight }) => [x!.shape[0]!, weight!.shape[0]!],
    write: lowering => {
      const [x, weight, bias] = lowering.inputs
      const quantized = weight!.quantized
      if (quantized?.form === 'blocks') return lowerQuantizedLinear(lowering, quantized)
      if (quantized?.form === 'rows') return lowerIntegerLinear(lowering, quantized)
      const parts = weight!.compact?.parts ?? []
      if (parts.length > 1) return lowerByParts(lowering, parts)
      return lowering.emit('Gemm', [x!.name, weight!.name, ...(bias ? [bias.name] : [])], { transB: 1 })
    },
  },
})

/** The columns of the product run by run, so that one run of the weight's rows is unpacked at a time. */
function lowerByParts({ inputs: [x, , bias], emit }: Lowering, parts: LoweredCompact['parts']): string {
  const columns = parts.map(part => emit('Gemm', [x!.name, part.unpack()], { transB: 1 }))
  const product = emit('Concat', columns, { axis: 1 }) // [R, out]
  return bias ? emit('Add', [product, bias.name]) : product
}

/**
 * `x weightᵀ + bias` with a frozen weight: only `x` has a gradient. One orientation of the weight serves both directions: the
 * forward product transposes it while reading, the backward product takes it as it lies. In a program that takes weights at their
 * stored width, the forward product is over the quantised weight.
 *
 * @param x [R, in]
 * @param weight [out, in]
 * @param bias [out]
 * @returns [R, out]
 */
export function linear(x: tf.Tensor, weight: tf.Tensor, bias?: tf.Tensor): tf.Tensor2D {
  observer?.(x, weight)
  return run({ x, weight, bias }) as tf.Tensor2D
}

type Observer = (x: tf.Tensor, weight: tf.Tensor) => void
let observer: Observer | undefined

/** What `fn` returns, `observe` told of every linear layer that it runs. */
export function observingLinear<T>(observe: Observer, fn: () => T): T {
  observer = observe
  try {
    return fn()
  } finally {
    observer = undefined
  }
}
