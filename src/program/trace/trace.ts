import { type Attributes, type Kernel, kernels, type TensorMeta } from '../../../kernels/kernel.js'
import { tf } from '../../../kernels/tf.js'
import { GradpromptError } from '../../errors.js'
import { composites, operationNames, operations } from '../operations/index.js'
import type { Composite, Operation } from '../operations/operation.js'
import { type Standing, withStandingArrays } from './arrays.js'
import { withMendedGradients } from './differentiation.js'
import { Origin } from './origin.js'
import { assertOutputs } from './outputs.js'
import { type DataKnown, KnownData, TracedData } from './traced-data.js'

/**
 * The tracing backend. Its TF.js kernels compute nothing: they record a node and infer the shapes of its outputs. A function
 * that is run under it, gradients included, leaves a graph behind, because TF.js gradients are made of the same kernels.
 */
export interface TracedGraph {
  readonly values: readonly TracedValue[]
  readonly nodes: readonly TracedNode[]
  /** Ids of the output values by name. */
  readonly outputs: Readonly<Record<string, number>>
}

export interface TracedValue extends TensorMeta {
  readonly source:
    | { readonly kind: 'input' | 'weight'; readonly name: string }
    | { readonly kind: 'constant'; readonly data: ConstantData; readonly origin: Origin | undefined }
    /** As many of one number as the shape says. */
    | { readonly kind: 'uniform'; readonly value: number; readonly origin: Origin | undefined }
    | { readonly kind: 'node' }
}

export type ConstantData = Float32Array | Int32Array | Uint8Array

export interface TracedNode {
  readonly operation: string
  /** Ids of the input values; -1 for an optional input that was left out. */
  readonly inputs: readonly number[]
  readonly attributes: Attributes
  readonly outputs: readonly number[]
  /** Known only in a trace that keeps origins. */
  readonly origin: Origin | undefined
}

const BACKEND = 'gradprompt-trace'

/** What arrays of one element stand for, which TF.js made while a function was traced. */
const standing = new WeakMap<object, Standing>()

class Recorder {
  readonly values: TracedValue[] = []
  readonly nodes: TracedNode[] = []
  /** What went wrong where nothing could be thrown. */
  failure: GradpromptError | undefined
  readonly #origins: boolean
  /** Ids of tensors from other backends, by their data and shape: a reshaped tensor shares its data. */
  readonly #captured = new Map<object, Map<string, number>>()

  constructor(origins: boolean) {
    this.#origins = origins
  }

  origin(): Origin | undefined {
    return this.#origins ? new Origin() : undefined
  }

  add({ shape, dtype }: TensorMeta, source: TracedValue['source']): TracedData {
    return new TracedData(this, this.values.push({ shape: shape.slice(), dtype, source }) - 1)
  }

  id(tensor: tf.TensorInfo): number {
    const { dataId } = tensor
    return dataId instanceof TracedData && dataId.recorder === this ? dataId.id : this.#constant(tensor)
  }

  /** Another tensor with the same data. One that was made outside must not share them: they would be freed with the alias. */
  alias({ dataId, shape, dtype }: tf.TensorInfo): tf.TensorInfo {
    const own = dataId instanceof TracedData ? dataId : new TracedData(this, this.id({ dataId, shape, dtype }))
    return { dataId: own, shape: shape.slice(), dtype }
  }

  /** A tensor that was made outside is a constant; it stays where it is. */
  #constant({ dataId, shape, dtype }: tf.TensorInfo): number {
    const known = this.#captured.get(dataId)?.get(shape.join())
    if (known !== undefined) return known
    const backend = tf.engine().state.tensorInfo.get(dataId)?.backend
    if (!backend || backend instanceof TraceBackend) {
      throw new GradpromptError('foreign-tensor', 'A tensor of another compiled function was used', {
        hint: 'pass it as an input of the program',
      })
    }
    const data = constantData(backend.readSync(dataId), dtype)
    const { id } = this.add({ shape, dtype }, { kind: 'constant', data, origin: this.origin() })
    this.#captured.set(dataId, (this.#captured.get(dataId) ?? new Map()).set(shape.join(), id))
    return id
  }
}

/** The recorder of the trace that is running; TF.js is single-threaded and traces do not nest. */
let recorder: Recorder | undefined

function active(): Recorder {
  if (!recorder)
    throw new GradpromptError('not-tracing', 'A tensor of a finished trace was used', {
      hint: 'return it as an output of the program',
    })
  return recorder
}

class TraceBackend extends tf.KernelBackend {
  override numDataIds = (): number => recorder?.values.length ?? 0
  override floatPrecision = (): 32 => 32
  override epsilon = (): number => 1e-7
  override incRef = (): void => {}
  override refCount = (): number => 1
  override disposeData = (): boolean => false
  override timerAvailable = (): boolean => false
  override memory = () => ({ unreliable: true })
  override dispose = (): void => {}

