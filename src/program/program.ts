import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import type * as tf from '@tensorflow/tfjs'
import { disposedError, GradpromptError, unknownName } from '../errors.js'
import { isRecord } from '../json.js'
import { elementCount } from '../numbers.js'
import { inWords } from '../own-calls.js'
import type { WeightTensor } from './compact-weights.js'
import { type Device, defaultDevice, deviceWords, isDevice } from './devices.js'
import type { QuantizedTensor } from './lower.js'
import { type Dimensions, type DimensionValues, type Size, SizeExpression } from './operations/sizes.js'
import type { HalfPrecision } from './precision.js'
import { programFile } from './program-file.js'
import type { ProgramOrigin } from './program-key.js'
import type { DeviceProcesses } from './runtime/device-processes.js'
import { Session, type SessionOptions, type TypedArray } from './session.js'

export type Dtype = 'float32' | 'int32' | 'bool'

/** An input of a program: its shape may hold names of dimensions and sums of them, such as `['P+S', 576]`. */
export interface InputSpec {
  readonly shape: readonly (number | string)[]
  readonly dtype: Dtype
}

export interface ProgramSpec {
  /** Says what it is in errors and profiles. */
  readonly name: string
  readonly inputs: Readonly<Record<string, InputSpec>>
  readonly dims: Dimensions
  /** The tensor code. `weight(name)` is a frozen weight of `weights`. */
  readonly fn: (inputs: Record<string, tf.Tensor>, weight: (name: string) => tf.Tensor) => Record<string, tf.Tensor>
  /** Frozen weights, in one file that every program of a model maps. */
  readonly weights?: WeightFile
  /** What makes `fn`. With it, a program found in the cache is opened without tracing; without it the graph is the key. */
  readonly origin?: ProgramOrigin
}

/** Weights as they stand on disk, and the folder in which programs that map them are kept. */
export interface WeightFile<Quantized extends QuantizedTensor = QuantizedTensor> {
  readonly folder: string
  readonly tensors: ReadonlyMap<string, WeightTensor>
  /** Weights that linear layers take as integers; the others, and everything else, are as in `tensors`. */
  readonly quantized?: ReadonlyMap<string, Quantized>
  /** In which width programs with these weights multiply; by default in float32. */
  readonly precision?: HalfPrecision | undefined
  /** Hash of the weights and their layout. */
  readonly hash: string
}

export interface CompileOptions {
  readonly device?: Device
  readonly threads?: number
  /**
   * Keep packed copies of the weights (see `SessionOptions.pack`). By default where weights are quantised: ONNX Runtime would
   * dequantise them in every run otherwise.
   */
  readonly pack?: boolean
  readonly profile?: string
  /** Further devices, which take runs that are asked for at once. */
  readonly elsewhere?: DeviceProcesses
}

export type ProgramInput = TypedArray | { readonly data: TypedArray; readonly shape: readonly number[] }

const ELEMENT = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const

interface BoundInput {
  readonly name: string
  readonly sizes: readonly Size[]
  readonly data: TypedArray
  readonly shape?: readonly number[]
}

/**
 * A compiled function: typed arrays in, typed arrays out, at any sizes within the declared ranges. The type parameters are the names of
 * its inputs and outputs.
 */
export class Program<Inputs extends string = string, Outputs extends string = string> {
  readonly spec: ProgramSpec
  /** The ONNX file. */
  readonly path: string
  /** Whether it was found in the cache. */
  readonly cached: boolean
  readonly #openSession: () => Promise<Session>
  readonly #sessionOptions: SessionOptions
  readonly #elsewhere: DeviceProcesses | undefined
  readonly #shapes: ReadonlyMap<string, readonly Size[]>
  #session: Promise<Session> | undefined
  /** Runs that have begun and not ended. */
  #running = 0
  #isDisposed = false

  private constructor(
    spec: ProgramSpec,
    {
      path,
      cached,
      openSession,
      sessionOptions,
      elsewhere,
      shapes,
    }: {
      path: string
      cached: boolean
      openSession: () => Promise<Session>
      sessionOptions: SessionOptions
      elsewhere: DeviceProcesses | undefined
      shapes: ReadonlyMap<string, readonly Size[]>
    },
  ) {
    this.spec = spec
    this.path = path
    this.cached = cached
    this.#openSession = openSession
    this.#sessionOptions = sessionOptions
    this.#elsewhere = elsewhere
    this.#shapes = shapes
  }

