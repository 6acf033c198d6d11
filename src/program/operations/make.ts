import { type Size, SizeExpression } from '../sizes.js'
import { cast, type Operation, type OperationTable, scalar } from './operation.js'

/** Operations that make tensors out of numbers. */

const filled =
  (value: (attributes: Readonly<Record<string, unknown>>) => unknown): Operation['lower'] =>
  l => {
    const { shape, dtype } = l.outputs[0]!
    const number = value(l.attributes)
    const solved = number instanceof SizeExpression
    const made = l.emit('ConstantOfShape', [l.int64(shape)], { value: { dtype, values: [solved ? 1 : (number as number)] } })
    return solved ? l.emit('Mul', [made, cast(l, l.int64([number]), dtype)]) : made
  }

const upTo = (l: Parameters<Operation['lower']>[0], count: Size, dtype: string) =>
  l.emit('Range', [scalar(l, 0, dtype), scalar(l, count, dtype), scalar(l, 1, dtype)])

export const make: OperationTable = {
  Fill: {
    inputs: [],
    infer: (_, { shape, dtype }) => [{ shape: shape as number[], dtype: (dtype as 'float32') ?? 'float32' }],
    lower: filled(({ value }) => value),
  },
  ZerosLike: { infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }], lower: filled(() => 0) },
  OnesLike: { infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }], lower: filled(() => 1) },
  Range: {
    inputs: [],
    // TF.js counts down by itself where no step was given.
    canonical: (_, { start, stop, step, dtype }) => ({
      start,
      stop,
      step: (stop as number) < (start as number) && step === 1 ? -1 : step,
      dtype: dtype ?? 'float32',
    }),
    infer: (_, { start, stop, step, dtype }) => [
      {
        shape: [Math.max(0, Math.ceil(((stop as number) - (start as number)) / (step as number)))],
        dtype: dtype as 'float32',
      },
    ],
    lower: l => {
      const { start, stop, step } = l.attributes as Record<string, Size>
      const { dtype } = l.outputs[0]!
      return l.emit('Range', [scalar(l, start!, dtype), scalar(l, stop!, dtype), scalar(l, step!, dtype)])
    },
  },
  LinSpace: {
    inputs: [],
    infer: (_, { num }) => [{ shape: [num as number], dtype: 'float32' }],
    lower: l => {
      const { start, stop, num } = l.attributes as Record<string, Size>
      const first = scalar(l, start!, 'float32')
      const steps = l.emit('Max', [l.emit('Sub', [scalar(l, num!, 'float32'), l.float(1)]), l.float(1)])
      const step = l.emit('Div', [l.emit('Sub', [scalar(l, stop!, 'float32'), first]), steps])
      return l.emit('Add', [l.emit('Mul', [upTo(l, num!, 'float32'), step]), first])
    },
  },
  OneHot: {
    inputs: ['indices'],
    infer: ([indices], { depth, dtype }) => [
      { shape: [...indices!.shape, depth as number], dtype: (dtype as 'int32') ?? 'int32' },
    ],
    lower: l => {
      // ONNX's own OneHot counts negative indices from the end.
      const { onValue, offValue, depth } = l.attributes as Record<string, number>
      const value = (number: number) => cast(l, l.float(number), l.outputs[0]!.dtype)
      const hit = l.emit('Equal', [l.emit('Unsqueeze', [l.inputs[0]!.name, l.int64([-1])]), upTo(l, depth!, 'int32')])
      return l.emit('Where', [hit, value(onValue ?? 1), value(offValue ?? 0)])
    },
  },
}
