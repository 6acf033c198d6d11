import { tf } from '../../../kernels/tf.js'
import { elementCount } from '../../numbers.js'

/**
 * What TF.js's differentiation lacks or gets wrong, mended for as long as one of our functions is traced or run eagerly; outside, TF.js is
 * as it was.
 *
 * - **Second derivatives.** An output that an operation saves for its gradient (of softmax, tanh, sigmoid, exp, …) is put on the tape
 *   before the operation itself, so that a gradient of the gradient takes it for a constant: wrong numbers, without a word. Here it
 *   goes behind.
 * - **Outputs that nothing uses** of an operation with several get a gradient of real zeros; here of `tf.zeros`, which a trace need not
 *   allocate.
 * - **Gradients that are missing or wrong**: of `gather` in batches (TF.js: of one batch axis whose size is a number alone), of
 *   `mirrorPad` (TF.js drops what the mirrored values add), of the gradient of `elu`, and of comparisons, which are flat: TF.js fails
 *   where one stands between an input and a loss, as in `tf.where(tf.less(x, 0), …)` and in the second derivative of a maximum.
 */
export function withMendedGradients<T>(run: () => T): T {
  const engine = tf.engine() as unknown as TapeKeeper
  const addTapeNode = engine.addTapeNode
  let held: TapeArguments[] = []
  engine.addTapeNode = (...node) => {
    // A copy that is made within a kernel is one that is saved for the gradient: the kernel's own node comes later.
    if (engine.state.kernelDepth > 0) {
      held.push(node)
      return
    }
    addTapeNode.apply(engine, node)
    fillMissing(engine.state.activeTape.at(-1)!)
    for (const copy of held) addTapeNode.apply(engine, copy)
    held = []
  }
  const before = MENDED.map(({ kernelName }) => [kernelName, tf.getGradient(kernelName)] as const)
  for (const gradient of MENDED) tf.registerGradient(gradient)
  try {
    return run()
  } finally {
    engine.addTapeNode = addTapeNode
    for (const [name, gradient] of before) {
      if (gradient) tf.registerGradient(gradient)
      else tf.unregisterGradient(name)
    }
  }
}

interface TapeNode {
  readonly outputs: readonly tf.Tensor[]
  gradient?: (dys: (tf.Tensor | null)[]) => unknown
}

type TapeArguments = [kernel: string, inputs: unknown, outputs: tf.Tensor[], ...rest: unknown[]]

/** The part of TF.js's engine that keeps the tape. */
interface TapeKeeper {
  readonly state: { readonly kernelDepth: number; readonly activeTape: TapeNode[] }
  addTapeNode(...node: TapeArguments): void
}

function fillMissing(node: TapeNode): void {
  const { gradient, outputs } = node
  if (!gradient || outputs.length < 2) return
  node.gradient = dys => gradient(dys.map((dy, i) => dy ?? tf.zeros(outputs[i]!.shape, outputs[i]!.dtype)))
}

/** The transpose of a gather in batches: rows of dy are summed where they came from. */
function batchedGatherGradient(x: tf.Tensor, indices: tf.Tensor, dy: tf.Tensor, axis: number, batchDims: number): tf.Tensor {
  const batch = elementCount(x.shape.slice(0, batchDims))
  const outer = elementCount(x.shape.slice(batchDims, axis))
  const inner = elementCount(x.shape.slice(axis + 1))
  const [size, count] = [x.shape[axis]!, elementCount(indices.shape.slice(batchDims))]
  const byRow = tf.transpose(tf.reshape(dy, [batch, outer, count, inner]), [0, 2, 1, 3])
  const first = tf.mul(tf.range(0, batch, 1, 'int32'), tf.scalar(size, 'int32')) // of each batch among all rows
  const rows = tf.add(tf.reshape(indices, [batch, count]), tf.expandDims(first, 1))
  const sums = tf.unsortedSegmentSum(
    tf.reshape(byRow, [batch * count, outer * inner]),
    tf.reshape(rows, [-1]) as tf.Tensor1D,
    batch * size,
  )
  return tf.reshape(tf.transpose(tf.reshape(sums, [batch, size, outer, inner]), [0, 2, 1, 3]), x.shape)
}

