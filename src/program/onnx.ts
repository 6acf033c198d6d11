import protobuf from 'protobufjs/light.js'
import type { Attributes } from '../../kernels/kernel.js'
import { GradpromptError } from '../errors.js'

/**
 * The part of ONNX's protobuf schema that programs need (onnx.proto, IR version 10), and a builder of models.
 * Field numbers are the specification's.
 */
const string = (id: number, rule?: 'repeated') => ({ type: 'string', id, ...(rule && { rule }) })
const int = (id: number, type = 'int64', rule?: 'repeated') => ({ type, id, ...(rule && { rule }) })
const message = (id: number, type: string, rule?: 'repeated') => ({ type, id, ...(rule && { rule }) })

const root = protobuf.Root.fromJSON({
  nested: {
    Model: {
      fields: { irVersion: int(1), producerName: string(2), graph: message(7, 'Graph'), opsetImport: message(8, 'OperatorSet', 'repeated') },
    },
    OperatorSet: { fields: { domain: string(1), version: int(2) } },
    Graph: {
      fields: {
        node: message(1, 'Node', 'repeated'), name: string(2), initializer: message(5, 'Tensor', 'repeated'),
        input: message(11, 'ValueInfo', 'repeated'), output: message(12, 'ValueInfo', 'repeated'),
        valueInfo: message(13, 'ValueInfo', 'repeated'),
      },
    },
    Node: {
      fields: {
        input: string(1, 'repeated'), output: string(2, 'repeated'), name: string(3), opType: string(4),
        attribute: message(5, 'Attribute', 'repeated'), domain: string(7),
      },
    },
    Attribute: {
      fields: {
        name: string(1), f: int(2, 'float'), i: int(3), s: int(4, 'bytes'), t: message(5, 'Tensor'),
        g: message(6, 'Graph'), floats: int(7, 'float', 'repeated'), ints: int(8, 'int64', 'repeated'), type: int(20, 'int32'),
      },
    },
    Tensor: {
      fields: {
        dims: int(1, 'int64', 'repeated'), dataType: int(2, 'int32'), name: string(8), rawData: int(9, 'bytes'),
        externalData: message(13, 'StringEntry', 'repeated'), dataLocation: int(14, 'int32'),
      },
    },
    StringEntry: { fields: { key: string(1), value: string(2) } },
    ValueInfo: { fields: { name: string(1), type: message(2, 'Type') } },
    Type: { fields: { tensorType: message(1, 'TensorType') } },
    TensorType: { fields: { elemType: int(1, 'int32'), shape: message(2, 'Shape') } },
    Shape: { fields: { dim: message(1, 'Dim', 'repeated') } },
    Dim: { fields: { dimValue: int(1), dimParam: string(2) } },
  },
}) // biome-ignore format: the schema reads as a table
const ModelType = root.lookupType('Model')

export const DATA_TYPE = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float16: 10, bfloat16: 16 } as const
export type OnnxType = keyof typeof DATA_TYPE
const ATTRIBUTE = { FLOAT: 1, INT: 2, STRING: 3, TENSOR: 4, GRAPH: 5, FLOATS: 6, INTS: 7 } as const

/** Operator sets that every program uses: opset 21 of ONNX, and ONNX Runtime's contrib operators. */
const OPERATOR_SETS = [
  { domain: '', version: 21 },
  { domain: 'com.microsoft', version: 1 },
]

/** Attributes that ONNX wants as floats even when their value is a whole number. */
const FLOAT_ATTRIBUTES = new Set(['alpha', 'beta', 'epsilon', 'scale'])

function attribute(name: string, value: unknown): object {
  if (typeof value === 'number') {
    if (Number.isInteger(value) && !FLOAT_ATTRIBUTES.has(name)) return { name, type: ATTRIBUTE.INT, i: value }
    return { name, type: ATTRIBUTE.FLOAT, f: value }
  }
  if (typeof value === 'string') return { name, type: ATTRIBUTE.STRING, s: new TextEncoder().encode(value) }
  if (Array.isArray(value)) {
    if (value.some(item => typeof item !== 'number')) throw sizeAsOption(name, value)
    return { name, type: ATTRIBUTE.INTS, ints: value }
  }
  if (isBody(value)) return { name, type: ATTRIBUTE.GRAPH, g: bodyGraph(value) }
  const { dtype, values } = value as { dtype?: OnnxType; values: number[] }
  if (dtype === undefined || values.some(item => typeof item !== 'number')) throw sizeAsOption(name, value)
  return { name, type: ATTRIBUTE.TENSOR, t: tensor('', [values.length], dtype, bytesOf(dtype, values)) }
}

const sizeAsOption = (name: string, value: unknown) =>
  new GradpromptError('unsolved-constant', `An option (${name}) depends on sizes, where ONNX wants a number`, {
    found: String(value),
    hint: 'compute with tensor operations what depends on sizes',
  })

/** A graph within a node: what a loop does in each of its steps. Its names are its own. */
interface Body {
  readonly inputs: readonly { name: string; dtype: OnnxType }[]
  readonly outputs: readonly { name: string; dtype: OnnxType }[]
  readonly nodes: readonly BodyNode[]
}

export interface BodyNode {
  readonly operator: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes: Attributes
  readonly domain: string
}

