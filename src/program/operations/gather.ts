import type { TensorMeta } from '../../../kernels/kernel.js'
import { tf } from '../../../kernels/tf.js'
import { GradpromptError } from '../../errors.js'
import { elementCount } from '../../numbers.js'
import { axesOf, type CompositeTable, cast, type OperationLowering, type OperationTable, scalar } from './operation.js'
import type { Size } from './sizes.js'

/** Operations by index. An index that lies outside is refused when the program runs, as TF.js refuses it. */

const BEYOND = 2 ** 31 - 1

/** Indices, negative ones put beyond every end: ONNX would count them from there, and TF.js refuses them. */
const refusing = (l: OperationLowering, indices: string): string =>
  l.once(`no negative index of ${indices}`, () =>
    l.emit('Where', [l.emit('Less', [indices, l.int32(0)]), l.int32(BEYOND), indices]),
  )

/** Axes that bring `axis` to stand at `to`, the others in their order. */
function movedAxis(rank: number, axis: number, to: number): number[] {
  const others = Array.from({ length: rank }, (_, i) => i).filter(i => i !== axis)
  return others.toSpliced(to, 0, axis)
}

const isOrdered = (perm: readonly number[]) => perm.every((from, to) => from === to)

/** A gather in batches: ONNX's gathers along the axis behind the batch's. */
function batchedGather(l: OperationLowering, axis: number, batchDims: number): string {
  const [x, indices] = l.inputs as [OperationLowering['inputs'][0], OperationLowering['inputs'][0]]
  const perm = movedAxis(x.shape.length, axis, batchDims)
  const table = isOrdered(perm) ? x.name : l.emit('Transpose', [x.name], { perm })
  const at = cast(l, l.emit('Unsqueeze', [refusing(l, indices.name), l.int64([-1])]), 'int64')
  const taken = l.emit('GatherND', [table, at], { batch_dims: batchDims }) // batch, indices, outer, inner
  const [count, outer, rank] = [indices.shape.length - batchDims, axis - batchDims, l.outputs[0]!.shape.length]
  if (outer === 0) return taken
  const order = Array.from({ length: rank }, (_, i) => i)
  const from = [...order.slice(0, batchDims), ...order.slice(batchDims + count, batchDims + count + outer)]
  const rest = order.filter(i => !from.includes(i))
  return l.emit('Transpose', [taken], { perm: [...from, ...rest] })
}

/** Sums of rows by target row; what TF.js does with a target outside the range depends on the operation. */
function scatter(l: OperationLowering, outside: 'dropped' | 'refused'): string {
  const { shape, dtype } = l.outputs[0]!
  const [rows, ...row] = shape as Size[]
  const [x, ids] = l.inputs.map(({ name }) => name) as [string, string]
  // One row more takes what is dropped.
  const zeros = (sizes: string) => l.emit('ConstantOfShape', [sizes], { value: { dtype, values: [0] } })
  const places = (at: string) => l.emit('Unsqueeze', [cast(l, at, 'int64'), l.int64([-1])])
  if (outside === 'refused')
    return l.emit('ScatterND', [zeros(l.int64(shape)), places(refusing(l, ids)), x], { reduction: 'add' })
  const [end, one] = [scalar(l, rows!, 'int32'), l.int64([1])]
  const inside = l.emit('And', [l.emit('GreaterOrEqual', [ids, l.int32(0)]), l.emit('Less', [ids, end])])
  const more = l.emit('Add', [l.int64([rows!]), one])
  const sizes = row.length === 0 ? more : l.emit('Concat', [more, l.int64(row)], { axis: 0 })
  const sums = l.emit('ScatterND', [zeros(sizes), places(l.emit('Where', [inside, ids, end])), x], { reduction: 'add' })
  return l.emit('Slice', [sums, l.int64([0]), l.int64([rows!]), l.int64([0])])
}

