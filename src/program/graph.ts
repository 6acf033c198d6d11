import type { Attributes } from '../../kernels/kernel.js'
import { GradpromptError } from '../errors.js'
import { type Dimensions, type DimensionValues, probeSizes, type Size, SizeSolver } from './sizes.js'
import {
  type ConstantData,
  type Placeholder,
  type TensorFunction,
  type TracedGraph,
  type TracedNode,
  type TracedValue,
  trace,
} from './trace.js'
import { composedViews } from './views.js'

/** A traced function for every size in the declared ranges: numbers that differed between probes became expressions. */
export interface Graph {
  readonly dimensions: Dimensions
  readonly values: ReadonlyMap<number, GraphValue>
  readonly nodes: readonly GraphNode[]
  readonly outputs: Readonly<Record<string, number>>
}

export interface GraphValue {
  readonly id: number
  readonly shape: readonly Size[]
  readonly dtype: TracedValue['dtype']
  readonly source:
    | { readonly kind: 'input' | 'weight'; readonly name: string }
    | { readonly kind: 'constant'; readonly data: ConstantData }
    /** Every element equals `numerator / denominator`, in a shape that may vary. */
    | { readonly kind: 'uniform'; readonly numerator: Size; readonly denominator: Size }
    | { readonly kind: 'node' }
}

export interface GraphNode {
  readonly operation: string
  readonly inputs: readonly number[]
  readonly attributes: Attributes
  readonly outputs: readonly number[]
}

/** A declared input: its shape may name dimensions. */
export interface SymbolicPlaceholder {
  readonly name: string
  readonly shape: readonly Size[]
  readonly dtype: Placeholder['dtype']
}

const sizeAt = (size: Size, values: DimensionValues) => (typeof size === 'number' ? size : size.evaluate(values))

/**
 * Traces `fn` at every probe and solves what differs between them. Call stacks are kept only in a second attempt, when an error has to
 * name the user's line: they cost more than all the rest.
 *
 * @throws GradpromptError `size-branch` when the function does different things at different sizes, `unsolved-constant` when a
 *   number or data depend on sizes in a way that no polynomial explains, and whatever `trace` throws
 */
export function traceGraph(
  fn: TensorFunction,
  inputs: readonly SymbolicPlaceholder[],
  weights: ReadonlyMap<string, { shape: number[]; dtype: TracedValue['dtype'] }>,
  dimensions: Dimensions,
): Graph {
  const { base, held } = probeSizes(dimensions)
  const probes = [...base, ...held]
  const attempt = (origins: boolean) => {
    const placeholders = (probe: DimensionValues) =>
      inputs.map(input => ({ ...input, shape: input.shape.map(size => sizeAt(size, probe)) }))
    const traces = probes.map(probe => prune(trace(fn, placeholders(probe), weights, { origins })))
    return new Unifier(dimensions, probes, traces, base.length).graph()
  }
  try {
    return merged(composedViews(attempt(false)))
  } catch (error) {
    if (error instanceof GradpromptError && (error.code === 'size-branch' || error.code === 'unsolved-constant')) attempt(true)
    throw error
  }
}

/** Drops the nodes that no output needs, and renumbers the values in order of first use. */
function prune(graph: TracedGraph): TracedGraph {
  const producer = new Map<number, TracedNode>()
  for (const node of graph.nodes) for (const id of node.outputs) producer.set(id, node)
  const live = new Set<TracedNode>()
  const pending = Object.values(graph.outputs)
  while (pending.length > 0) {
    const node = producer.get(pending.pop()!)
    if (!node || live.has(node)) continue
    live.add(node)
    pending.push(...node.inputs)
  }
  const renumbered = new Map<number, number>([[-1, -1]])
  const values: TracedValue[] = []
  const renumber = (id: number): number => {
    const known = renumbered.get(id)
    if (known !== undefined) return known
    renumbered.set(id, values.length)
    values.push({ ...graph.values[id]!, id: values.length })
    return values.length - 1
  }
  const nodes = graph.nodes
    .filter(node => live.has(node))
    .map(node => ({ ...node, inputs: node.inputs.map(renumber), outputs: node.outputs.map(renumber) }))
  const outputs = Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, renumber(id)]))
  return { values, nodes, outputs }
}

