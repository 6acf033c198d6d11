import type { Attributes, LoweredType } from '../../../kernels/kernel.js'
import type { Dimensions, DimensionValues, Size } from '../operations/sizes.js'
import type { ConstantData, TracedGraph, TracedValue } from '../trace/trace.js'

/** A traced function for every size in the declared ranges: numbers that differed between probes became expressions. */
export interface Graph {
  readonly dimensions: Dimensions
  /** By id. */
  readonly values: readonly GraphValue[]
  readonly nodes: readonly GraphNode[]
  readonly outputs: Readonly<Record<string, number>>
}

export interface GraphValue {
  readonly id: number
  readonly shape: readonly Size[]
  /** In 16 bits where a rewrite has said so; traces know none. */
  readonly dtype: LoweredType
  readonly source:
    | { readonly kind: 'input' | 'weight'; readonly name: string }
    | { readonly kind: 'constant'; readonly data: ConstantData }
    /** Every element equals `numerator / denominator`, in a shape that may vary. */
    | { readonly kind: 'uniform'; readonly numerator: Size; readonly denominator: Size }
    | { readonly kind: 'node' }
}

export interface GraphNode {
  readonly operation: string
  /** Ids of the inputs; -1 for an optional one that was left out. */
  readonly inputs: readonly number[]
  /** Numbers among them may be sizes. */
  readonly attributes: Attributes
  readonly outputs: readonly number[]
}

export const sizeAt = (size: Size, sizes: DimensionValues): number => (typeof size === 'number' ? size : size.evaluate(sizes))

/** The graph as a trace at these sizes should have left it. */
export function graphAt(graph: Graph, sizes: DimensionValues): TracedGraph {
  const evaluated = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(evaluated)
    if (typeof value !== 'object' || value === null) return value
    if ('terms' in value) return sizeAt(value as Size, sizes)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, evaluated(item)]))
  }
  return {
    values: graph.values.map(({ shape, dtype, source }): TracedValue => {
      const at = { shape: shape.map(size => sizeAt(size, sizes)), dtype: dtype as TracedValue['dtype'] }
      if (source.kind === 'constant') return { ...at, source: { ...source, origin: undefined } }
      if (source.kind !== 'uniform') return { ...at, source }
      const value = sizeAt(source.numerator, sizes) / sizeAt(source.denominator, sizes)
      return { ...at, source: { kind: 'uniform', value, origin: undefined } }
    }),
    nodes: graph.nodes.map(node => ({ ...node, attributes: evaluated(node.attributes) as Attributes, origin: undefined })),
    outputs: graph.outputs,
  }
}
