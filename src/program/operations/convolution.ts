import type { Attributes, TensorMeta } from '../../../kernels/kernel.js'
import { tf } from '../../../kernels/tf.js'
import type { OperationLowering, OperationTable } from './operation.js'

/**
 * Convolutions over two axes (`conv1d` has one row of them) and their gradients. ONNX wants channels first and filters as
 * [out, in, height, width]; TF.js has filters as [height, width, in, out], and channels last or first.
 */

type Shape4 = [number, number, number, number]

/** Everything in numbers: strides, dilations and paddings of height and width. */
function geometry(x: Shape4, filter: Shape4, { strides, pad, dilations, dimRoundingMode, dataFormat }: Attributes) {
  const info = tf.backend_util.computeConv2DInfo(
    x,
    filter,
    strides as number,
    (dilations as number | undefined) ?? 1,
    pad as number,
    dimRoundingMode as 'floor',
    false,
    tf.backend_util.convertConv2DDataFormat((dataFormat as 'NHWC' | undefined) ?? 'NHWC'),
  )
  const { top, left, bottom, right } = info.padInfo
  return {
    shape: info.outShape,
    size: [info.outHeight, info.outWidth] as const,
    input: [info.inHeight, info.inWidth] as const,
    strides: [info.strideHeight, info.strideWidth],
    dilations: [info.dilationHeight, info.dilationWidth],
    pads: [top, left, bottom, right],
    isLast: info.dataFormat === 'channelsLast',
  }
}

const shapeOf = (meta: TensorMeta | undefined) => meta!.shape as Shape4
const moved = (l: OperationLowering, x: string, perm: readonly number[]) => l.emit('Transpose', [x], { perm })

/** [batch, channels, height, width] */
const channelsFirst = (l: OperationLowering, x: string) => (l.attributes.isLast ? moved(l, x, [0, 3, 1, 2]) : x)
const channelsBack = (l: OperationLowering, y: string) => (l.attributes.isLast ? moved(l, y, [0, 2, 3, 1]) : y)
/** [channels, batch, height, width] */
const byChannel = (l: OperationLowering, x: string) => moved(l, x, l.attributes.isLast ? [3, 0, 1, 2] : [1, 0, 2, 3])

const names = (l: OperationLowering) => l.inputs.map(({ name }) => name) as [string, string]

export const convolution: OperationTable = {
  Conv2D: {
    inputs: ['x', 'filter'],
    canonical: ([x, filter], attributes) => {
      const { shape, strides, dilations, pads, isLast } = geometry(shapeOf(x), shapeOf(filter), attributes)
      return { shape, strides, dilations, pads, isLast }
    },
    infer: ([x], { shape }) => [{ shape: shape as number[], dtype: x!.dtype }],
    lower: l => {
      const [x, filter] = names(l)
      const { strides, dilations, pads } = l.attributes
      return channelsBack(l, l.emit('Conv', [channelsFirst(l, x), moved(l, filter, [3, 2, 0, 1])], { strides, dilations, pads }))
    },
  },
  Conv2DBackpropInput: {
    inputs: ['dy', 'filter'],
    canonical: ([, filter], attributes) => {
      const shape = attributes.inputShape as Shape4
      const { size, input, strides, pads, isLast } = geometry(shape, shapeOf(filter), attributes)
      // What a stride leaves over at the end, which no window reached.
      const output_padding = [0, 1].map(
        axis => input[axis]! + pads[axis]! + pads[axis + 2]! - ((size[axis]! - 1) * strides[axis]! + shapeOf(filter)[axis]!),
      )
      return { shape, strides, pads, output_padding, isLast }
    },
    infer: ([dy], { shape }) => [{ shape: shape as number[], dtype: dy!.dtype }],
    lower: l => {
      const [dy, filter] = names(l)
      const { strides, pads, output_padding } = l.attributes
      const given = [channelsFirst(l, dy), moved(l, filter, [3, 2, 0, 1])]
      return channelsBack(l, l.emit('ConvTranspose', given, { strides, pads, output_padding }))
    },
  },
  Conv2DBackpropFilter: {
    inputs: ['x', 'dy'],
    canonical: ([x], attributes) => {
      const shape = attributes.filterShape as Shape4
      const { strides, pads, isLast } = geometry(shapeOf(x), shape, attributes)
      return { shape, strides, pads, isLast }
    },
    infer: ([x], { shape }) => [{ shape: shape as number[], dtype: x!.dtype }],
    lower: l => {
      // The inputs of a channel are correlated with the gradients of another, over all of the batch.
      const [x, dy] = names(l)
      const { strides, pads, shape } = l.attributes as Record<string, number[]>
      const all = l.emit('Conv', [byChannel(l, x), byChannel(l, dy)], { dilations: strides, pads }) // [in, out, height, width]
      const cut = l.emit('Slice', [all, l.int64([0, 0]), l.int64(shape!.slice(0, 2)), l.int64([2, 3])])
      return moved(l, cut, [2, 3, 0, 1])
    },
  },
}
