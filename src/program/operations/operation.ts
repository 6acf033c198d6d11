import type { Attributes, LoweredTensor, Lowering, TensorMeta } from '../../../kernels/kernel.js'
import { tf } from '../../../kernels/tf.js'
import { GradpromptError } from '../../errors.js'
import type { Size } from './sizes.js'

/** How one TF.js kernel is traced (shapes) and lowered (ONNX nodes). */
export interface Operation {
  /** TF.js's names of its inputs, in the order that `infer` and `lower` take them. Absent: as TF.js passes them. */
  readonly inputs?: readonly string[]
  /** TF.js expects a list of outputs. */
  readonly many?: boolean
  /** Attributes in one form: negative axes resolved, defaults filled in. */
  canonical?(inputs: readonly TensorMeta[], attributes: Attributes): Attributes
  /** The output is the first input itself. */
  alias?(inputs: readonly TensorMeta[], attributes: Attributes): boolean
  infer(inputs: readonly TensorMeta[], attributes: Attributes): TensorMeta[]
  lower(lowering: OperationLowering): string | string[]
}

/** A TF.js kernel that is traced as other operations, which stand in its place. */
export interface Composite {
  /** TF.js's names of its inputs, in the order that `compose` takes them; what was left out is `undefined`. */
  readonly inputs: readonly string[]
  compose(inputs: readonly (tf.Tensor | undefined)[], attributes: Attributes): tf.Tensor
}

export interface OperationLowering extends Lowering {
  readonly inputs: readonly LoweredTensor[]
}

export type OperationTable = Readonly<Record<string, Operation>>
export type CompositeTable = Readonly<Record<string, Composite>>

/** Whole axes for a TF.js axis argument: a number, a list or nothing for all. */
export const axesOf = (axis: unknown, meta: TensorMeta): number[] =>
  tf.util.parseAxisParam((axis ?? null) as number | number[], meta.shape)

/** Shape after broadcasting, as TF.js and ONNX both define it. */
export function broadcast(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length)
  const shape = new Array<number>(rank)
  for (let i = 1; i <= rank; i++) {
    const x = a[a.length - i] ?? 1
    const y = b[b.length - i] ?? 1
    if (x !== y && x !== 1 && y !== 1) {
      throw new GradpromptError('shape-mismatch', 'Two tensors cannot be broadcast together', { found: `[${a}] and [${b}]` })
    }
    shape[rank - i] = x === 1 ? y : x
  }
  return shape
}

export const ONNX_TYPES: Readonly<Record<string, number>> = {
  float32: 1,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
}

export const cast = (l: OperationLowering, x: string, dtype: string): string => l.emit('Cast', [x], { to: ONNX_TYPES[dtype]! })

/** A scalar of the given type for a number that may depend on sizes. */
export function scalar(l: OperationLowering, value: Size, dtype: string): string {
  if (typeof value === 'number' && dtype === 'float32') return l.float(value)
  if (typeof value === 'number' && dtype === 'int32') return l.int32(value)
  return l.emit('Squeeze', [cast(l, l.int64([value]), dtype), l.int64([0])])
}

/** A scalar of the type of the operation's output; whole numbers are cut to their type's range. */
export function like(l: OperationLowering, value: number): string {
  const { dtype } = l.outputs[0]!
  return dtype === 'int32' ? l.int32(Math.trunc(Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, value)))) : l.float(value)
}