  /**
   * Compiles a program, or opens it from the cache.
   *
   * @throws GradpromptError as `traceGraph` and `Session.open` do
   */
  static async compile(spec: ProgramSpec, options: CompileOptions = {}): Promise<Program> {
    const device = options.device ?? defaultDevice
    if (!isDevice(device))
      throw unknownName('invalid-option', `The device of ${spec.name} is not valid`, String(device), deviceWords.slice(1))
    const shapes = new Map(Object.entries(spec.inputs).map(([name, input]) => [name, input.shape.map(parseSize)]))
    assertRanges(spec)
    for (const [name, sizes] of shapes) assertDeclared(spec, name, sizes)
    const { path, cached } = await programFile(spec, device, shapes)
    const sessionOptions: SessionOptions = {
      device,
      threads: options.threads ?? defaultThreads(),
      pack: options.pack ?? spec.weights?.quantized !== undefined,
      optimize: !spec.weights,
      ...(options.profile ? { profile: options.profile } : {}),
    }
    const openSession = async () => {
      // While a program rests, its file may be cleared from the cache.
      if (!existsSync(path)) await programFile(spec, device, shapes)
      return Session.open(path, sessionOptions)
    }
    const { elsewhere } = options
    const program = new Program(spec, { path, cached, openSession, sessionOptions, elsewhere, shapes })
    await program.#opened()
    return program
  }

  /**
   * Runs the program.
   *
   * @param inputs typed arrays by name, with a shape where the length alone does not tell the dimensions
   * @throws GradpromptError `missing-input`, `shape-mismatch`, `size-out-of-range`, `disposed`, `run-failed`, `memory-exhausted`
   */
  async run(inputs: Readonly<Record<Inputs, ProgramInput>>): Promise<Record<Outputs, TypedArray>> {
    const results = await this.runWithShapes(inputs)
    const arrays = (Object.entries(results) as [string, { data: TypedArray }][]).map(([name, { data }]) => [name, data])
    return Object.fromEntries(arrays) as Record<Outputs, TypedArray>
  }

