import type { Attributes } from '../../../kernels/kernel.js'
import { elementCount } from '../../numbers.js'
import { isElementwise } from '../operations/index.js'
import type { ConstantData, TracedGraph, TracedNode, TracedValue } from '../trace/trace.js'
import { keyOf } from './simplify.js'
import { uniformOf } from './unify.js'

/**
 * Whether two traces at the same sizes compute the same outputs, though not by the same nodes. TF.js takes other paths at a size of 1:
 * it does not sum over an axis that it need not, tiles nothing once, copies what it would slice. So values are numbered by what their
 * elements are, in order: a reshape has its input's number, and axes of size 1 count for nothing. What is found the same is the same; what
 * is not found so may be either, and is refused.
 */
export function isEquivalent(a: TracedGraph, b: TracedGraph): boolean {
  const table = new Map<string, number>()
  const datas = new Map<ConstantData, number>()
  const [first, second] = [a, b].map(graph => new Numbering(graph, table, datas).outputs()) as [Outputs, Outputs]
  return first.size === second.size && [...first].every(([name, output]) => keyOf(output) === keyOf(second.get(name)))
}

type Outputs = Map<string, { number: number; shape: readonly number[]; dtype: string }>

const plain = (shape: readonly number[]) => shape.filter(size => size !== 1)

class Numbering {
  readonly #graph: TracedGraph
  readonly #table: Map<string, number>
  readonly #datas: Map<ConstantData, number>
  readonly #numbers: number[] = []

  constructor(graph: TracedGraph, table: Map<string, number>, datas: Map<ConstantData, number>) {
    this.#graph = graph
    this.#table = table
    this.#datas = datas
  }

  outputs(): Outputs {
    const { values, nodes, outputs } = this.#graph
    for (const [id, value] of values.entries()) {
      const key = this.#sourceKey(value)
      if (key !== undefined) this.#numbers[id] = this.#number(key)
    }
    for (const node of nodes) {
      const same = this.#sameAsInput(node)
      for (const [i, id] of node.outputs.entries()) {
        this.#numbers[id] = same ? this.#numbers[node.inputs[0]!]! : this.#number(`${this.#nodeKey(node)} #${i}`)
      }
    }
    return new Map(
      Object.entries(outputs).map(([name, id]) => {
        const { shape, dtype } = values[id]!
        return [name, { number: this.#numbers[id]!, shape, dtype }]
      }),
    )
  }

  #number(key: string): number {
    const known = this.#table.get(key)
    if (known !== undefined) return known
    this.#table.set(key, this.#table.size)
    return this.#table.size - 1
  }

  #sourceKey({ source, shape, dtype }: TracedValue): string | undefined {
    if (source.kind === 'node') return undefined
    if ('name' in source) return `${source.kind} ${source.name}`
    const uniform = uniformOf(source)
    // A mean's 1/T was rounded on its way.
    if (uniform !== undefined)
      return `uniform ${dtype} ${Number.isInteger(uniform) ? uniform : uniform.toPrecision(6)} ${elementCount(shape)}`
    const { data } = source as { data: ConstantData }
    return `constant ${dtype} ${this.#data(data)}`
  }

  /** A number for constant data: equal data have the same. */
  #data(data: ConstantData): number {
    const known = this.#datas.get(data)
    if (known !== undefined) return known
    const equal = [...this.#datas.keys()].find(
      other => other.length === data.length && other.every((x, i) => Object.is(x, data[i])),
    )
    const number = equal ? this.#datas.get(equal)! : this.#datas.size
    this.#datas.set(data, number)
    return number
  }

  #shape(id: number): readonly number[] {
    return this.#graph.values[id]?.shape ?? []
  }

  /** Whether the only output's elements are those of the first input, in their order. */
  #sameAsInput(node: TracedNode): boolean {
    const { operation, inputs, outputs, attributes } = node
    const [from, to] = [this.#graph.values[inputs[0] ?? -1], this.#graph.values[outputs[0]!]!]
    if (!from || outputs.length !== 1 || from.dtype !== to.dtype) return false
    if (operation === 'Reshape' || operation === 'ExpandDims') return true
    if (operation === 'Transpose') return isOrdered((attributes.perm as number[]).filter(axis => from.shape[axis] !== 1))
    if (REDUCTIONS.has(operation)) return (attributes.axes as number[]).every(axis => from.shape[axis] === 1)
    if (operation === 'Reverse') return (attributes.dims as number[]).every(axis => from.shape[axis] === 1)
    if (operation === 'Cumsum') return attributes.exclusive === 0 && from.shape[attributes.axis as number] === 1
    if (inputs.length === 1 && WHOLE.has(operation)) return elementCount(from.shape) === elementCount(to.shape)
    return false
  }

  #nodeKey({ operation, inputs, attributes, outputs }: TracedNode): string {
    const numbers = inputs.map(id => (id < 0 ? -1 : this.#numbers[id]!))
    const shapes = inputs.map(id => this.#shape(id))
    const out = this.#shape(outputs[0]!)
    const { dtype } = this.#graph.values[outputs[0]!]!
    const of = (...rest: unknown[]) => `${operation} ${dtype} ${numbers} ${keyOf(rest)}`
    if (isElementwise(operation)) return of(attributes, broadcasts(shapes, out))
    const [shape] = shapes
    if (REDUCTIONS.has(operation) && shape) return of(plain(shape), placesOf(attributes.axes as number[], shape))
    if (operation === 'Transpose' && shape) return of(plain(shape), placesOf(attributes.perm as number[], shape))
    if (operation === 'Tile' && shape) {
      const reps = attributes.reps as number[]
      const kept = shape.map((_, axis) => axis).filter(axis => shape[axis] !== 1 || reps[axis] !== 1)
      return of(kept.map(axis => [shape[axis], reps[axis]]))
    }
    return of(attributes satisfies Attributes, shapes, out)
  }
}

const REDUCTIONS = new Set(['Sum', 'Mean', 'Max', 'Min', 'Prod', 'All', 'Any'])
/** Operations that leave everything where it is when they leave out or add nothing. */
const WHOLE = new Set(['Slice', 'PadV2', 'Tile', 'Concat', 'Pack', 'Unpack', 'SplitV'])

const isOrdered = (axes: readonly number[]) => axes.every((axis, i) => i === 0 || axes[i - 1]! < axis)

/** Axes as they count among those that are not of size 1. */
function placesOf(axes: readonly number[], shape: readonly number[]): number[] {
  const kept = shape.map((_, axis) => axis).filter(axis => shape[axis] !== 1)
  return axes.filter(axis => shape[axis] !== 1).map(axis => kept.indexOf(axis))
}

/** How inputs are repeated over an output: nothing where none is, or else their sizes along the output's axes above 1. */
function broadcasts(shapes: readonly (readonly number[])[], out: readonly number[]): unknown {
  if (shapes.every(shape => elementCount(shape) === elementCount(out))) return elementCount(out)
  const axes = out.map((_, axis) => axis).filter(axis => out[axis] !== 1)
  return shapes.map(shape => axes.map(axis => shape[axis - out.length + shape.length] ?? 1))
}