  override write = (values: tf.BackendValues, shape: number[], dtype: tf.DataType): object => {
    const kind = standing.get(values)
    if (kind === 'identity') return identityMatrix(shape as [number, number], dtype).dataId
    if (kind) return active().add({ shape, dtype }, { kind, value: values[0] as number, origin: active().origin() })
    // A random scalar is found out by differing from trace to trace; looking at every scalar's stack would be slow.
    const origin = values.length > 1 ? new Origin() : active().origin()
    if (values.length > 1 && origin?.drawsRandomNumbers()) {
      throw new GradpromptError('random-while-tracing', 'A random number was drawn while the function was traced', {
        found: `a random operation at ${origin.describe()}`,
        expected: 'a function of its inputs: a number drawn now would be the same in every later run',
        hint: 'draw the noise outside and pass it as an input',
      })
    }
    return active().add({ shape, dtype }, { kind: 'constant', data: constantData(values, dtype), origin })
  }

  override readSync = (): never => {
    throw dataDependentError()
  }

  /** Nobody may wait for this promise, so that the error is kept for the end of the trace, and the promise stays open. */
  override read = (): Promise<never> => {
    active().failure ??= dataDependentError()
    return new Promise(() => {})
  }
}

/** Ones on the diagonal, of comparisons: TF.js would allocate all of it. */
function identityMatrix([rows, columns]: [number, number], dtype: tf.DataType): tf.TensorInfo {
  const upTo = (count: number) => tf.range(0, count, 1, 'int32')
  return tf.cast(tf.equal(tf.expandDims(upTo(rows), 1), tf.expandDims(upTo(columns), 0)), dtype)
}

function constantData(values: tf.BackendValues, dtype: tf.DataType): ConstantData {
  if (dtype === 'float32') return values instanceof Float32Array ? values : Float32Array.from(values as unknown as number[])
  if (dtype === 'int32') return values instanceof Int32Array ? values : Int32Array.from(values as unknown as number[])
  if (dtype === 'bool') return values instanceof Uint8Array ? values : Uint8Array.from(values as unknown as number[])
  throw new GradpromptError('unsupported-dtype', `A constant of type ${dtype} cannot be compiled`, {
    expected: 'float32, int32 or bool',
  })
}

function dataDependentError(): GradpromptError {
  return new GradpromptError('data-dependent', 'The value of a tensor was read while the function was traced', {
    found: `a read at ${new Origin().describe()}`,
    expected: 'shapes and branches that depend on sizes alone',
    hint: 'use tf.where, masks or gather, or compute it outside and pass it as an input',
  })
}

function record(operation: string, ids: number[], metas: TensorMeta[], attributes: Attributes): tf.TensorInfo[] {
  const trace = active()
  const outputs = metas.map(({ shape, dtype }) => ({ dataId: trace.add({ shape, dtype }, NODE), shape, dtype }))
  trace.nodes.push({
    operation,
    inputs: ids,
    attributes,
    outputs: outputs.map(({ dataId }) => dataId.id),
    origin: trace.origin(),
  })
  return outputs
}

const NODE = { kind: 'node' } as const

function recordFused(kernel: Kernel, inputs: Record<string, tf.TensorInfo | undefined>, attributes: Attributes): tf.TensorInfo {
  if (!kernel.lower) return (kernel.expand ?? kernel.reference)(inputs as Record<string, tf.Tensor>, attributes)
  const ids = kernel.inputs.map(name => {
    const tensor = inputs[name.replace('?', '')]
    return tensor ? active().id(tensor) : -1
  })
  const shape = kernel.lower.shape(inputs as Record<string, TensorMeta>, attributes)
  return record(kernel.name, ids, [{ shape, dtype: 'float32' }], attributes)[0]!
}

function recordComposite({ inputs: names, compose }: Composite, inputs: unknown, attrs: unknown): tf.TensorInfo {
  const given = inputs as Record<string, tf.Tensor | undefined>
  return compose(
    names.map(name => given[name]),
    (attrs ?? {}) as Attributes,
  )
}

function recordOperation(name: string, operation: Operation, inputs: unknown, attrs: unknown): tf.TensorInfo | tf.TensorInfo[] {
  const given = inputs as Record<string, tf.TensorInfo> | tf.TensorInfo[]
  const tensors = Array.isArray(given)
    ? given
    : operation.inputs
      ? operation.inputs.map(key => given[key]!)
      : Object.values(given)
  const attributes = operation.canonical?.(tensors, attrs as Attributes) ?? ((attrs ?? {}) as Attributes)
  if (operation.alias?.(tensors, attributes)) return active().alias(tensors[0]!)
  const ids = tensors.map(tensor => active().id(tensor))
  const outputs = record(name, ids, operation.infer(tensors, attributes), attributes)
  return operation.many ? outputs : outputs[0]!
}

const registered = new Set<string>()

function registerKernel(kernelName: string, run: (inputs: unknown, attrs: unknown) => tf.TensorInfo | tf.TensorInfo[]): void {
  registered.add(kernelName)
  tf.registerKernel({ kernelName, backendName: BACKEND, kernelFunc: ({ inputs, attrs }) => run(inputs, attrs) })
}

