import {
  type Attributes,
  kernels,
  type LoweredCompact,
  type LoweredQuantization,
  type LoweredTensor,
  type Lowering,
  quantizedOperators,
} from '../../kernels/kernel.js'
import { GradpromptError } from '../errors.js'
import { CompactWeight, type WeightTensor } from './compact-weights.js'
import type { DeviceProfile } from './devices.js'
import { bytesOf, DATA_TYPE, ModelBuilder, type OnnxType } from './onnx.js'
import { operations } from './operations/index.js'
import type { OperationLowering } from './operations/operation.js'
import { type Size, SizeExpression, sameSize } from './operations/sizes.js'
import { writeScan } from './scan.js'
import type { Graph, GraphNode, GraphValue } from './solve/symbolic-graph.js'

/** Where a weight's bytes stand: in a file beside the model, mapped by every program that uses it. */
export interface ExternalTensor<Dtype extends OnnxType = 'float32' | 'int32'> {
  readonly file: string
  readonly offset: number
  readonly byteLength: number
  readonly shape: readonly number[]
  readonly dtype: Dtype
}

/** A weight `[out, in]` as integers and scales, for linear layers. */
export type QuantizedTensor = BlockQuantizedTensor | RowQuantizedTensor

/** At its stored width (see `kernels/linear-quantized.ts`). */
export interface BlockQuantizedTensor {
  readonly form: 'blocks'
  readonly bits: 4 | 8
  /** Packed integers, uint8 [out, in / 32, 4 * bits] */
  readonly integers: ExternalTensor<'uint8'>
  /** [out, in / 32] */
  readonly scales: ExternalTensor<'float32'>
  /** [out, in / 32] */
  readonly offsets?: ExternalTensor<'float32'>
}

/** Scaled, rotated, and rounded row by row (see `kernels/linear-integer.ts`). */
export interface RowQuantizedTensor {
  readonly form: 'rows'
  readonly rotation: number
  readonly inputBits: 8 | 16
  /** [in, out] */
  readonly integers: ExternalTensor<'int8'>
  /** [out] */
  readonly scales: ExternalTensor<'float32'>
  /** [in], the same tensor for all weights that take one input */
  readonly inputScales: ExternalTensor<'float32'>
}

/**
 * Writes a graph as an ONNX model. Sizes that vary are computed inside the model from the shapes of its inputs.
 *
 * @param device what its operators are
 * @returns the encoded model and the number of its nodes
 */
export function lowerGraph(
  graph: Graph,
  device: Pick<DeviceProfile, 'operators' | 'coarse'>,
  weights: ReadonlyMap<string, WeightTensor>,
  inputs: readonly { name: string; shape: readonly Size[]; dtype: string }[],
  quantized: ReadonlyMap<string, QuantizedTensor> = new Map(),
  builder = new ModelBuilder(),
): { model: Uint8Array; nodes: number } {
  const lowerer = new Lowerer(graph, device, weights, quantized, builder)
  for (const input of inputs) lowerer.declareInput(input)
  for (const node of graph.nodes) lowerer.node(node)
  for (const [name, id] of Object.entries(graph.outputs)) lowerer.output(name, id)
  return { model: lowerer.builder.encode(), nodes: lowerer.builder.nodeCount }
}

/** A dimension as ONNX names it. */
const onnxSize = (size: Size): number | string => (typeof size === 'number' ? size : String(size))

class Lowerer {
  readonly builder: ModelBuilder
  /** ONNX names of the graph's values. */
  readonly #names = new Map<number, string>()
  /** ONNX names of what is written once, by what it is: sizes, parts of weights, what lowerings share. */
  readonly #written = new Map<string, string>()
  readonly #declared: { name: string; shape: readonly Size[] }[] = []
  readonly #graph: Graph
  readonly #device: Pick<DeviceProfile, 'operators' | 'coarse'>
  readonly #weights: ReadonlyMap<string, WeightTensor>
  readonly #quantized: ReadonlyMap<string, QuantizedTensor>

