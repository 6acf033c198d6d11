import type { Attributes } from '../../../kernels/kernel.js'
import { elementCount } from '../../numbers.js'
import { type Dimensions, type DimensionValues, type Size, SizeSolver } from '../operations/sizes.js'
import type { ConstantData, TracedGraph, TracedValue } from '../trace/trace.js'
import { type Graph, type GraphNode, type GraphValue, sizeAt } from './symbolic-graph.js'

/**
 * Many traces into one graph: all must have the same nodes, and each number that differs between them is solved as an expression of the
 * sizes. A trace is kept as its numbers alone, in the order of the first one, so that many probes cost little memory.
 */

/** What one trace has where the first one has a number or a constant. */
export interface Reading {
  readonly sizes: DimensionValues
  /** Not to be solved from where it says something else than the others: at a size of 1 TF.js itself takes other paths. */
  readonly isSpecial: boolean
  readonly numbers: readonly number[]
  readonly constants: readonly { readonly isSame: boolean; readonly uniform: number | undefined }[]
}

/** Where a trace is not made like the first one. */
export interface Difference {
  readonly kind: 'operation' | 'outputs' | 'option' | 'list'
  /** Index of the node; nothing for outputs. */
  readonly node?: number
}

/** A number that no expression explains: of a node, or of a value that no node made. */
export interface Unsolved {
  readonly what: string
  readonly place: { readonly node: number } | { readonly value: number } | undefined
  readonly seen: readonly number[]
}

/** Reads a trace along the first one. */
export function readAlong(
  first: TracedGraph,
  trace: TracedGraph,
  sizes: DimensionValues,
  isSpecial: boolean,
): Reading | Difference {
  const numbers: number[] = []
  const constants: { isSame: boolean; uniform: number | undefined }[] = []
  const count = Math.max(first.nodes.length, trace.nodes.length)
  for (let node = 0; node < count; node++) {
    const [a, b] = [first.nodes[node], trace.nodes[node]]
    if (!a || !b || a.operation !== b.operation || !sameIds(a.inputs, b.inputs) || !sameIds(a.outputs, b.outputs))
      return { kind: 'operation', node }
    if (!a.outputs.every((id, i) => isAlike(first.values[id]!, trace.values[b.outputs[i]!]!))) return { kind: 'operation', node }
    const odd = readNumbers(a.attributes, b.attributes, numbers)
    if (odd) return { kind: odd, node }
  }
  const names = Object.keys(first.outputs)
  const alike = (name: string, i: number) => Object.keys(trace.outputs)[i] === name && first.outputs[name] === trace.outputs[name]
  if (names.length !== Object.keys(trace.outputs).length || !names.every(alike)) return { kind: 'outputs' }
  for (const [id, value] of first.values.entries()) {
    const other = trace.values[id]
    if (!other || !isAlike(value, other)) return { kind: 'outputs' }
    numbers.push(...other.shape)
    if (value.source.kind === 'constant' || value.source.kind === 'uniform')
      constants.push({ isSame: sameConstant(value.source, other.source), uniform: uniformOf(other.source) })
  }
  return { sizes, isSpecial, numbers, constants }
}

const sameIds = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((id, i) => id === b[i])

const isConstant = ({ source }: TracedValue) => source.kind === 'constant' || source.kind === 'uniform'

/** Whether two values can be one: their sizes may differ, but neither the number of axes nor where they come from. */
function isAlike(a: TracedValue, b: TracedValue): boolean {
  if (a.shape.length !== b.shape.length || a.dtype !== b.dtype) return false
  if (isConstant(a)) return isConstant(b)
  const [{ source: from }, { source: other }] = [a, b]
  return from.kind === other.kind && (!('name' in from) || from.name === (other as { name: string }).name)
}

/** Appends the numbers within an attribute; what differs otherwise ends the reading. */
function readNumbers(first: unknown, value: unknown, numbers: number[]): 'option' | 'list' | undefined {
  if (typeof first === 'number') {
    if (typeof value !== 'number') return 'option'
    numbers.push(value)
    return undefined
  }
  if (Array.isArray(first)) {
    if (!Array.isArray(value) || value.length !== first.length) return 'list'
    for (let i = 0; i < first.length; i++) {
      const odd = readNumbers(first[i], value[i], numbers)
      if (odd) return odd
    }
    return undefined
  }
  if (typeof first === 'object' && first !== null) {
    for (const key in first) {
      const odd = readNumbers((first as Attributes)[key], (value as Attributes | null)?.[key], numbers)
      if (odd) return odd
    }
    return undefined
  }
  return first === value ? undefined : 'option'
}

type Source = TracedValue['source']

const sameData = (a: ConstantData, b: ConstantData) => a === b || (a.length === b.length && a.every((x, i) => Object.is(x, b[i])))

function sameConstant(a: Source, b: Source): boolean {
  if (a.kind === 'uniform' && b.kind === 'uniform') return Object.is(a.value, b.value)
  return a.kind === 'constant' && b.kind === 'constant' && sameData(a.data, b.data)
}

/** What all elements of a constant equal. */
export function uniformOf(source: Source): number | undefined {
  if (source.kind === 'uniform') return source.value
  if (source.kind !== 'constant' || source.data.length === 0) return undefined
  const [first] = source.data
  return source.data.every(x => Object.is(x, first)) ? first : undefined
}

