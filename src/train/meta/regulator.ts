import { normalNumbers } from '../../prompts/initialisation.js'
import type { PromptParameter } from '../../prompts/method.js'
import { streams } from '../../random.js'

/**
 * SUPMER's gradient regulation (Pan et al. 2023, arXiv 2303.12314): a network of two layers that every inner gradient passes through, row by
 * row, and a gate that says how much of the gradient goes past it.
 *
 *     x  = g + U relu(D g)                      a residual, so that the network begins at the gradient itself
 *     x' = x, each row with the norm of g's row
 *     c  = sigmoid(o . relu(G e))               e: the mean hidden state of the rows' texts, brought to a mean square of 1
 *     g' = (1 - c) x' + c g
 *
 * The authors' code has a rectifier behind the last layer and no residual: x is then never negative, and all coordinates are pushed one
 * way. What is learned is learned by the first-order gradient of the loss behind the inner steps, and c by (c - agreement)^2 as well, with
 * the mean of how alike two tasks' texts and gradients are as agreement.
 */
export interface RegulatorSizes {
  /** Of a row. */
  readonly hiddenSize: number
  /** Between the two layers of the network. */
  readonly rank: number
  /** Of the gate's layer. */
  readonly width: number
}

/** Rank of the network; the paper's 1920 is for rows of 4096 and 250 domains. */
export const regulatorRank = 32
/** Width of the gate, the paper's. */
export const gateWidth = 24

/** By name: D [rank, d], U [d, rank], G [width, d], o [width]. */
export type RegulatorWeights = ReadonlyMap<string, Float32Array>

const down = 'regulator.down'
const up = 'regulator.up'
const gate = 'regulator.gate'
const out = 'regulator.out'

/** Highest learning rate of the network, the paper's. */
const learningRate = 1e-4

export const regulatorParameters = ({ hiddenSize, rank, width }: RegulatorSizes): PromptParameter[] => [
  { name: down, shape: [rank, hiddenSize], learningRate },
  { name: up, shape: [hiddenSize, rank], learningRate },
  { name: gate, shape: [width, hiddenSize], learningRate },
  { name: out, shape: [width], learningRate },
]

/** The network begins at the gradient itself: U is nothing, whatever D is. */
export function initialRegulator({ hiddenSize, rank, width }: RegulatorSizes, seed: number): Map<string, Float32Array> {
  const deviation = 1 / Math.sqrt(hiddenSize)
  return new Map([
    [down, normalNumbers(rank * hiddenSize, deviation, seed, streams.meta, 0)],
    [up, new Float32Array(hiddenSize * rank)],
    [gate, normalNumbers(width * hiddenSize, deviation, seed, streams.meta, 1)],
    [out, normalNumbers(width, 1 / Math.sqrt(width), seed, streams.meta, 2)],
  ])
}

/** What a regulated gradient was made of: its backward pass begins here. */
export interface Regulated {
  /** g', [m, d] */
  readonly gradient: Float32Array
  /** c */
  readonly gate: number
  readonly g: Float32Array
  readonly x: Float64Array
  /** relu(D g), [m, rank] */
  readonly inner: Float64Array
  /** relu(G e), [width] */
  readonly gateInner: Float64Array
  readonly state: Float64Array
}

/** Each row with the length of the other matrix's row; a row of nothing stays nothing. Both [m, d]. */
export function rescaleRows(x: ArrayLike<number>, like: ArrayLike<number>, width: number): Float64Array {
  const result = new Float64Array(x.length)
  for (let start = 0; start < x.length; start += width) {
    const length = norm(x, start, width)
    const factor = length > 0 ? norm(like, start, width) / length : 0
    for (let i = start; i < start + width; i++) result[i] = x[i]! * factor
  }
  return result
}

/** (1 - c) x + c g */
export const mixed = (x: ArrayLike<number>, g: ArrayLike<number>, c: number): Float32Array =>
  Float32Array.from({ length: g.length }, (_, i) => (1 - c) * x[i]! + c * g[i]!)