  constructor(
    graph: Graph,
    device: Pick<DeviceProfile, 'operators' | 'coarse'>,
    weights: ReadonlyMap<string, WeightTensor>,
    quantized: ReadonlyMap<string, QuantizedTensor>,
    builder: ModelBuilder,
  ) {
    this.builder = builder
    this.#graph = graph
    this.#device = device
    this.#weights = weights
    this.#quantized = quantized
  }

  declareInput({ name, shape, dtype }: { name: string; shape: readonly Size[]; dtype: string }): void {
    this.builder.input(name, dtype as OnnxType, shape.map(onnxSize))
    this.#declared.push({ name, shape })
  }

  output(name: string, id: number): void {
    const value = this.#graph.values[id]!
    this.builder.node('Identity', [this.name(id)], [`${name}:out`])
    this.builder.output(`${name}:out`, value.dtype as OnnxType, value.shape.map(onnxSize))
  }

  node(node: GraphNode): void {
    const inputs = node.inputs.map(id => (id < 0 ? undefined : new Operand(this, this.#graph.values[id]!)))
    const outputs = node.outputs.map(id => this.#graph.values[id]!)
    const lowering = this.#lowering(inputs, outputs, node.attributes)
    const kernel = kernels.get(node.operation)
    const result = kernel?.lower
      ? kernel.lower.write(lowering)
      : operations.get(node.operation)!.lower(lowering as OperationLowering)
    const names = Array.isArray(result) ? result : [result]
    const taken = new Set(node.inputs.map(id => this.#names.get(id)))
    for (const [i, id] of node.outputs.entries()) {
      const name = names[i]!
      this.#names.set(id, name)
      const { shape, dtype } = outputs[i]!
      if (!taken.has(name)) this.builder.shape(name, dtype as OnnxType, shape.map(onnxSize))
    }
  }

  /** The ONNX name of a value; a weight or constant is written when it is first asked for. */
  name(id: number): string {
    const known = this.#names.get(id)
    if (known !== undefined) return known
    const value = this.#graph.values[id]!
    // Each node unpacks anew what it reads: kept from the forward pass to the backward one, weights would stand in memory unpacked.
    const compact = this.compact(value)
    if (compact) return compact.unpack()
    const made = this.#source(value)
    this.#names.set(id, made)
    return made
  }

  /** How a weight that is kept small is unpacked. */
  compact({ source, dtype }: GraphValue): CompactWeight | undefined {
    const weight = source.kind === 'weight' ? this.#weights.get(source.name) : undefined
    if (source.kind !== 'weight' || !weight || weight.dtype === dtype || weight.dtype === 'int32') return undefined
    return new CompactWeight(source.name, weight, {
      external: (name, tensor) => this.#external(name, tensor),
      emit: (operator, inputs, attributes) => this.#emit(operator, inputs, attributes),
      late: (operator, inputs, attributes) => {
        const output = this.builder.fresh()
        this.builder.lateNode(operator, inputs, [output], attributes)
        return output
      },
      int64: values => this.#int64(values as Size[]),
    })
  }

  #source({ source, shape, dtype }: GraphValue): string {
    if (source.kind === 'input') return source.name
    if (source.kind === 'weight') return this.#external(`weight:${source.name}`, this.#weights.get(source.name)!)
    if (source.kind === 'constant')
      return this.builder.constant(dtype as OnnxType, shape as number[], bytesOf(dtype as OnnxType, source.data))
    if (source.kind === 'uniform') return this.#uniform(source.numerator, source.denominator, shape, dtype as OnnxType)
    throw new GradpromptError('internal', 'A value is used before it is made', { exitCode: 1 })
  }

  #external(name: string, { dtype, shape, file, offset, byteLength }: ExternalTensor<OnnxType>): string {
    return this.#once(name, () => {
      this.builder.external(name, dtype, shape, file, offset, byteLength)
      return name
    })
  }

  /** A weight as integers, where the file has it so and the device multiplies with them. */
  quantization(name: string): LoweredQuantization | undefined {
    const stored = this.#quantized.get(name)
    if (!stored || !this.#device.operators.has(quantizedOperators[stored.form])) return undefined
    const part = (kind: string, tensor: ExternalTensor<OnnxType>) => this.#external(`weight:${name}:${kind}`, tensor)
    const names = { integers: part('integers', stored.integers), scales: part('scales', stored.scales) }
    if (stored.form === 'rows') {
      const { rotation, inputBits, inputScales } = stored
      const shared = `input scales at ${inputScales.offset}`
      return { form: 'rows', rotation, inputBits, ...names, inputScales: this.#external(shared, inputScales) }
    }
    return {
      form: 'blocks',
      bits: stored.bits,
      ...names,
      ...(stored.offsets ? { offsets: part('offsets', stored.offsets) } : {}),
    }
  }

  #uniform(numerator: Size, denominator: Size, shape: readonly Size[], dtype: OnnxType): string {
    if (typeof numerator === 'number' && typeof denominator === 'number')
      return this.#emit('ConstantOfShape', [this.#int64(shape)], { value: { dtype, values: [numerator / denominator] } })
    const cast = (size: Size) =>
      typeof size === 'number'
        ? this.builder.constant('float32', [1], bytesOf('float32', [size]))
        : this.#emit('Cast', [this.#int64([size])], { to: DATA_TYPE.float32 })
    const quotient = denominator === 1 ? cast(numerator) : this.#emit('Div', [cast(numerator), cast(denominator)])
    const value = dtype === 'float32' ? quotient : this.#emit('Cast', [quotient], { to: DATA_TYPE[dtype] })
    return this.#emit('Expand', [shape.length === 0 ? this.#emit('Squeeze', [value]) : value, this.#int64(shape)])
  }

  #lowering(inputs: (LoweredTensor | undefined)[], outputs: GraphValue[], attributes: Attributes): Lowering {
    return {
      inputs,
      outputs,
      attributes,
      has: operator => this.#device.operators.has(operator),
      isCoarse: operator => this.#device.coarse.has(operator),
      emit: (operator, names, attributes, domain) => this.#emit(operator, names, attributes, domain),
      emitMany: (operator, names, count, attributes, domain) => this.#emitMany(operator, names, count, attributes, domain),
      scan: loop => writeScan(loop, this.builder),
      float: values => {
        if (values instanceof SizeExpression)
          return this.#emit('Squeeze', [this.#emit('Cast', [this.#size(values)], { to: DATA_TYPE.float32 }), this.#int64([0])])
        const list = typeof values === 'number' ? [values] : values
        return this.builder.constant('float32', typeof values === 'number' ? [] : [list.length], bytesOf('float32', list))
      },
      int32: value => this.builder.constant('int32', [], bytesOf('int32', [value])),
      int64: values => this.#int64(values as Size[]),
      reshape: (name, from, to) => this.#reshape(name, from as Size[], to as Size[]),
      once: (key, make) => this.#once(`shared:${key}`, make),
    }
  }

  #emit(operator: string, inputs: readonly string[], attributes: Attributes = {}, domain = ''): string {
    return this.#emitMany(operator, inputs, 1, attributes, domain)[0]!
  }

  #emitMany(operator: string, inputs: readonly string[], count: number, attributes: Attributes = {}, domain = ''): string[] {
    const outputs = Array.from({ length: count }, () => this.builder.fresh())
    this.builder.node(operator, inputs, outputs, attributes, domain)
    return outputs
  }