const isBody = (value: unknown): value is Body => typeof value === 'object' && value !== null && 'nodes' in value

function encodedNode({ operator, inputs, outputs, attributes, domain }: BodyNode): object {
  const listed = Object.entries(attributes).filter(([, value]) => value !== undefined)
  return {
    opType: operator,
    input: inputs,
    output: outputs,
    domain,
    attribute: listed.map(([name, value]) => attribute(name, value)),
  }
}

function bodyGraph({ inputs, outputs, nodes }: Body): object {
  const typed = ({ name, dtype }: Body['inputs'][0]) => ({ name, type: { tensorType: { elemType: DATA_TYPE[dtype] } } })
  return {
    name: 'body',
    node: nodes.map(encodedNode),
    input: inputs.map(typed),
    output: outputs.map(typed),
  }
}

/** Values as ONNX stores them. A table may hold more numbers than a list can: typed arrays are copied as they are. */
export function bytesOf(dtype: OnnxType, values: ArrayLike<number>): Uint8Array {
  if (dtype === 'int64') return new Uint8Array(BigInt64Array.from({ length: values.length }, (_, i) => BigInt(values[i]!)).buffer)
  if (dtype === 'float32') return new Uint8Array(new Float32Array(values).buffer)
  if (dtype === 'int32') return new Uint8Array(new Int32Array(values).buffer)
  return new Uint8Array(values)
}

function tensor(name: string, dims: readonly number[], dtype: OnnxType, rawData: Uint8Array): object {
  return { name, dims, dataType: DATA_TYPE[dtype], rawData }
}

/** Writes one ONNX model, node by node. Names are numbers, so that equal graphs give equal bytes. */
export class ModelBuilder {
  readonly #nodes: object[] = []
  /** Nodes that stand before all others. */
  readonly #first: object[] = []
  readonly #initializers: object[] = []
  readonly #inputs: object[] = []
  readonly #outputs: object[] = []
  readonly #shapes = new Map<string, object>()
  readonly #constants = new Map<string, string>()
  #count = 0

  fresh(): string {
    return `#${this.#count++}`
  }

  node(operator: string, inputs: readonly string[], outputs: readonly string[], attributes: Attributes = {}, domain = ''): void {
    this.#nodes.push(this.#encoded({ operator, inputs, outputs, attributes, domain }))
  }

  /**
   * A node that is listed before all others: of the inputs of a node, ONNX Runtime computes those last that are listed first. So what
   * depends on weights alone is made just before it is read, and not when a run begins.
   */
  lateNode(operator: string, inputs: readonly string[], outputs: readonly string[], attributes: Attributes = {}): void {
    this.#first.push(this.#encoded({ operator, inputs, outputs, attributes, domain: '' }))
  }

  #encoded(node: BodyNode): object {
    return { ...encodedNode(node), name: `${node.operator}_${this.nodeCount}` }
  }

  /** An initializer whose bytes stand in the model. Equal ones are written once. */
  constant(dtype: OnnxType, dims: readonly number[], data: Uint8Array): string {
    const key = data.length <= 256 ? `${dtype} ${dims} ${Buffer.from(data).toString('latin1')}` : undefined
    const known = key !== undefined ? this.#constants.get(key) : undefined
    if (known) return known
    const name = this.fresh()
    this.#initializers.push(tensor(name, dims, dtype, data))
    if (key !== undefined) this.#constants.set(key, name)
    return name
  }

  /** An initializer whose bytes stand in a file beside the model, at `offset`. */
  external(name: string, dtype: OnnxType, dims: readonly number[], location: string, offset: number, length: number): void {
    const externalData = Object.entries({ location, offset, length }).map(([key, value]) => ({ key, value: String(value) }))
    this.#initializers.push({ name, dims, dataType: DATA_TYPE[dtype], externalData, dataLocation: 1 })
  }

  input(name: string, dtype: OnnxType, shape: readonly (number | string)[]): void {
    this.#inputs.push(valueInfo(name, dtype, shape))
  }

  output(name: string, dtype: OnnxType, shape: readonly (number | string)[]): void {
    this.#outputs.push(valueInfo(name, dtype, shape))
  }

  /** Declares the shape of an intermediate tensor: ONNX Runtime reuses buffers only between shapes that it knows to be equal. */
  shape(name: string, dtype: OnnxType, shape: readonly (number | string)[]): void {
    if (!this.#shapes.has(name)) this.#shapes.set(name, valueInfo(name, dtype, shape))
  }

  get nodeCount(): number {
    return this.#first.length + this.#nodes.length
  }

  encode(): Uint8Array {
    const graph = {
      name: 'program',
      node: [...this.#first, ...this.#nodes],
      initializer: this.#initializers,
      input: this.#inputs,
      output: this.#outputs,
      valueInfo: [...this.#shapes.values()],
    }
    return ModelType.encode(
      ModelType.fromObject({ irVersion: 10, producerName: 'gradprompt', graph, opsetImport: OPERATOR_SETS }),
    ).finish()
  }
}

function valueInfo(name: string, dtype: OnnxType, shape: readonly (number | string)[]): object {
  const dim = shape.map(size => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }))
  return { name, type: { tensorType: { elemType: DATA_TYPE[dtype], shape: { dim } } } }
}