/** Registers the backend once, and the fused kernels that were defined since the last call. */
function register(): void {
  if (registered.size === 0) {
    tf.registerBackend(BACKEND, () => new TraceBackend(), 0)
    for (const [name, operation] of operations)
      registerKernel(name, (inputs, attrs) => recordOperation(name, operation, inputs, attrs))
    for (const [name, composite] of composites) registerKernel(name, (inputs, attrs) => recordComposite(composite, inputs, attrs))
    registerUnsupported()
  }
  for (const kernel of kernels.values()) {
    if (registered.has(kernel.name)) continue
    registerKernel(kernel.name, (inputs, attrs) =>
      recordFused(kernel, inputs as Record<string, tf.TensorInfo>, (attrs ?? {}) as Attributes),
    )
  }
}

/** Every other kernel that TF.js knows fails with its name and the user's line, instead of TF.js's own message. */
function registerUnsupported(): void {
  for (const { kernelName } of tf.getKernelsForBackend('cpu')) {
    if (registered.has(kernelName) || kernels.has(kernelName)) continue
    tf.registerKernel({
      kernelName,
      backendName: BACKEND,
      kernelFunc: () => {
        throw new GradpromptError('unsupported-operation', `The operation ${kernelName} cannot be compiled`, {
          found: `${kernelName} at ${new Origin().describe()}`,
          expected: `one of ${operationNames().join(', ')}`,
          hint: 'express it with these (docs/compile.md), or compute it outside and pass it as an input',
        })
      },
    })
  }
}

/** What TF.js keeps of the backend in use. */
interface BackendInUse {
  readonly backendName: string | undefined
  readonly backendInstance: unknown
  readonly profiler: unknown
}

let ownBackend: BackendInUse | undefined

/**
 * Computes with the tracing backend until the function that is returned is called. `tf.setBackend` walks through all of TF.js's kernels
 * each time, to set up what a backend needs, and a function is traced many times: it is called once.
 */
function useBackend(): () => void {
  const engine = tf.engine() as unknown as BackendInUse & { readonly state: { tensorInfo: DataKnown } }
  const { state } = engine
  const { tensorInfo } = state
  const inUse = ({ backendName, backendInstance, profiler }: BackendInUse) => ({ backendName, backendInstance, profiler })
  const previous = inUse(engine)
  if (ownBackend) Object.assign(engine, ownBackend)
  else {
    tf.setBackend(BACKEND)
    ownBackend = inUse(engine)
  }
  state.tensorInfo = new KnownData(tensorInfo, { backend: ownBackend.backendInstance })
  // Where no backend was chosen yet, TF.js chooses when it is next used.
  return () => {
    state.tensorInfo = tensorInfo
    Object.assign(engine, previous)
  }
}

/** A named tensor that a traced function takes: an input of the program, or a weight of the model. */
export interface Placeholder extends TensorMeta {
  readonly name: string
}

export type TensorFunction = (inputs: Record<string, tf.Tensor>, weight: (name: string) => tf.Tensor) => Record<string, tf.Tensor>

/**
 * Runs `fn` once on placeholders of concrete sizes and returns what it did. `weight(name)` yields a tensor that stands for a
 * stored weight; its data are never read.
 *
 * @throws GradpromptError `unsupported-operation`, `data-dependent`, `random-while-tracing`, `foreign-tensor`, `array-too-large`,
 *   `asynchronous-function`, `invalid-output`, and whatever `fn` throws
 */
export function trace(
  fn: TensorFunction,
  inputs: readonly Placeholder[],
  weights: ReadonlyMap<string, TensorMeta>,
  { origins = false }: { origins?: boolean } = {},
): TracedGraph {
  register()
  const engine = tf.engine()
  const own = new Recorder(origins)
  recorder = own
  const restoreBackend = useBackend()
  engine.startScope()
  try {
    const weightTensors = new Map<string, tf.Tensor>()
    const placeholder = (meta: Placeholder, kind: 'input' | 'weight') =>
      engine.makeTensorFromDataId(own.add(meta, { kind, name: meta.name }), meta.shape, meta.dtype)
    const tensors = Object.fromEntries(inputs.map(input => [input.name, placeholder(input, 'input')]))
    const weight = (name: string) => {
      const known = weightTensors.get(name)
      if (known) return known
      const meta = weights.get(name)
      if (!meta)
        throw new GradpromptError('unknown-weight', `The function asks for a weight that is not there: ${name}`, { exitCode: 1 })
      const tensor = placeholder({ name, shape: meta.shape, dtype: meta.dtype }, 'weight')
      weightTensors.set(name, tensor)
      return tensor
    }
    const outputs = withMendedGradients(() => withStandingArrays(standing, () => fn(tensors, weight)))
    assertOutputs(outputs)
    const ids = Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, own.id(tensor)]))
    if (own.failure) throw own.failure
    return { values: own.values, nodes: own.nodes, outputs: ids }
  } finally {
    engine.endScope()
    recorder = undefined
    restoreBackend()
  }
}