/** The place of each multi-index among all rows of a shape, as TF.js adds it up, [N] int32. */
function places(indices: tf.Tensor, shape: readonly number[]): tf.Tensor1D {
  const depth = indices.shape.at(-1)!
  const parts = tf.unstack(tf.reshape(indices, [-1, depth]) as tf.Tensor2D, 1)
  const strides = Array.from({ length: depth }, (_, i) => elementCount(shape.slice(i + 1, depth)))
  const scaled = parts.map((part, i) => (i === depth - 1 ? part : tf.mul(part, tf.scalar(strides[i]!, 'int32'))))
  return scaled.reduce((sum, part) => tf.add(sum, part)) as tf.Tensor1D
}

function assertBatches([x, indices]: readonly TensorMeta[], axis: number, batchDims: number): void {
  if (batchDims <= axis && x!.shape.slice(0, batchDims).every((size, i) => size === indices!.shape[i])) return
  throw new GradpromptError('shape-mismatch', 'A gather in batches does not fit', {
    found: `[${x!.shape}] by [${indices!.shape}] along axis ${axis}`,
    expected: `${batchDims} batch axes of equal sizes before that axis`,
  })
}

export const gather: OperationTable = {
  GatherV2: {
    inputs: ['x', 'indices'],
    canonical: (inputs, { axis, batchDims }) => {
      const [x, indices] = inputs
      const along = axesOf(axis, x!)[0]!
      const batches = (batchDims as number | undefined) ?? 0
      const counted = batches < 0 ? batches + indices!.shape.length : batches
      assertBatches(inputs, along, counted)
      return { axis: along, batchDims: counted }
    },
    infer: ([x, indices], { axis, batchDims }) => [
      { shape: x!.shape.toSpliced(axis as number, 1, ...indices!.shape.slice(batchDims as number)), dtype: x!.dtype },
    ],
    lower: l => {
      const { axis, batchDims } = l.attributes as Record<string, number>
      if (batchDims! > 0) return batchedGather(l, axis!, batchDims!)
      const [x, indices] = l.inputs as [OperationLowering['inputs'][0], OperationLowering['inputs'][0]]
      const at = refusing(l, indices.name)
      if (axis === 0 && x.compact) return x.compact.gather(at, l.outputs[0]!.shape)
      return l.emit('Gather', [x.name, at], { axis })
    },
  },
  UnsortedSegmentSum: {
    inputs: ['x', 'segmentIds'],
    canonical: (_, { numSegments, refuses }) => ({ numSegments, refuses: refuses ?? false }),
    infer: ([x], { numSegments }) => [{ shape: [numSegments as number, ...x!.shape.slice(1)], dtype: x!.dtype }],
    lower: l => scatter(l, l.attributes.refuses ? 'refused' : 'dropped'),
  },
}

export const gatherComposites: CompositeTable = {
  GatherNd: {
    inputs: ['params', 'indices'],
    compose: ([params, indices]) => {
      const [x, at] = [params!, indices!]
      tf.backend_util.prepareAndValidate(x, at)
      const depth = at.shape.at(-1)!
      const rest = x.shape.slice(depth)
      const rows = tf.reshape(x, [elementCount(x.shape.slice(0, depth)), ...rest])
      return tf.reshape(tf.gather(rows, places(at, x.shape)), [...at.shape.slice(0, -1), ...rest])
    },
  },
  ScatterNd: {
    inputs: ['indices', 'updates'],
    compose: ([indices, updates], attributes) => {
      const shape = attributes.shape as number[]
      const depth = indices!.shape.at(-1)!
      const rest = shape.slice(depth)
      const sums = tf
        .engine()
        .runKernel(
          'UnsortedSegmentSum',
          { x: tf.reshape(updates!, [-1, ...rest]), segmentIds: places(indices!, shape) },
          { numSegments: elementCount(shape.slice(0, depth)), refuses: true },
        ) as tf.Tensor
      return tf.reshape(sums, shape)
    },
  },
}
