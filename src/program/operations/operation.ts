import * as tf from '@tensorflow/tfjs'
import type { Attributes, LoweredTensor, Lowering, TensorMeta } from '../../../kernels/kernel.js'
import { GradpromptError } from '../../errors.js'

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

export interface OperationLowering extends Lowering {
  readonly inputs: readonly LoweredTensor[]
}

export type OperationTable = Readonly<Record<string, Operation>>

/** Whole axes for a TF.js axis argument: a number, a list or nothing for all. */
export const axesOf = (axis: unknown, meta: TensorMeta): number[] =>
  tf.util.parseAxisParam((axis ?? null) as number | number[], meta.shape)

/** Shape after broadcasting, as TF.js and ONNX both define it. */
export function broadcast(a: readonly number[], b: readonly number[]): number[] {
  const shape: number[] = []
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const x = a[a.length - 1 - i] ?? 1
    const y = b[b.length - 1 - i] ?? 1
    if (x !== y && x !== 1 && y !== 1) {
      throw new GradpromptError('shape-mismatch', 'Two tensors cannot be broadcast together', { found: `[${a}] and [${b}]` })
    }
    shape.unshift(x === 1 ? y : x)
  }
  return shape
}

export const ONNX_TYPES: Readonly<Record<string, number>> = { float32: 1, int32: 6, bool: 9, int64: 7 }
