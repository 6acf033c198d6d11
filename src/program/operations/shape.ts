import { tf } from '../../../kernels/tf.js'
import { axesOf, type CompositeTable, cast, type Operation, type OperationLowering, type OperationTable } from './operation.js'
import { type Size, SizeExpression, sameSize } from './sizes.js'

/** Operations that move, cut and join tensors. */

const firstName = (l: OperationLowering) => l.inputs[0]!.name
const END = 2 ** 53 - 1

const reshape: Operation = {
  alias: () => false,
  infer: ([x], { shape }) => [
    { shape: tf.util.inferFromImplicitShape(shape as number[], tf.util.sizeFromShape(x!.shape)), dtype: x!.dtype },
  ],
  canonical: ([x], { shape }) => ({ shape: tf.util.inferFromImplicitShape(shape as number[], tf.util.sizeFromShape(x!.shape)) }),
  lower: l => l.reshape(firstName(l), l.inputs[0]!.shape, l.outputs[0]!.shape),
}

export const shape: OperationTable = {
  Reshape: reshape,
  ExpandDims: {
    canonical: ([x], { dim }) => ({ dim: (dim as number) < 0 ? x!.shape.length + 1 + (dim as number) : dim }),
    infer: ([x], { dim }) => [{ shape: x!.shape.toSpliced(dim as number, 0, 1), dtype: x!.dtype }],
    lower: l => l.emit('Unsqueeze', [firstName(l), l.int64([l.attributes.dim as number])]),
  },
  Transpose: {
    infer: ([x], { perm }) => [{ shape: (perm as number[]).map(axis => x!.shape[axis]!), dtype: x!.dtype }],
    lower: l => l.emit('Transpose', [firstName(l)], { perm: l.attributes.perm }),
  },
  Slice: {
    canonical: ([x], attributes) => {
      const [begin, size] = tf.slice_util.parseSliceParams(
        x as tf.TensorInfo,
        attributes.begin as number[],
        attributes.size as number[],
      ) as [number[], number[]]
      tf.slice_util.assertParamsValid(x as tf.TensorInfo, begin, size)
      return { begin, size }
    },
    infer: ([x], { size }) => [{ shape: size as number[], dtype: x!.dtype }],
    lower: l => {
      const from = l.attributes.begin as Size[]
      const input = l.inputs[0]!.shape
      const output = l.outputs[0]!.shape as Size[]
      const axes = output
        .map((_, axis) => axis)
        .filter(axis => !(from[axis] === 0 && sameSize(input[axis] as Size, output[axis]!)))
      if (axes.length === 0) return firstName(l)
      const ends = axes.map(axis => end(from[axis]!, output[axis]!, input[axis] as Size))
      return l.emit('Slice', [firstName(l), l.int64(axes.map(axis => from[axis]!)), l.int64(ends), l.int64(axes)])
    },
  },
  StridedSlice: {
    canonical: ([x], a) => {
      const mask = (name: string) => (a[name] as number) ?? 0
      const { begin, end, strides, finalShape } = tf.slice_util.sliceInfo(
        x!.shape, a.begin as number[], a.end as number[], a.strides as number[],
        mask('beginMask'), mask('endMask'), mask('ellipsisMask'), mask('newAxisMask'), mask('shrinkAxisMask'),
      ) // biome-ignore format: the arguments read as one list
      return {
        begin,
        end: end.map(value => (value < 0 ? -END : value)),
        strides,
        finalShape,
        slicedShape: tf.slice_util.computeOutShape(begin, end, strides),
      }
    },
    infer: ([x], { finalShape }) => [{ shape: finalShape as number[], dtype: x!.dtype }],
    lower: l => {
      const { begin, end, strides, slicedShape } = l.attributes as Record<string, Size[]>
      const axes = begin!.map((_, axis) => axis)
      const cut = l.emit('Slice', [firstName(l), l.int64(begin!), l.int64(end!), l.int64(axes), l.int64(strides!)])
      return l.reshape(cut, slicedShape!, l.outputs[0]!.shape)
    },
  },
  Concat: {
    canonical: ([first], { axis }) => ({ axis: axesOf(axis, first!)[0] }),
    infer: (inputs, { axis }) => {
      const at = axis as number
      const size = inputs.reduce((sum, input) => sum + input.shape[at]!, 0)
      return [{ shape: inputs[0]!.shape.with(at, size), dtype: inputs[0]!.dtype }]
    },
    lower: l =>
      l.emit(
        'Concat',
        l.inputs.map(input => input.name),
        { axis: l.attributes.axis },
      ),
  },
  Pack: {
    canonical: ([first], { axis }) => ({ axis: (axis as number) < 0 ? first!.shape.length + 1 + (axis as number) : axis }),
    infer: (inputs, { axis }) => [
      { shape: inputs[0]!.shape.toSpliced(axis as number, 0, inputs.length), dtype: inputs[0]!.dtype },
    ],
    lower: l => {
      const axis = l.attributes.axis as number
      return l.emit(
        'Concat',
        l.inputs.map(input => l.emit('Unsqueeze', [input.name, l.int64([axis])])),
        { axis },
      )
    },
  },
  Unpack: {
    many: true,
    canonical: ([value], { axis }) => ({ axis: axesOf(axis, value!)[0] }),
    infer: ([value], { axis }) => {
      const shape = value!.shape.toSpliced(axis as number, 1)
      return Array.from({ length: value!.shape[axis as number]! }, () => ({ shape, dtype: value!.dtype }))
    },
    lower: l => {
      const axis = l.attributes.axis as number
      return l.outputs.map((_, index) =>
        l.emit('Squeeze', [
          l.emit('Slice', [firstName(l), l.int64([index]), l.int64([index + 1]), l.int64([axis])]),
          l.int64([axis]),
        ]),
      )
    },
  },
  SplitV: {
    many: true,
    canonical: ([x], { numOrSizeSplits, axis }) => {
      const at = axesOf(axis, x!)[0]!
      return { axis: at, sizes: tf.backend_util.prepareSplitSize(x as tf.Tensor, numOrSizeSplits as number[], at) }
    },
    infer: ([x], { axis, sizes }) =>
      (sizes as number[]).map(size => ({ shape: x!.shape.with(axis as number, size), dtype: x!.dtype })),
    lower: l =>
      l.emitMany('Split', [firstName(l), l.int64(l.attributes.sizes as Size[])], l.outputs.length, { axis: l.attributes.axis }),
  },
  Tile: {
    infer: ([x], { reps }) => [{ shape: x!.shape.map((size, axis) => size * (reps as number[])[axis]!), dtype: x!.dtype }],
    lower: l => l.emit('Tile', [firstName(l), l.int64(l.attributes.reps as Size[])]),
  },
  PadV2: {
    infer: ([x], { paddings }) => [
      { shape: x!.shape.map((size, axis) => size + sum((paddings as number[][])[axis]!)), dtype: x!.dtype },
    ],
    lower: l => {
      const paddings = l.attributes.paddings as Size[][]
      const pads = l.int64([...paddings.map(pair => pair[0]!), ...paddings.map(pair => pair[1]!)])
      const value = cast(l, l.float(l.attributes.constantValue as number), l.outputs[0]!.dtype)
      return l.emit('Pad', [firstName(l), pads, value])
    },
  },
  Reverse: {
    canonical: ([x], { dims }) => ({ dims: axesOf(dims, x!) }),
    infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
    lower: l => {
      const dims = l.attributes.dims as number[]
      if (dims.length === 0) return firstName(l)
      const all = (value: number) => l.int64(dims.map(() => value))
      return l.emit('Slice', [firstName(l), all(-1), all(-END), l.int64(dims), all(-1)])
    },
  },
}

