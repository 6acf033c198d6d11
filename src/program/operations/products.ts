import { tf } from '../../../kernels/tf.js'
import { GradpromptError } from '../../errors.js'
import { broadcast, type CompositeTable, type OperationLowering, type OperationTable } from './operation.js'

/** Products of tensors. */

export const products: OperationTable = {
  BatchMatMul: {
    inputs: ['a', 'b'],
    infer: ([a, b], { transposeA, transposeB }) => {
      const [rows, inner] = transposeA ? a!.shape.slice(-2).reverse() : a!.shape.slice(-2)
      const [innerB, columns] = transposeB ? b!.shape.slice(-2).reverse() : b!.shape.slice(-2)
      if (inner !== innerB)
        throw new GradpromptError('shape-mismatch', 'A matrix product does not fit', { found: `[${a!.shape}] x [${b!.shape}]` })
      return [{ shape: [...broadcast(a!.shape.slice(0, -2), b!.shape.slice(0, -2)), rows!, columns!], dtype: a!.dtype }]
    },
    lower: l => {
      const { transposeA, transposeB } = l.attributes
      const [a, b] = l.inputs as [OperationLowering['inputs'][0], OperationLowering['inputs'][0]]
      const parts = b.compact?.parts ?? []
      if (parts.length > 1 && a.shape.length === 2 && !transposeA)
        return transposeB ? byColumns(l, a, parts) : bySums(l, a, parts)
      if (!transposeA && !transposeB) return l.emit('MatMul', [a.name, b.name])
      if (l.has('FusedMatMul')) {
        // What ONNX Runtime's own fusion of Transpose and MatMul would arrive at.
        return l.emit(
          'FusedMatMul',
          [a.name, b.name],
          { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 },
          'com.microsoft',
        )
      }
      const swap = (x: typeof a) => l.emit('Transpose', [x.name], { perm: swapped(x.shape.length) })
      return l.emit('MatMul', [transposeA ? swap(a) : a.name, transposeB ? swap(b) : b.name])
    },
  },
  Einsum: {
    infer: (inputs, { equation }) => {
      const [terms, output] = (equation as string).replaceAll(' ', '').split('->') as [string, string]
      const sizes = new Map<string, number>()
      for (const [i, term] of terms.split(',').entries())
        for (const [j, letter] of [...term].entries()) sizes.set(letter, inputs[i]!.shape[j]!)
      return [{ shape: [...output].map(letter => sizes.get(letter)!), dtype: inputs[0]!.dtype }]
    },
    lower: l =>
      l.emit(
        'Einsum',
        l.inputs.map(input => input.name),
        { equation: l.attributes.equation },
      ),
  },
}

type Factor = OperationLowering['inputs'][0]
type Parts = NonNullable<Factor['compact']>['parts']

/** `a bᵀ`, one run of b's rows unpacked at a time. */
const byColumns = (l: OperationLowering, a: Factor, parts: Parts): string =>
  l.emit(
    'Concat',
    parts.map(part => l.emit('Gemm', [a.name, part.unpack()], { transB: 1 })),
    { axis: 1 },
  )

/** `a b`, one run of b's rows unpacked at a time: sums of products with as many columns of a. */
function bySums(l: OperationLowering, a: Factor, parts: Parts): string {
  const columns = l.emitMany('Split', [a.name, l.int64(parts.map(({ rows }) => rows))], parts.length, { axis: 1 })
  const [first, ...rest] = parts
  return rest.reduce(
    (sum, part, i) => l.emit('Gemm', [columns[i + 1]!, part.unpack(), sum]),
    l.emit('MatMul', [columns[0]!, first!.unpack()]),
  )
}

/** What dense layers of `tf.layers` run: a product, a bias and an activation in one kernel. */
export const fusedProducts: CompositeTable = {
  _FusedMatMul: {
    inputs: ['a', 'b', 'bias', 'preluActivationWeights'],
    compose: ([a, b, bias, slopes], { transposeA, transposeB, activation, leakyreluAlpha }) => {
      const product = tf.matMul(a!, b!, Boolean(transposeA), Boolean(transposeB))
      return activated(bias ? tf.add(product, bias) : product, activation, slopes, leakyreluAlpha as number)
    },
  },
}

function activated(x: tf.Tensor, activation: unknown, slopes: tf.Tensor | undefined, alpha: number): tf.Tensor {
  if (activation === undefined || activation === 'linear') return x
  if (activation === 'relu') return tf.relu(x)
  if (activation === 'relu6') return tf.relu6(x)
  if (activation === 'elu') return tf.elu(x)
  if (activation === 'sigmoid') return tf.sigmoid(x)
  if (activation === 'leakyrelu') return tf.leakyRelu(x, alpha)
  if (activation === 'prelu' && slopes) return tf.prelu(x, slopes)
  throw new GradpromptError('unsupported-operation', 'A fused product has an activation that is not known', {
    found: String(activation),
    expected: 'linear, relu, relu6, elu, sigmoid, leakyrelu or prelu',
  })
}

function swapped(rank: number): number[] {
  const axes = Array.from({ length: rank }, (_, axis) => axis)
  return axes.with(rank - 1, rank - 2).with(rank - 2, rank - 1)
}
