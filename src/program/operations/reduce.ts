import type { LoweredSize, TensorMeta } from '../../../kernels/kernel.js'
import { axesOf, cast, ONNX_TYPES, type Operation, type OperationLowering, type OperationTable } from './operation.js'

/** Operations along axes. */

const name = (l: OperationLowering) => l.inputs[0]!.name

function reducedShape(x: TensorMeta, axes: readonly number[], keepDims: boolean): number[] {
  return x.shape.flatMap((size, axis) => (axes.includes(axis) ? (keepDims ? [1] : []) : [size]))
}

/** `axesAsInput`: ONNX passes the axes of ReduceSum (from opset 13) and of the others (from opset 18) as a tensor. */
const reduction = (operator: string, dtype?: (x: TensorMeta) => TensorMeta['dtype']): Operation => ({
  // TF.js calls the axes of Max by another name.
  canonical: ([x], { axis, reductionIndices, keepDims }) => ({
    axes: axesOf(axis ?? reductionIndices, x!),
    keepDims: Boolean(keepDims),
  }),
  infer: ([x], { axes, keepDims }) => [
    { shape: reducedShape(x!, axes as number[], keepDims as boolean), dtype: dtype?.(x!) ?? x!.dtype },
  ],
  lower: l => {
    const axes = l.attributes.axes as number[]
    let x = name(l)
    const logical = operator === 'All' || operator === 'Any'
    if (logical) x = l.emit('Cast', [x], { to: ONNX_TYPES.int32! })
    if (operator === 'ReduceMean' && l.inputs[0]!.dtype !== 'float32') x = l.emit('Cast', [x], { to: ONNX_TYPES.float32! })
    if (axes.length === 0) return logical ? name(l) : l.emit('Identity', [x])
    const onnx = operator === 'All' ? 'ReduceMin' : operator === 'Any' ? 'ReduceMax' : operator
    const reduced = l.emit(onnx, [x, l.int64(axes)], { keepdims: l.attributes.keepDims ? 1 : 0 })
    return logical ? l.emit('Cast', [reduced], { to: ONNX_TYPES.bool! }) : reduced
  },
})

const arg = (operator: string): Operation => ({
  canonical: ([x], { axis }) => ({ axes: axesOf(axis, x!) }),
  infer: ([x], { axes }) => [{ shape: reducedShape(x!, axes as number[], false), dtype: 'int32' }],
  lower: l =>
    l.emit('Cast', [l.emit(operator, [name(l)], { axis: (l.attributes.axes as number[])[0], keepdims: 0 })], {
      to: ONNX_TYPES.int32!,
    }),
})

const along = (operator: string, attribute: string): Operation => ({
  canonical: ([x], attributes) => ({ axis: axesOf(attributes[attribute] ?? -1, x!)[0] }),
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  lower: l => l.emit(operator, [name(l)], { axis: l.attributes.axis }),
})

const cumulative = (lower: Operation['lower'], dtype: (x: TensorMeta) => TensorMeta['dtype']): Operation => ({
  canonical: ([x], { axis, exclusive, reverse }) => ({
    axis: axesOf(axis, x!)[0],
    exclusive: exclusive ? 1 : 0,
    reverse: reverse ? 1 : 0,
  }),
  infer: ([x]) => [{ shape: x!.shape, dtype: dtype(x!) }],
  lower,
})

/** Products of all that stand before, in a loop over the axis: ONNX has no operator of its own for it. */
function cumulativeProduct(l: OperationLowering): string {
  const { axis, exclusive, reverse } = l.attributes as Record<string, number>
  const { shape, dtype } = l.outputs[0]!
  const first = l.emit('ConstantOfShape', [l.int64(shape.toSpliced(axis!, 1))], { value: { dtype, values: [1] } })
  const x = l.inputs[0]!.dtype === dtype ? name(l) : cast(l, name(l), dtype)
  const [, products] = l.scan({
    states: [{ name: first, dtype }],
    over: [{ name: x, dtype, axis: axis! }],
    outputs: [{ dtype, axis: axis! }],
    reverse: reverse === 1,
    step: (emit, [before], [at]) => {
      const next = emit('Mul', [before!, at!])
      return [next, exclusive ? before! : next]
    },
  })
  return products!
}

export const reduce: OperationTable = {
  Sum: reduction('ReduceSum'),
  Mean: reduction('ReduceMean', () => 'float32'),
  Max: reduction('ReduceMax'),
  Min: reduction('ReduceMin'),
  Prod: reduction('ReduceProd'),
  All: reduction('All'),
  Any: reduction('Any'),
  ArgMax: arg('ArgMax'),
  ArgMin: arg('ArgMin'),
  Softmax: along('Softmax', 'dim'),
  LogSoftmax: along('LogSoftmax', 'axis'),
  Cumsum: cumulative(
    l => {
      const { axis, exclusive, reverse } = l.attributes
      return l.emit('CumSum', [name(l), l.int64([axis as number])], { exclusive, reverse })
    },
    x => x.dtype,
  ),
  Cumprod: cumulative(cumulativeProduct, x => (x.dtype === 'bool' ? 'int32' : x.dtype)),
  TopK: {
    many: true,
    infer: ([x], { k }) => {
      const shape = x!.shape.with(-1, k as number)
      return [
        { shape, dtype: x!.dtype },
        { shape, dtype: 'int32' },
      ]
    },
    lower: l => {
      const [values, indices] = l.emitMany('TopK', [name(l), l.int64([l.attributes.k as LoweredSize])], 2, {
        axis: -1,
        sorted: 1,
      })
      return [values!, l.emit('Cast', [indices!], { to: ONNX_TYPES.int32! })]
    },
  },
}