/**
 * @param g [m, d]
 * @param state the mean hidden state of the rows that the gradient is of, [d]
 */
export function regulate(weights: RegulatorWeights, g: Float32Array, state: ArrayLike<number>): Regulated {
  const [D, U, G, o] = [down, up, gate, out].map(name => weights.get(name)!) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const width = state.length
  const rank = D.length / width
  const m = g.length / width
  const inner = new Float64Array(m * rank)
  const x = Float64Array.from(g)
  for (let row = 0; row < m; row++) {
    for (let k = 0; k < rank; k++) inner[row * rank + k] = Math.max(0, product(D, k * width, g, row * width, width))
    for (let i = 0; i < width; i++) x[row * width + i]! += product(U, i * rank, inner, row * rank, rank)
  }
  const unit = unitState(state)
  const gateInner = Float64Array.from(o, (_, k) => Math.max(0, product(G, k * width, unit, 0, width)))
  const c = 1 / (1 + Math.exp(-product(o, 0, gateInner, 0, o.length)))
  return { gradient: mixed(rescaleRows(x, g, width), g, c), gate: c, g, x, inner, gateInner, state: unit }
}

/**
 * Gradients of the network's weights: of what the loss says of g', and of (c - agreement)^2.
 * @param slope of the loss with respect to g', [m, d]
 */
export function regulatorGradient(
  weights: RegulatorWeights,
  { gate: c, g, x, inner, gateInner, state }: Regulated,
  slope: ArrayLike<number>,
  agreement: number,
): Map<string, Float32Array> {
  const [U, o] = [weights.get(up)!, weights.get(out)!]
  const width = state.length
  const rank = U.length / width
  const sums = new Map([...weights].map(([name, values]) => [name, new Float64Array(values.length)]))
  const [dD, dU, dG, dO] = [down, up, gate, out].map(name => sums.get(name)!) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ]
  const rescaled = rescaleRows(x, g, width)
  let ofGate = 2 * (c - agreement)
  for (let i = 0; i < g.length; i++) ofGate += slope[i]! * (g[i]! - rescaled[i]!)
  for (let start = 0, row = 0; start < g.length; start += width, row++) {
    const length = norm(x, start, width)
    if (!(length > 0)) continue
    const factor = ((1 - c) * norm(g, start, width)) / length
    const along = product(slope, start, x, start, width) / length ** 2
    const ofX = Float64Array.from({ length: width }, (_, i) => factor * (slope[start + i]! - along * x[start + i]!))
    for (let k = 0; k < rank; k++) {
      const active = inner[row * rank + k]!
      if (active <= 0) continue
      let ofInner = 0
      for (let i = 0; i < width; i++) {
        dU[i * rank + k]! += ofX[i]! * active
        ofInner += ofX[i]! * U[i * rank + k]!
      }
      for (let j = 0; j < width; j++) dD[k * width + j]! += ofInner * g[start + j]!
    }
  }
  const ofLogit = ofGate * c * (1 - c)
  for (let k = 0; k < o.length; k++) {
    if (gateInner[k]! <= 0) continue
    dO[k]! += ofLogit * gateInner[k]!
    for (let j = 0; j < width; j++) dG[k * width + j]! += ofLogit * o[k]! * state[j]!
  }
  return new Map([...sums].map(([name, values]) => [name, Float32Array.from(values)]))
}

/** A state with a mean square of 1: last hidden states are of any length, and a gate that is shut learns nothing. */
function unitState(state: ArrayLike<number>): Float64Array {
  const length = norm(state, 0, state.length) / Math.sqrt(state.length)
  return Float64Array.from(state, x => (length > 0 ? x / length : 0))
}

const norm = (x: ArrayLike<number>, start: number, width: number) => Math.sqrt(product(x, start, x, start, width))

function product(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, count: number): number {
  let sum = 0
  for (let k = 0; k < count; k++) sum += a[i + k]! * b[j + k]!
  return sum
}
