import type { Graph, GraphNode, GraphValue } from './symbolic-graph.js'

/** Constants of more elements than these are not compared. */
const COMPARED = 64

/** Common-subexpression elimination: masks and indices that every layer asks for are computed once. */
export function merged(graph: Graph): Graph {
  const canonical = new Map<number, number>([[-1, -1]])
  const seen = new Map<string, readonly number[]>()
  const resolve = (id: number) => canonical.get(id) ?? id
  const constants = new Map<string, number>()
  for (const value of graph.values) {
    const key = keyOfConstant(value)
    if (key === undefined) continue
    const known = constants.get(key)
    if (known === undefined) constants.set(key, value.id)
    else canonical.set(value.id, known)
  }
  const nodes: GraphNode[] = []
  for (const node of graph.nodes) {
    const inputs = node.inputs.map(resolve)
    const key = `${node.operation} ${inputs} ${keyOf(node.attributes)}`
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

function keyOfConstant({ shape, dtype, source }: GraphValue): string | undefined {
  if (source.kind === 'uniform') return `${dtype} ${keyOf(shape)} ${source.numerator} / ${source.denominator}`
  if (source.kind !== 'constant' || source.data.length > COMPARED) return undefined
  return `${dtype} ${keyOf(shape)} ${Array.from(source.data, keyOf)}`
}

/** Text that tells values apart: numbers with signs of zero and all that JSON does not know, sizes as they print. */
export function keyOf(value: unknown): string {
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value)
  if (typeof value === 'string') return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(keyOf).join()}]`
  if (typeof value !== 'object' || value === null) return String(value)
  if ('terms' in value) return `<${String(value)}>`
  let text = '{'
  for (const name in value) text += `${name}:${keyOf((value as Record<string, unknown>)[name])},`
  return `${text}}`
}