/** Elements of a uniform tensor of fixed size that are written out, which saves making them in every run. */
const WRITTEN_OUT = 1024

/** Puts readings of one function together. */
export class Unifier {
  /** Readings that the graph does not foretell, with the number that shows it. */
  readonly doubtful = new Map<Reading, Unsolved>()
  readonly #dimensions: Dimensions
  readonly #first: TracedGraph
  readonly #readings: readonly Reading[]
  readonly #plain: readonly Reading[]
  readonly #solver: SizeSolver
  readonly #plainSolver: SizeSolver
  readonly #fail: (unsolved: Unsolved) => Error
  #cursor = 0

  /** @param fail makes the error for a number that is not solved */
  constructor(dimensions: Dimensions, first: TracedGraph, readings: readonly Reading[], fail: (unsolved: Unsolved) => Error) {
    this.#dimensions = dimensions
    this.#first = first
    this.#readings = readings
    this.#plain = readings.filter(({ isSpecial }) => !isSpecial)
    this.#fail = fail
    const sizes = (list: readonly Reading[]) => list.map(reading => reading.sizes)
    this.#solver = new SizeSolver(dimensions, sizes(readings))
    this.#plainSolver = new SizeSolver(dimensions, sizes(this.#plain))
  }

  graph(): Graph {
    const { nodes, values, outputs } = this.#first
    const unified = nodes.map(({ operation, inputs, attributes, outputs }, node): GraphNode => {
      const solved = this.#attribute(attributes, { what: `A number given to ${operation}`, place: { node } }) as Attributes
      return { operation, inputs, attributes: solved, outputs }
    })
    const producer = new Map(nodes.flatMap((node, index) => node.outputs.map(id => [id, index] as const)))
    let constants = 0
    const made = values.map((value, id): GraphValue => {
      const node = producer.get(id)
      const place = node === undefined ? { value: id } : { node }
      const shape = value.shape.map(() => this.#next({ what: 'A size', place }))
      const { dtype, source } = value
      if (source.kind !== 'constant' && source.kind !== 'uniform') return { id, dtype, shape, source }
      return { id, dtype, shape, source: this.#constant(value, shape, constants++, { what: 'A constant', place }) }
    })
    return { dimensions: this.#dimensions, values: made, nodes: unified, outputs }
  }

  #attribute(value: unknown, at: Omit<Unsolved, 'seen'>): unknown {
    if (typeof value === 'number') return this.#next(at)
    if (Array.isArray(value)) return value.map(item => this.#attribute(item, at))
    if (typeof value !== 'object' || value === null) return value
    const solved: Record<string, unknown> = {}
    for (const key in value) solved[key] = this.#attribute((value as Attributes)[key], at)
    return solved
  }

  /** The next number of all readings. */
  #next(at: Omit<Unsolved, 'seen'>): Size {
    const index = this.#cursor++
    const first = this.#readings[0]!.numbers[index]!
    let varies = false
    for (const { numbers } of this.#readings) varies ||= !Object.is(numbers[index], first)
    if (!varies) return first
    const seen = this.#readings.map(({ numbers }) => numbers[index]!)
    const size = this.#solve(seen, at)
    if (size === undefined) throw this.#fail({ ...at, seen })
    return size
  }

  /** From all readings, or else from the plain ones: then the others are in doubt. */
  #solve(seen: readonly number[], at: Omit<Unsolved, 'seen'>): Size | undefined {
    const solved = this.#solver.solve(seen)
    if (solved !== undefined || this.#plain.length === this.#readings.length || this.#plain.length === 0) return solved
    const size = this.#plainSolver.solve(seen.filter((_, i) => !this.#readings[i]!.isSpecial))
    if (size === undefined) return undefined
    for (const [i, reading] of this.#readings.entries()) {
      if (sizeAt(size, reading.sizes) !== seen[i] && !this.doubtful.has(reading)) this.doubtful.set(reading, { ...at, seen })
    }
    return size
  }

  /** Data made while tracing: the same every time; or uniform, in a shape or with a value that depends on sizes. */
  #constant(value: TracedValue, shape: readonly Size[], index: number, at: Omit<Unsolved, 'seen'>): GraphValue['source'] {
    const all = this.#readings.map(({ constants }) => constants[index]!)
    const isFixed = shape.every(size => typeof size === 'number')
    const { source } = value
    if (isFixed && source.kind === 'constant' && all.every(({ isSame }) => isSame)) return { kind: 'constant', data: source.data }
    const seen = all.map(({ uniform }) => uniform ?? Number.NaN)
    const isUniform = all.every(({ uniform }) => uniform !== undefined)
    const numerator = isUniform ? this.#solve(seen, at) : undefined
    const count = elementCount(value.shape)
    if (typeof numerator === 'number' && isFixed && count <= WRITTEN_OUT)
      return { kind: 'constant', data: ARRAYS[value.dtype as 'float32'].from({ length: count }, () => numerator) }
    if (numerator !== undefined) return { kind: 'uniform', numerator, denominator: 1 }
    // A mean brings 1/T; TF.js has rounded it to float32.
    const inverse = isUniform ? this.#solver.solveInverse(seen) : undefined
    if (!inverse) throw this.#fail({ ...at, seen })
    return { kind: 'uniform', ...inverse }
  }
}

const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const