class Unifier {
  private readonly solver: SizeSolver

  constructor(
    private readonly dimensions: Dimensions,
    private readonly probes: readonly DimensionValues[],
    private readonly traces: readonly TracedGraph[],
    private readonly baseCount: number,
  ) {
    this.solver = new SizeSolver(dimensions, probes)
  }

  graph(): Graph {
    const [first] = this.traces as [TracedGraph]
    for (const [index, other] of this.traces.entries()) this.assertSameStructure(first, other, index)
    const values = new Map<number, GraphValue>()
    const nodes = first.nodes.map((node, index): GraphNode => {
      const attributes = this.unify(
        this.traces.map(({ nodes }) => nodes[index]!.attributes),
        node,
      ) as Attributes
      return { operation: node.operation, inputs: node.inputs, attributes, outputs: node.outputs }
    })
    for (const value of first.values) values.set(value.id, this.value(value, first))
    return { dimensions: this.dimensions, values, nodes, outputs: first.outputs }
  }

  private at(index: number): string {
    return (
      Object.entries(this.probes[index]!)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ') || 'a second trace'
    )
  }

  private assertSameStructure(first: TracedGraph, other: TracedGraph, index: number): void {
    const length = Math.max(first.nodes.length, other.nodes.length)
    for (let i = 0; i < length; i++) {
      const [a, b] = [first.nodes[i], other.nodes[i]]
      const same =
        a && b && a.operation === b.operation && a.inputs.join() === b.inputs.join() && a.outputs.join() === b.outputs.join() &&
        a.outputs.every((id, j) => first.values[id]!.shape.length === other.values[b.outputs[j]!]!.shape.length) // biome-ignore format: one condition
      if (!same) {
        const named = (node: TracedNode | undefined) =>
          node ? `${node.operation} at ${node.origin?.describe()}` : 'nothing more'
        throw new GradpromptError('size-branch', 'The function does different things at different sizes', {
          found: `${named(a)} for ${this.at(0)}, but ${named(b)} for ${this.at(index)}`,
          expected: 'the same operations for every size in the declared ranges',
          hint:
            index >= this.baseCount
              ? 'a branch on a size lies inside a declared range: narrow the range, or use tf.where'
              : 'use tf.where instead of a branch',
        })
      }
    }
    const outputs = (graph: TracedGraph) => JSON.stringify(graph.outputs)
    if (outputs(first) !== outputs(other)) {
      throw new GradpromptError('size-branch', 'The function returns other outputs at other sizes', {
        found: `${outputs(first)} and ${outputs(other)}`,
      })
    }
  }

  private unsolved(
    what: string,
    node: { origin: TracedNode['origin'] } | undefined,
    values: readonly unknown[],
  ): GradpromptError {
    const seen = values
      .slice(0, 4)
      .map((value, i) => `${value} for ${this.at(i)}`)
      .join('; ')
    return new GradpromptError('unsolved-constant', `${what} depends on sizes, or on chance, in a way that cannot be compiled`, {
      found: `${node ? `at ${node.origin?.describe()}: ` : ''}${seen}`,
      expected: 'a sum of products of the declared dimensions, or the inverse of one',
      hint: 'compute it inside the function with tensor operations, or pass it as an input',
    })
  }