  /** As `run`, with the shape of each output beside its data. */
  async runWithShapes(
    inputs: Readonly<Record<Inputs, ProgramInput>>,
  ): Promise<Record<Outputs, { data: TypedArray; shape: readonly number[] }>> {
    if (this.#isDisposed) throw disposedError(`the program ${this.spec.name}`)
    const known: Readonly<Record<string, ProgramInput>> = isRecord(inputs) ? inputs : {}
    const bound = [...this.#shapes].map(([name, sizes]) => ({ name, sizes, ...this.#given(name, known[name]) }))
    const values = this.#bind(bound)
    const data: Record<string, TypedArray> = {}
    const shapes: Record<string, readonly number[]> = {}
    for (const { name, sizes, ...given } of bound) {
      data[name] = given.data
      shapes[name] = sizes.map(size => (typeof size === 'number' ? size : size.evaluate(values)))
      const expected = elementCount(shapes[name])
      if (given.data.length !== expected || (given.shape && given.shape.join() !== shapes[name].join())) {
        throw new GradpromptError('shape-mismatch', `The input ${name} of ${this.spec.name} has the wrong shape`, {
          found: `${given.data.length} elements${given.shape ? ` of shape [${given.shape}]` : ''}`,
          expected: `${expected} (shape [${shapes[name]}])`,
        })
      }
    }
    this.#running++
    try {
      const session = await this.#opened()
      const { path } = this
      const results = await (this.#elsewhere?.run(session, { path, options: this.#sessionOptions }, data, shapes) ??
        session.run(data, shapes))
      return results as Record<Outputs, { data: TypedArray; shape: readonly number[] }>
    } finally {
      this.#running--
    }
  }

  /** Gives back what the program holds until it is run again, which then takes as long as opening it. Does nothing while it runs. */
  async rest(): Promise<void> {
    if (this.#running > 0) return
    const session = this.#session
    this.#session = undefined
    this.#elsewhere?.release(this.path)
    await (await session)?.release()
  }

  /** Frees the program, once runs that have begun have ended. A second call does no more. */
  async dispose(): Promise<void> {
    this.#isDisposed = true
    this.#elsewhere?.release(this.path)
    // Whoever runs it hears of a session that cannot be opened.
    const session = await this.#session?.catch(() => undefined)
    await session?.release()
  }

  #opened(): Promise<Session> {
    if (this.#session) return this.#session
    const opening = this.#openSession()
    this.#session = opening
    opening.catch(() => {
      this.#session = undefined
    })
    return opening
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }

  /** An input's data, and its shape where it came with one. */
  #given(name: string, input: ProgramInput | undefined): { data: TypedArray; shape?: readonly number[] } {
    const program = this.spec.name
    if (!input) {
      throw new GradpromptError('missing-input', `The program ${program} was run without its input ${name}`, {
        expected: [...this.#shapes.keys()].join(', '),
      })
    }
    const { data, shape } = ArrayBuffer.isView(input) ? { data: input } : input
    const wanted = ELEMENT[this.spec.inputs[name]!.dtype]
    if (!(data instanceof wanted)) {
      throw new GradpromptError('shape-mismatch', `The input ${name} of ${program} has the wrong type`, {
        found: inWords(data ?? input),
        expected: `${wanted.name}, or { data: ${wanted.name}, shape }`,
      })
    }
    const sizes = this.#shapes.get(name)!
    if (shape && shape.length !== sizes.length) {
      throw new GradpromptError('shape-mismatch', `The input ${name} of ${program} has the wrong number of axes`, {
        found: `[${shape}]`,
        expected: `[${sizes.join(', ')}]`,
      })
    }
    return { data, ...(shape ? { shape } : {}) }
  }

  /** The dimensions of this run, from the inputs' shapes and lengths. */
  #bind(inputs: readonly BoundInput[]): DimensionValues {
    const values: Record<string, number> = {}
    const isOpen = (size: Size) => typeof size !== 'number' && size.names().some(name => !(name in values))
    // An axis such as P+S tells one dimension as soon as another input has told the rest.
    let pending = inputs
    for (let told = -1; told < Object.keys(values).length; ) {
      told = Object.keys(values).length
      pending = pending.filter(({ sizes }) => sizes.some(isOpen))
      for (const { name, sizes, data, shape } of pending) {
        if (shape) {
          for (const [axis, size] of sizes.entries()) bindAxis(values, size, shape[axis]!)
          continue
        }
        const open = sizes.filter(isOpen)
        if (open.length !== 1) continue
        const known = sizes
          .filter(size => size !== open[0])
          .reduce<number>((product, size) => product * (typeof size === 'number' ? size : size.evaluate(values)), 1)
        if (data.length % known !== 0) {
          throw new GradpromptError('shape-mismatch', `The input ${name} of ${this.spec.name} has the wrong length`, {
            found: String(data.length),
            expected: `a multiple of ${known} (shape [${sizes.join(', ')}])`,
          })
        }
        bindAxis(values, open[0]!, data.length / known)
      }
    }
    for (const [name, [minimum, maximum]] of Object.entries(this.spec.dims)) {
      const value = values[name]
      if (value === undefined) {
        throw new GradpromptError(
          'shape-mismatch',
          `The size ${name} of ${this.spec.name} does not follow from the lengths of the inputs`,
          {
            hint: 'give an input as { data, shape }',
          },
        )
      }
      if (!Number.isInteger(value) || value < minimum || value > maximum) {
        throw new GradpromptError('size-out-of-range', `The size ${name} of ${this.spec.name} is outside its declared range`, {
          found: String(value),
          expected: `${minimum} to ${maximum}`,
          hint: 'declare a wider range where the program is compiled',
        })
      }
    }
    return values
  }
}

function bindAxis(values: Record<string, number>, size: Size, value: number): void {
  if (typeof size === 'number') return
  const open = size.terms.filter(({ factors }) => factors.length === 1 && !(factors[0]! in values))
  if (open.length !== 1) return
  const [{ coefficient, factors }] = open as [(typeof open)[0]]
  const rest = new SizeExpression(size.terms.filter(term => term !== open[0]))
  if (rest.names().every(name => name in values)) values[factors[0]!] = (value - rest.evaluate(values)) / coefficient
}

const parseSize = (size: number | string): Size => {
  if (typeof size === 'number') return size
  const parsed = SizeExpression.parse(size)
  return parsed.names().length === 0 ? parsed.evaluate({}) : parsed
}

function assertRanges({ name, dims }: ProgramSpec): void {
  for (const [dimension, [minimum, maximum]] of Object.entries(dims)) {
    if (Number.isInteger(minimum) && Number.isInteger(maximum) && minimum >= 1 && maximum >= minimum) continue
    throw new GradpromptError('invalid-dimension', `The range of ${dimension} in ${name} is not usable`, {
      found: `[${minimum}, ${maximum}]`,
      expected: 'two whole numbers, the smaller first, from 1',
    })
  }
}

function assertDeclared(spec: ProgramSpec, name: string, sizes: readonly Size[]): void {
  for (const size of sizes) {
    if (typeof size === 'number') continue
    for (const dimension of size.names()) {
      if (dimension in spec.dims) continue
      throw new GradpromptError('unknown-dimension', `The shape of the input ${name} names a dimension that was not declared`, {
        found: dimension,
        expected: Object.keys(spec.dims).join(', ') || 'none: dims is empty',
        hint: `declare its range: dims: { ${dimension}: [1, 1024] }`,
      })
    }
  }
}

/** All cores that this process may use, or `GRADPROMPT_THREADS`. */
export function defaultThreads(): number {
  const chosen = Number(process.env.GRADPROMPT_THREADS)
  return Number.isInteger(chosen) && chosen > 0 ? chosen : availableParallelism()
}