export const shapeComposites: CompositeTable = {
  MirrorPad: {
    inputs: ['x'],
    compose: ([x], { paddings, mode }) => {
      const offset = mode === 'reflect' ? 1 : 0
      return (paddings as [number, number][]).reduce((padded, [before, after], axis) => {
        const size = padded.shape[axis]!
        const edge = (from: number, width: number) => {
          const begin = padded.shape.map((_, i) => (i === axis ? from : 0))
          return tf.reverse(tf.slice(padded, begin, padded.shape.with(axis, width)), axis)
        }
        const parts = [padded]
        if (before > 0) parts.unshift(edge(offset, before))
        if (after > 0) parts.push(edge(size - offset - after, after))
        return tf.concat(parts, axis)
      }, x!)
    },
  },
}

const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0)

/** The end of a slice; past the last element when it runs to the end, so that it costs no shape arithmetic. */
function end(begin: Size, size: Size, whole: Size): Size {
  if (typeof begin === 'number' && typeof size === 'number') return begin + size
  const added = new SizeExpression([...terms(begin), ...terms(size)])
  return String(simplified(added)) === String(whole) ? END : added
}

const terms = (size: Size): SizeExpression['terms'] =>
  typeof size === 'number' ? (size === 0 ? [] : [{ coefficient: size, factors: [] }]) : size.terms

/** Adds up terms with the same factors. */
function simplified(expression: SizeExpression): Size {
  const byFactors = new Map<string, { coefficient: number; factors: readonly string[] }>()
  for (const term of expression.terms) {
    const key = term.factors.join('*')
    const known = byFactors.get(key)
    byFactors.set(key, { factors: term.factors, coefficient: (known?.coefficient ?? 0) + term.coefficient })
  }
  const kept = [...byFactors.values()].filter(term => term.coefficient !== 0)
  return new SizeExpression(kept)
}
