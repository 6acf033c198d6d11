import { againName } from '../../../kernels/again.js'
import { segmentGradientName, segmentInputName } from '../../../kernels/segment-input.js'
import type { Graph, GraphNode, GraphValue } from '../solve/symbolic-graph.js'

/**
 * Activation recomputation (Chen et al. 2016): a graph whose function has marked its segments (`segmentInput`) is rewritten so that the
 * backward pass of a segment reads values that are computed again from the segment's input, where it would read those of the forward
 * pass. These then end with the forward pass, and what stays are the inputs of the segments. The nodes are copies, so the numbers are the
 * same to the bit. A graph without marks stays as it is.
 *
 * The copies of a segment wait for the gradient that comes into it from behind (`Again`): a runtime that follows needs alone might
 * otherwise compute all segments again as the backward pass begins. What that gradient needs itself reads the first values, and so does
 * the last segment, whose backward pass comes at once.
 */
export function recomputed(graph: Graph): Graph {
  const segments = segmentsOf(graph)
  return segments.length === 0 ? graph : new Recomputation(graph, segments).graph()
}

/** What lies between two marks, and where the backward pass comes into it. */
interface Segment {
  /** Indices of the nodes that mark its beginning and its end. */
  readonly start: number
  readonly end: number
  /** Index of the node that has the gradient at its end. */
  readonly gradient: number
}

function segmentsOf({ nodes }: Graph): Segment[] {
  const marks = [...nodes.keys()].filter(i => nodes[i]!.operation === segmentInputName)
  const gradients = new Map(
    [...nodes.entries()]
      .filter(([, { operation }]) => operation === segmentGradientName)
      .map(([index, { attributes }]) => [attributes.segment, index]),
  )
  return marks.slice(1).flatMap((end, i) => {
    const gradient = gradients.get(nodes[end]!.attributes.segment)
    return gradient === undefined ? [] : [{ start: marks[i]!, end, gradient }]
  })
}

class Recomputation {
  readonly #graph: Graph
  readonly #segments: readonly Segment[]
  /** By value: the node that makes it. */
  readonly #producer: Int32Array
  /** By node: the segment that it is part of, or -1. */
  readonly #segment: Int32Array
  /** By node: the last segment whose gradient needs it, or -1; it is needed by the gradients of all earlier ones. */
  readonly #neededBy: Int32Array
  readonly #values: GraphValue[]
  readonly #nodes: GraphNode[]
  /** Copies by the value that they are of. */
  readonly #copies = new Map<number, number>()

  constructor(graph: Graph, segments: readonly Segment[]) {
    this.#graph = graph
    this.#segments = segments
    this.#values = [...graph.values]
    this.#nodes = [...graph.nodes]
    this.#producer = new Int32Array(graph.values.length).fill(-1)
    for (const [index, { outputs }] of graph.nodes.entries()) for (const id of outputs) this.#producer[id] = index
    this.#segment = new Int32Array(graph.nodes.length).fill(-1)
    this.#neededBy = new Int32Array(graph.nodes.length).fill(-1)
    for (const [index, { start, end }] of segments.entries()) this.#claim(index, start, end)
    for (let index = segments.length - 1; index >= 0; index--)
      this.#ancestors([segments[index]!.gradient], node => {
        if (this.#neededBy[node]! >= 0) return false
        this.#neededBy[node] = index
        return true
      })
  }

  graph(): Graph {
    for (const [index, node] of this.#graph.nodes.entries()) {
      if (this.#segment[index]! >= 0 || this.#segments.some(({ end }) => end === index)) continue
      const inputs = node.inputs.map(id => {
        const segment = this.#segmentOf(id)
        return segment < 0 || this.#neededBy[index]! >= segment ? id : this.#copy(id, segment)
      })
      this.#nodes[index] = { ...node, inputs }
    }
    return { ...this.#graph, values: this.#values, nodes: this.#ordered() }
  }

  #segmentOf(id: number): number {
    const node = id < 0 ? -1 : this.#producer[id]!
    return node < 0 ? -1 : this.#segment[node]!
  }

  /** Visits what nodes need, themselves included; behind a node for which `enter` says no it goes no further. */
  #ancestors(from: readonly number[], enter: (node: number) => boolean): void {
    const pending = [...from]
    while (pending.length > 0) {
      const node = pending.pop()!
      if (!enter(node)) continue
      for (const id of this.#graph.nodes[node]!.inputs) if (id >= 0 && this.#producer[id]! >= 0) pending.push(this.#producer[id]!)
    }
  }

  /** A segment's nodes: what its end needs and its beginning leads to. */
  #claim(index: number, start: number, end: number): void {
    const needed = new Set<number>()
    this.#ancestors([end], node => {
      if (node <= start || needed.has(node)) return false
      needed.add(node)
      return true
    })
    const led = new Set([start])
    for (const node of [...needed].sort((a, b) => a - b)) {
      const isLed = this.#graph.nodes[node]!.inputs.some(id => id >= 0 && led.has(this.#producer[id]!))
      if (!isLed || node === end) continue
      led.add(node)
      this.#segment[node] = index
    }
  }

  /** The value once more, with all of its segment that it needs. */
  #copy(id: number, segment: number): number {
    const known = this.#copies.get(id)
    if (known !== undefined) return known
    const { start, gradient } = this.#segments[segment]!
    const producer = this.#producer[id]!
    const node = this.#graph.nodes[producer]!
    const copies = node.outputs.map(output => this.#values.push({ ...this.#values[output]!, id: this.#values.length }) - 1)
    for (const [i, output] of node.outputs.entries()) this.#copies.set(output, copies[i]!)
    if (producer === start) {
      const after = this.#graph.nodes[gradient]!.outputs[0]!
      this.#nodes.push({ operation: againName, inputs: [id, after], attributes: {}, outputs: copies })
    } else {
      const isInside = (input: number) => input >= 0 && (this.#segmentOf(input) === segment || this.#producer[input] === start)
      const inputs = node.inputs.map(input => (isInside(input) ? this.#copy(input, segment) : input))
      this.#nodes.push({ ...node, inputs, outputs: copies })
    }
    return this.#copies.get(id)!
  }

  /** The nodes, each behind what it needs; otherwise as they were. */
  #ordered(): GraphNode[] {
    const producer = new Map(this.#nodes.flatMap((node, index) => node.outputs.map(id => [id, index] as const)))
    const placed = new Uint8Array(this.#nodes.length)
    const ordered: GraphNode[] = []
    for (const index of this.#graph.nodes.keys()) {
      const pending = [index]
      while (pending.length > 0) {
        const next = pending.at(-1)!
        const node = this.#nodes[next]!
        const missing = node.inputs.filter(id => producer.has(id) && placed[producer.get(id)!] === 0)
        if (placed[next] === 0 && missing.length > 0) {
          pending.push(...missing.map(id => producer.get(id)!))
          continue
        }
        pending.pop()
        if (placed[next] === 1) continue
        placed[next] = 1
        ordered.push(node)
      }
    }
    return ordered
  }
}
