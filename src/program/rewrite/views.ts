import type { Graph, GraphNode } from '../solve/symbolic-graph.js'

/**
 * A transpose of a transpose becomes one, or none where both cancel, and a reshape of a reshape takes the first one's input: modules
 * that hand tensors to one another in a common layout undo each other's moves. What nothing needs any more is dropped.
 */
export function composedViews(graph: Graph): Graph {
  const producer = new Map<number, GraphNode>()
  const replaced = new Map<number, number>()
  const nodes: GraphNode[] = []
  for (const given of graph.nodes) {
    const inputs = given.inputs.map(id => replaced.get(id) ?? id)
    const node = composed({ ...given, inputs }, producer.get(inputs[0]!))
    if (isIdentity(node)) {
      replaced.set(node.outputs[0]!, node.inputs[0]!)
      continue
    }
    for (const id of node.outputs) producer.set(id, node)
    nodes.push(node)
  }
  const outputs = Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, replaced.get(id) ?? id]))
  const needed = new Set(Object.values(outputs))
  const live = nodes.toReversed().filter(node => {
    const isLive = node.outputs.some(id => needed.has(id))
    if (isLive) for (const id of node.inputs) needed.add(id)
    return isLive
  })
  return { ...graph, nodes: live.reverse(), outputs }
}

const permutation = ({ attributes }: GraphNode) => attributes.perm as readonly number[]

function composed(node: GraphNode, before: GraphNode | undefined): GraphNode {
  if (before?.operation !== node.operation) return node
  if (node.operation === 'Reshape') return { ...node, inputs: before.inputs }
  if (node.operation !== 'Transpose') return node
  const inner = permutation(before)
  return { ...node, inputs: before.inputs, attributes: { ...node.attributes, perm: permutation(node).map(axis => inner[axis]!) } }
}

const isIdentity = (node: GraphNode) => node.operation === 'Transpose' && permutation(node).every((from, to) => from === to)
