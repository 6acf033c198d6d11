import type { TracedGraph, TracedNode, TracedValue } from './trace.js'

/** Drops the nodes that no output needs, and renumbers the values in order of first use. */
export function prune({ values, nodes, outputs }: TracedGraph): TracedGraph {
  const producer = new Int32Array(values.length).fill(-1)
  for (const [index, node] of nodes.entries()) for (const id of node.outputs) producer[id] = index
  const isLive = new Uint8Array(nodes.length)
  const pending = Object.values(outputs)
  while (pending.length > 0) {
    const index = producer[pending.pop()!] ?? -1
    if (index < 0 || isLive[index]) continue
    isLive[index] = 1
    for (const id of nodes[index]!.inputs) pending.push(id)
  }
  const numbers = new Int32Array(values.length).fill(-1)
  const kept: TracedValue[] = []
  const renumber = (id: number): number => {
    if (id < 0) return id
    if (numbers[id]! < 0) numbers[id] = kept.push(values[id]!) - 1
    return numbers[id]!
  }
  const live: TracedNode[] = []
  for (const [index, { operation, inputs, attributes, outputs, origin }] of nodes.entries()) {
    if (!isLive[index]) continue
    live.push({ operation, inputs: inputs.map(renumber), attributes, outputs: outputs.map(renumber), origin })
  }
  const named = Object.fromEntries(Object.entries(outputs).map(([name, id]) => [name, renumber(id)]))
  return { values: kept, nodes: live, outputs: named }
}
