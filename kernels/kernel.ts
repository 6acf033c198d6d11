import { tf } from './tf.js'

/** Shape and type of a tensor, without its values. */
export interface TensorMeta {
  readonly shape: number[]
  readonly dtype: tf.DataType
}

export type Attributes = Readonly<Record<string, unknown>>

/** A size in a compiled program: a number, or an expression of the declared dimensions that only a run makes a number. */
export type LoweredSize = number | { toString(): string }

/** What numbers are in a compiled program: products may be in half precision. */
export type LoweredType = tf.DataType | 'float16' | 'bfloat16'

/** A tensor in the ONNX graph that is being written. */
export interface LoweredTensor {
  readonly name: string
  readonly shape: readonly LoweredSize[]
  readonly dtype: LoweredType
  /** What all elements equal, where that is known before a run. */
  readonly uniform?: LoweredSize | undefined
  /** A weight of a program that takes weights at their stored width. What a lowering does not ask for stays out of the program. */
  readonly quantized?: LoweredQuantization | undefined
  /** A weight that is kept smaller than float32; `name` unpacks it whole, once for each node that asks. */
  readonly compact?: LoweredCompact | undefined
}

/** Ways to unpack a little of a weight at a time, so that float32 of a large one never stands whole in memory. */
export interface LoweredCompact {
  /** Runs of its rows, in order. */
  readonly parts: readonly {
    readonly rows: number
    /** Unpacks these rows, anew in each call: float32 [rows, columns]. */
    unpack(): string
  }[]
  /** Unpacks the rows at `indices` alone, as float32 of the shape given. */
  gather(indices: string, shape: readonly LoweredSize[]): string
}

/** Names of a weight's parts, in one of two forms. */
export type LoweredQuantization = LoweredBlockQuantization | LoweredRowQuantization

/** The weight is `scale * integer + offset`, with a scale and an offset for every block (see `linear-quantized.ts`). */
export interface LoweredBlockQuantization {
  readonly form: 'blocks'
  readonly bits: 4 | 8
  readonly integers: string
  readonly scales: string
  readonly offsets?: string
}

/** The weight, its columns scaled and rotated, is `scale * integer` with a scale for every row (see `linear-integer.ts`). */
export interface LoweredRowQuantization {
  readonly form: 'rows'
  /** Columns that are rotated together. */
  readonly rotation: number
  /** Of the activations: with 16 they are two numbers of 8. */
  readonly inputBits: 8 | 16
  /** int8 [in, out] */
  readonly integers: string
  /** [out] */
  readonly scales: string
  /** What the columns of the input are multiplied by before they are rotated, [in]: one name for all weights that take one input. */
  readonly inputScales: string
}

/** What multiplies with a weight as integers, by their form. */
export const quantizedOperators = { blocks: 'MatMulNBits', rows: 'MatMulIntegerToFloat' } as const

/** A loop over an axis, as ONNX's Scan. Its steps may read what stands outside. */
export interface LoweredScan {
  /** What a step hands on to the next one: what the first one takes. */
  readonly states: readonly { readonly name: string; readonly dtype: LoweredType }[]
  /** What a step takes a slice of. */
  readonly over: readonly { readonly name: string; readonly dtype: LoweredType; readonly axis: number }[]
  /** Of what each step makes beside its states: the axis that steps are laid along. */
  readonly outputs: readonly { readonly dtype: LoweredType; readonly axis: number }[]
  /** From the end to the beginning. */
  readonly reverse?: boolean
  /** Adds the nodes of a step with `emit`. @returns names of its states, then of its outputs */
  step(emit: Lowering['emit'], states: readonly string[], slices: readonly string[]): readonly string[]
}