  /** One attribute as seen at each probe -> one attribute with symbolic numbers. */
  private unify(values: readonly unknown[], node: TracedNode): unknown {
    const [first] = values
    if (typeof first === 'number') {
      if (values.every(value => Object.is(value, first))) return first
      const size = this.solver.solve(values as number[])
      if (size === undefined) throw this.unsolved(`A number given to ${node.operation}`, node, values)
      return size
    }
    if (Array.isArray(first)) {
      const lists = values as unknown[][]
      if (lists.some(list => list.length !== first.length))
        throw this.unsolved(
          `The length of a list given to ${node.operation}`,
          node,
          lists.map(list => list.length),
        )
      return first.map((_, i) =>
        this.unify(
          lists.map(list => list[i]),
          node,
        ),
      )
    }
    if (first !== null && typeof first === 'object') {
      return Object.fromEntries(
        Object.keys(first).map(key => [
          key,
          this.unify(
            values.map(value => (value as Attributes)[key]),
            node,
          ),
        ]),
      )
    }
    if (values.some(value => value !== first)) throw this.unsolved(`An option of ${node.operation}`, node, values)
    return first
  }

  private value(value: TracedValue, first: TracedGraph): GraphValue {
    const seen = this.traces.map(graph => graph.values[value.id]!)
    const producer = () => first.nodes.find(node => node.outputs.includes(value.id))
    const shape = value.shape.map((_, axis) => {
      const sizes = seen.map(other => other.shape[axis]!)
      const size = this.solver.solve(sizes)
      if (size === undefined) throw this.unsolved('A size', value.source.kind === 'constant' ? value.source : producer(), sizes)
      return size
    })
    const { id, dtype } = value
    if (value.source.kind !== 'constant') return { id, dtype, shape, source: value.source }
    return { id, dtype, shape, source: this.constant(seen, value.source.origin) }
  }

  /** Data made while tracing: the same every time; or uniform, in a shape or with a value that depends on sizes. */
  private constant(seen: readonly TracedValue[], origin: TracedNode['origin']): GraphValue['source'] {
    const datas = seen.map(value => (value.source as { data: ConstantData }).data)
    const [first] = datas as [ConstantData]
    if (datas.every(data => data.length === first.length && data.every((x, i) => Object.is(x, first[i]))))
      return { kind: 'constant', data: first }
    const values = datas.map(data => data[0]!)
    if (datas.every((data, i) => data.every(x => x === values[i]))) {
      const numerator = this.solver.solve(values)
      if (numerator !== undefined) return { kind: 'uniform', numerator, denominator: 1 }
      // A mean brings 1/T; TF.js has rounded it to float32.
      const inverse = this.solver.solveInverse(values)
      if (inverse) return { kind: 'uniform', ...inverse }
    }
    throw this.unsolved('A constant', { origin }, values)
  }
}

/** Common-subexpression elimination: masks and indices that every layer asks for are computed once. */
function merged(graph: Graph): Graph {
  const canonical = new Map<number, number>([[-1, -1]])
  const seen = new Map<string, readonly number[]>()
  const resolve = (id: number) => canonical.get(id) ?? id
  const keyOf = (value: unknown): string =>
    JSON.stringify(value, (_, item) => {
      // JSON knows neither NaN nor infinity.
      if (typeof item === 'number' && !Number.isFinite(item)) return String(item)
      return item instanceof Object && 'terms' in item ? String(item) : item
    })
  const constants = new Map<string, number>()
  for (const { id, shape, dtype, source } of graph.values.values()) {
    if (source.kind !== 'uniform' && !(source.kind === 'constant' && source.data.length <= 64)) continue
    const key = keyOf([
      shape,
      dtype,
      source.kind === 'uniform' ? [source.numerator, source.denominator] : [...source.data].map(String),
    ])
    canonical.set(id, constants.get(key) ?? id)
    if (!constants.has(key)) constants.set(key, id)
  }
  const nodes: GraphNode[] = []
  for (const node of graph.nodes) {
    const inputs = node.inputs.map(resolve)
    const key = keyOf([node.operation, inputs, node.attributes])
    const known = seen.get(key)
    if (known) {
      for (const [i, id] of node.outputs.entries()) canonical.set(id, known[i]!)
      continue
    }
    seen.set(key, node.outputs)
    nodes.push({ ...node, inputs })
  }
  return { ...graph, nodes, outputs: Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, resolve(id)])) }
}