  #int64(values: readonly Size[]): string {
    if (values.every(value => typeof value === 'number'))
      return this.builder.constant('int64', [values.length], bytesOf('int64', values as number[]))
    const parts = values.map(value => this.#size(value))
    return parts.length === 1 ? parts[0]! : this.#once(`[${values}]`, () => this.#emit('Concat', parts, { axis: 0 }))
  }

  #once(key: string, make: () => string): string {
    const known = this.#written.get(key)
    if (known !== undefined) return known
    const made = make()
    this.#written.set(key, made)
    return made
  }

  /** An int64 vector of length one that holds the size in a run. */
  #size(size: Size): string {
    if (typeof size === 'number') return this.builder.constant('int64', [1], bytesOf('int64', [size]))
    return this.#once(String(size), () => {
      for (const { name, shape } of this.#declared) {
        const axis = shape.findIndex(other => sameSize(other, size))
        if (axis >= 0) return this.#emit('Shape', [name], { start: axis, end: axis + 1 })
      }
      if (size.terms.length === 1 && size.terms[0]!.coefficient === 1 && size.terms[0]!.factors.length === 1)
        return this.#solvedFor(size.terms[0]!.factors[0]!)
      const terms = size.terms.map(({ coefficient, factors }) => {
        const parts = factors.map(name => this.#size(SizeExpression.dimension(name)))
        if (coefficient !== 1 || parts.length === 0) parts.push(this.#size(coefficient))
        return parts.reduce((a, b) => this.#emit('Mul', [a, b]))
      })
      return terms.reduce((a, b) => this.#emit('Add', [a, b]))
    })
  }

  /** A dimension that stands alone in no input: the rest is subtracted from a sum in which it does stand. */
  #solvedFor(name: string): string {
    for (const input of this.#declared) {
      for (const [axis, size] of input.shape.entries()) {
        if (!(size instanceof SizeExpression)) continue
        const own = size.terms.filter(({ factors }) => factors.length === 1 && factors[0] === name)
        const rest = size.terms.filter(term => !own.includes(term))
        if (own.length !== 1 || rest.some(term => term.factors.includes(name))) continue
        const whole = this.#emit('Shape', [input.name], { start: axis, end: axis + 1 })
        const alone = rest.length === 0 ? whole : this.#emit('Sub', [whole, this.#size(new SizeExpression(rest))])
        const [{ coefficient }] = own as [(typeof own)[0]]
        return coefficient === 1 ? alone : this.#emit('Div', [alone, this.#size(coefficient)])
      }
    }
    throw new GradpromptError('unbound-dimension', `The dimension ${name} stands in no input's shape, so a run cannot know it`, {
      hint: 'give an input a shape in which it stands alone',
    })
  }

  #reshape(name: string, from: readonly Size[], to: readonly Size[]): string {
    if (from.length === to.length && from.every((size, axis) => sameSize(size, to[axis]!))) return name
    // 0 copies the input's size at that axis and one -1 is inferred, so that most reshapes need no shape arithmetic.
    const copied = to.map(
      (size, axis): Size => (typeof size !== 'number' && axis < from.length && sameSize(from[axis]!, size) ? 0 : size),
    )
    const open = copied.filter(size => typeof size !== 'number')
    const noZeroSize = to.every(size => size !== 0)
    if (open.length === 1 && noZeroSize)
      return this.#emit('Reshape', [name, this.#int64(copied.map(size => (typeof size === 'number' ? size : -1)))])
    if (open.length === 0 && noZeroSize) return this.#emit('Reshape', [name, this.#int64(copied)])
    return this.#emit('Reshape', [name, this.#int64(to)], { allowzero: 1 })
  }
}

/** An input of a node, named when its lowering asks: of a weight, a program holds only the form that it uses. */
class Operand implements LoweredTensor {
  readonly #lowerer: Lowerer
  readonly #value: GraphValue
  #name: string | undefined

  constructor(lowerer: Lowerer, value: GraphValue) {
    this.#lowerer = lowerer
    this.#value = value
  }

  get name(): string {
    this.#name ??= this.#lowerer.name(this.#value.id)
    return this.#name
  }

  get compact(): LoweredCompact | undefined {
    return this.#lowerer.compact(this.#value)
  }

  get shape(): readonly Size[] {
    return this.#value.shape
  }

  get dtype(): GraphValue['dtype'] {
    return this.#value.dtype
  }

  get uniform(): Size | undefined {
    const { source } = this.#value
    if (source.kind === 'uniform') return source.denominator === 1 ? source.numerator : undefined
    return source.kind === 'constant' && source.data.length === 1 ? source.data[0] : undefined
  }

  get quantized(): LoweredQuantization | undefined {
    return this.#value.source.kind === 'weight' ? this.#lowerer.quantization(this.#value.source.name) : undefined
  }
}
