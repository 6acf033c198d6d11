import type { Graph, GraphNode, GraphValue } from '../solve/symbolic-graph.js'

/**
 * A graph whose products take and give numbers of 16 bits, forward and backward alike, as automatic mixed precision has it (Micikevicius et
 * al. 2018). What moves a product's result to where the next one takes it moves 16 bits; everything else (sums, norms, activations,
 * softmax, losses) is computed in float32, and so are all inputs and outputs of the program: the prompt and its gradient among them.
 */

export interface HalfOptions {
  readonly type: 'float16' | 'bfloat16'
  /** The device has no such products: operands and results are rounded to 16 bits, and the products between them are of float32. */
  readonly rounded: boolean
  /** How weights are stored, by name. */
  readonly stored: ReadonlyMap<string, { readonly dtype: string }>
  /** Weights that are multiplied as integers. */
  readonly quantized: { has(name: string): boolean }
}

const products = new Set(['BatchMatMul', 'LinearFrozen'])

/** Operations whose outputs hold numbers of their first input and no others. */
const moves = new Set(['Reshape', 'ExpandDims', 'Transpose', 'Slice', 'StridedSlice', 'SplitV', 'Unpack', 'Tile', 'Reverse'])

export const inHalfPrecision = (graph: Graph, options: HalfOptions): Graph => new Halving(graph, options).graph()

class Halving {
  readonly #graph: Graph
  readonly #options: HalfOptions
  readonly #values: GraphValue[]
  readonly #nodes: GraphNode[] = []
  /** By a value of the graph: what holds it in 16 bits. */
  readonly #halves = new Map<number, number>()
  /** Values of the graph that were made in 16 bits: of these there is no float32 but by a cast. */
  readonly #made = new Set<number>()
  /** By a value of the graph: what holds its 16 bits in float32. */
  readonly #singles = new Map<number, number>()

  constructor(graph: Graph, options: HalfOptions) {
    this.#graph = graph
    this.#options = options
    this.#values = [...graph.values]
  }

  graph(): Graph {
    for (const node of this.#graph.nodes) this.#node(node)
    const outputs = Object.fromEntries(Object.entries(this.#graph.outputs).map(([name, id]) => [name, this.#single(id)]))
    return { ...this.#graph, values: this.#values, nodes: this.#nodes, outputs }
  }

  #node(node: GraphNode): void {
    if (products.has(node.operation) && !this.#takesIntegers(node)) this.#product(node)
    else if (this.#moves(node)) this.#moved(node)
    else this.#nodes.push({ ...node, inputs: node.inputs.map(id => this.#single(id)) })
  }

  #product(node: GraphNode): void {
    if (node.inputs.some(id => id >= 0 && this.#graph.values[id]!.dtype !== 'float32')) {
      this.#nodes.push(node)
      return
    }
    const [output] = node.outputs as [number]
    if (!this.#options.rounded) {
      const made = this.#add(output, this.#type)
      this.#nodes.push({ ...node, inputs: node.inputs.map(id => this.#half(id)), outputs: [made] })
      this.#make(output, made)
      return
    }
    const exact = this.#add(output, 'float32')
    this.#nodes.push({ ...node, inputs: node.inputs.map(id => this.#roundedOperand(id)), outputs: [exact] })
    this.#make(output, this.#cast(exact, this.#type))
  }

  #make(id: number, half: number): void {
    this.#halves.set(id, half)
    this.#made.add(id)
  }

  /** Moves are of 16 bits where what they move is. */
  #moves({ operation, inputs, attributes }: GraphNode): boolean {
    if (this.#options.rounded) return false
    const isHere = (id: number | undefined) => id !== undefined && this.#made.has(id)
    if (operation === 'GatherV2') return attributes.batchDims === 0 && isHere(inputs[0])
    if (operation === 'Concat' || operation === 'Pack') return inputs.every(isHere)
    return moves.has(operation) && isHere(inputs[0])
  }

  #moved(node: GraphNode): void {
    const made = node.outputs.map(id => this.#add(id, this.#type))
    this.#nodes.push({ ...node, inputs: node.inputs.map(id => (this.#made.has(id) ? this.#halves.get(id)! : id)), outputs: made })
    for (const [i, id] of node.outputs.entries()) this.#make(id, made[i]!)
  }

  get #type() {
    return this.#options.type
  }

  #takesIntegers({ inputs }: GraphNode): boolean {
    return inputs.some(id => {
      const source = this.#graph.values[id]?.source
      return source?.kind === 'weight' && this.#options.quantized.has(source.name)
    })
  }

  /** A value in 16 bits; -1, an input that was left out, stays. */
  #half(id: number): number {
    if (id < 0) return id
    const known = this.#halves.get(id)
    if (known !== undefined) return known
    const { source } = this.#graph.values[id]!
    const asStored = source.kind === 'weight' && this.#options.stored.get(source.name)?.dtype === this.#type
    const made = asStored ? this.#add(id, this.#type) : this.#cast(id, this.#type)
    this.#halves.set(id, made)
    return made
  }

  /** A value in float32. */
  #single(id: number): number {
    return this.#made.has(id) ? this.#widened(id) : id
  }

  /** A value rounded to 16 bits, in float32. */
  #roundedOperand(id: number): number {
    if (id < 0) return id
    const { source } = this.#graph.values[id]!
    // Programs unpack it where they read it.
    if (source.kind === 'weight' && this.#options.stored.get(source.name)?.dtype === this.#type) return id
    return this.#widened(id)
  }

  #widened(id: number): number {
    const known = this.#singles.get(id)
    if (known !== undefined) return known
    const made = this.#cast(this.#half(id), 'float32')
    this.#singles.set(id, made)
    return made
  }

  /** A value of the same shape and source in another type. */
  #add(id: number, dtype: GraphValue['dtype']): number {
    const { shape, source } = this.#values[id]!
    return this.#values.push({ id: this.#values.length, shape, source, dtype }) - 1
  }

  #cast(id: number, dtype: GraphValue['dtype']): number {
    const { shape } = this.#values[id]!
    const made = this.#values.push({ id: this.#values.length, shape, source: { kind: 'node' }, dtype }) - 1
    this.#nodes.push({ operation: 'Cast', inputs: [id], attributes: { dtype }, outputs: [made] })
    return made
  }
}