/** What a lowering writes with: the inputs, and a few ways to add ONNX nodes. Sizes may be symbolic. */
export interface Lowering {
  /** The inputs in the order that the kernel declares; an optional input that was left out is `undefined`. */
  readonly inputs: readonly (LoweredTensor | undefined)[]
  readonly outputs: readonly { readonly shape: readonly LoweredSize[]; readonly dtype: LoweredType }[]
  /** Solved attributes: numbers may be symbolic sizes. */
  readonly attributes: Attributes
  /** Whether the device has an operator of ONNX Runtime's own. */
  has(operator: string): boolean
  /** Whether the device computes a function of the standard too coarsely for a model. */
  isCoarse(operator: string): boolean
  /** Adds a node and returns the name of its only output. */
  emit(operator: string, inputs: readonly string[], attributes?: Attributes, domain?: string): string
  /** Adds a node with several outputs. */
  emitMany(operator: string, inputs: readonly string[], count: number, attributes?: Attributes, domain?: string): string[]
  /** Adds a loop over an axis of tensors. @returns the states behind the last step, then what the steps have made */
  scan(loop: LoweredScan): string[]
  /** A float32 constant: a scalar, or a vector. */
  float(values: number | readonly number[]): string
  /** An int32 scalar. */
  int32(value: number): string
  /** An int64 vector, as ONNX wants shapes, axes and the like. */
  int64(values: readonly LoweredSize[]): string
  reshape(name: string, from: readonly LoweredSize[], to: readonly LoweredSize[]): string
  /** What several lowerings need, written by the first that asks for `key`. */
  once(key: string, make: () => string): string
}

type Inputs = Record<string, tf.Tensor>

/**
 * A fused tensor operation: one TF.js kernel name for what would be many, with an exact gradient.
 *
 * - `reference` says what it computes, in plain TF.js operations, and is what any eager backend runs.
 * - `gradient` is written by hand, with other kernels. It recomputes what it needs from the inputs: in a compiled program the
 *   common subexpressions of both passes are computed once, so nothing but inputs and output need be saved.
 * - In a compiled program, `lower` writes it as a few ONNX nodes, or `expand` restates it in TF.js operations that are
 *   traced in its place (the faster form, where the reference is the clearer one). With neither, the reference is traced.
 */
export interface Kernel {
  readonly name: string
  /** Input names in order; a name ending in `?` may be left out. */
  readonly inputs: readonly string[]
  reference(inputs: Inputs, attributes: Attributes): tf.Tensor
  gradient?: Omit<tf.GradConfig, 'kernelName'>
  expand?(inputs: Inputs, attributes: Attributes): tf.Tensor
  lower?: {
    /** Shape of the output; its type is float32. */
    shape(inputs: Record<string, TensorMeta>, attributes: Attributes): number[]
    write(lowering: Lowering): string
  }
}

/** All fused kernels by name. The compiler reads it; eager backends have them registered as ordinary TF.js kernels. */
export const kernels = new Map<string, Kernel>()

const EAGER_BACKENDS = ['cpu', 'wasm', 'tensorflow', 'webgl', 'webgpu']
const registered = new Set<string>()

function register(kernel: Kernel): void {
  registered.add(kernel.name)
  for (const backendName of EAGER_BACKENDS) {
    tf.registerKernel({
      kernelName: kernel.name,
      backendName,
      // Tensors made inside `tidy` are freed but for the result; the tape is off inside a kernel.
      kernelFunc: ({ inputs, attrs }) => tf.tidy(() => kernel.reference(inputs as Inputs, (attrs ?? {}) as Attributes)),
    })
  }
  if (kernel.gradient) tf.registerGradient({ kernelName: kernel.name, ...kernel.gradient })
}

/** Adds a kernel and returns the function that runs it. TF.js learns of it when it is first run. */
export function defineKernel(
  kernel: Kernel,
): (inputs: Record<string, tf.Tensor | undefined>, attributes?: Attributes) => tf.Tensor {
  kernels.set(kernel.name, kernel)
  return (inputs, attributes = {}) => {
    if (!registered.has(kernel.name)) register(kernel)
    const given = Object.fromEntries(Object.entries(inputs).filter(([, tensor]) => tensor !== undefined)) as tf.NamedTensorMap
    return tf.engine().runKernel(kernel.name, given, attributes as tf.NamedAttrMap)
  }
}