/** What a mirrored edge of `width` adds to the rows that it mirrors, along one axis; nothing where there is no edge. */
function mirrored(dy: tf.Tensor, axis: number, side: 'first' | 'last', width: number, size: number, offset: number): tf.Tensor {
  const along = (value: number, others: number) => dy.shape.map((_, i) => (i === axis ? value : others))
  const whole = dy.shape[axis]!
  const edge = tf.reverse(tf.slice(dy, along(side === 'first' ? 0 : whole - width, 0), dy.shape.with(axis, width)), axis)
  const [before, after] = side === 'first' ? [offset, size - offset - width] : [size - offset - width, offset]
  return tf.pad(
    edge,
    dy.shape.map((_, i): [number, number] => (i === axis ? [before, after] : [0, 0])),
  )
}

function mirrorPadGradient(dy: tf.Tensor, paddings: readonly (readonly [number, number])[], mode: string): tf.Tensor {
  const offset = mode === 'reflect' ? 1 : 0
  return paddings.reduce((sum, [first, last], axis) => {
    if (first === 0 && last === 0) return sum
    const size = sum.shape[axis]! - first - last
    const middle = tf.slice(sum, sum.shape.map((_, i) => (i === axis ? first : 0)), sum.shape.with(axis, size)) // biome-ignore format: one line
    const parts = [middle]
    if (first > 0) parts.push(mirrored(sum, axis, 'first', first, size, offset))
    if (last > 0) parts.push(mirrored(sum, axis, 'last', last, size, offset))
    return tf.addN(parts)
  }, dy)
}

/** Of an operation whose outputs change by steps: nothing, in the shape of each input. */
const flat = (kernelName: string, inputs: string[]): tf.GradConfig => ({
  kernelName,
  inputsToSave: inputs,
  gradFunc: (_, saved) => Object.fromEntries(inputs.map((name, i) => [name, () => tf.zeros(saved[i]!.shape)])),
})

const gather = tf.getGradient('GatherV2')

const MENDED: readonly tf.GradConfig[] = [
  ...['Equal', 'NotEqual', 'Greater', 'GreaterEqual', 'Less', 'LessEqual', 'LogicalAnd', 'LogicalOr'].map(name =>
    flat(name, ['a', 'b']),
  ),
  flat('LogicalNot', ['x']),
  {
    ...gather,
    kernelName: 'GatherV2',
    gradFunc: (dy, saved, attributes) => {
      const { axis, batchDims } = attributes as { axis: number; batchDims?: number }
      const [x, indices] = saved as [tf.Tensor, tf.Tensor]
      const [along] = tf.util.parseAxisParam(axis, x.shape) as [number]
      const batches = batchDims && batchDims < 0 ? batchDims + indices.rank : (batchDims ?? 0)
      if (batches === 0) return gather!.gradFunc(dy, saved, attributes)
      return {
        x: () => batchedGatherGradient(x, indices, dy as tf.Tensor, along, batches),
        indices: () => indices,
      }
    },
  },
  {
    kernelName: 'MirrorPad',
    gradFunc: (dy, _, attributes) => {
      const { paddings, mode } = attributes as unknown as { paddings: [number, number][]; mode: string }
      return { x: () => mirrorPadGradient(dy as tf.Tensor, paddings, mode) }
    },
  },
  {
    kernelName: 'EluGrad',
    inputsToSave: ['dy', 'y'],
    gradFunc: (ddx, saved) => {
      const [dy, y] = saved as [tf.Tensor, tf.Tensor]
      const dd = ddx as tf.Tensor
      return {
        dy: () => tf.mul(dd, tf.minimum(tf.add(y, 1), 1)),
        y: () => tf.mul(tf.mul(dd, dy), tf.cast(tf.less(y, 0), 'float32')),
      }
    },
  },
]
