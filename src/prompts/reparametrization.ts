import { layerNorm } from '../../kernels/layer-norm.js'
import { tf } from '../../kernels/tf.js'
import type { ModelConfig } from '../../models/blocks/family.js'
import { drawIds, normalNumbers, uniformNumbers } from './initialisation.js'
import type { InitialisationContext, Parameters, PromptParameter } from './method.js'

/** What the learned numbers are, of which rows at the input are made. Afterwards the rows alone are needed. */
export const reparametrizationNames = ['none', 'residual-mlp', 'superposition', 'low-rank'] as const
export type ReparametrizationName = (typeof reparametrizationNames)[number]

/** The options of all of them, defaults not filled in: one that belongs to another is a mistake. */
export interface ReparametrizationOptions {
  readonly numVirtualTokens: number
  /** Prompts of before there was a choice have none. */
  readonly reparametrization?: ReparametrizationName | undefined
  readonly bottleneck?: number | undefined
  readonly sharedMlp?: boolean | undefined
  readonly residualStart?: number | undefined
  readonly mlpLearningRate?: number | undefined
  readonly basisTokens?: number | undefined
  readonly rank?: number | undefined
}

interface Reparametrization {
  /** The options that belong to it. */
  readonly options: readonly (keyof ReparametrizationOptions)[]
  check?(options: ReparametrizationOptions, model: ModelConfig): string | undefined
  parameters(options: ReparametrizationOptions, model: ModelConfig): PromptParameter[]
  /** Parameters that come to the given rows, [m, d]. */
  start(options: ReparametrizationOptions, rows: Float32Array, context: InitialisationContext): Promise<Map<string, Float32Array>>
  /** @returns [m, d] */
  rows(options: ReparametrizationOptions, parameters: Parameters): tf.Tensor
}

const none: Reparametrization = {
  options: [],
  parameters: ({ numVirtualTokens }, { hiddenSize }) => [{ name: 'prompt', shape: [numVirtualTokens, hiddenSize] }],
  start: async (_, rows) => new Map([['prompt', rows]]),
  rows: (_, { prompt }) => prompt!,
}

const layerNormEpsilon = 1e-5
const bottleneckOf = ({ bottleneck = 256 }: ReparametrizationOptions) => bottleneck

/**
 * Residual prompt tuning (Razdaibiedina et al. 2023, arXiv 2305.03937): P + LayerNorm(ReLU(P W_down + b_down) W_up + b_up), with one
 * network for all rows or one for each. The layer norm's weight starts at zero, not at one: the rows of a decoder's table are far
 * shorter than those of T5, and would drown in a residual of unit variance.
 */
const residualMlp: Reparametrization = {
  options: ['bottleneck', 'sharedMlp', 'residualStart', 'mlpLearningRate'],

  parameters(options, { hiddenSize: d }) {
    const { numVirtualTokens: m, sharedMlp = true, mlpLearningRate: learningRate = 0.001 } = options
    const b = bottleneckOf(options)
    const each = sharedMlp ? [] : [m]
    const vector = (size: number) => (sharedMlp ? [size] : [m, 1, size])
    return [
      { name: 'prompt', shape: [m, d] },
      { name: 'down', shape: [...each, d, b], learningRate },
      { name: 'downBias', shape: vector(b), learningRate },
      { name: 'up', shape: [...each, b, d], learningRate },
      { name: 'upBias', shape: vector(d), learningRate },
      { name: 'normWeight', shape: [d] },
      { name: 'normBias', shape: [d] },
    ]
  },

  async start(options, rows, { model: { hiddenSize: d }, seed }) {
    const { numVirtualTokens: m, sharedMlp = true, residualStart = 0 } = options
    const b = bottleneckOf(options)
    const networks = sharedMlp ? 1 : m
    return new Map([
      ['prompt', rows],
      ['down', uniformNumbers(networks * d * b, d ** -0.5, seed, 1)],
      ['downBias', uniformNumbers(networks * b, d ** -0.5, seed, 2)],
      ['up', uniformNumbers(networks * b * d, b ** -0.5, seed, 3)],
      ['upBias', uniformNumbers(networks * d, b ** -0.5, seed, 4)],
      ['normWeight', new Float32Array(d).fill(residualStart)],
      ['normBias', new Float32Array(d)],
    ])
  },

  rows({ sharedMlp = true }, { prompt, down, downBias, up, upBias, normWeight, normBias }) {
    const [m, d] = prompt!.shape as [number, number]
    const x = sharedMlp ? prompt! : tf.reshape(prompt!, [m, 1, d])
    const inner = tf.relu(tf.add(tf.matMul(x, down!), downBias!)) // [m, b], or [m, 1, b]
    const change = tf.reshape(tf.add(tf.matMul(inner, up!), upBias!), [m, d])
    // The kernel's own weight and bias are frozen ones.
    const normalised = layerNorm(change, tf.ones([d]), tf.zeros([d]), layerNormEpsilon)
    return tf.add(prompt!, tf.add(tf.mul(normalised, normWeight!), normBias!))
  },
}

const basisOf = ({ basisTokens, numVirtualTokens }: ReparametrizationOptions, { vocabSize }: ModelConfig) =>
  basisTokens ?? Math.max(numVirtualTokens, Math.min(128, vocabSize))

/**
 * SuperPos (Ali Sadraei Javaheri et al. 2024, arXiv 2406.05279): each row is a learned mix, without a softmax, of the same sampled
 * vocabulary rows. The first of these are the rows to start from, so that the mix starts as one of each.
 */
const superposition: Reparametrization = {
  options: ['basisTokens'],

  check(options, model) {
    const basis = basisOf(options, model)
    if (basis < options.numVirtualTokens)
      return (
        `method.basisTokens (${basis}) is below method.numVirtualTokens (${options.numVirtualTokens}), whose rows are among them: ` +
        `take ${options.numVirtualTokens} to ${model.vocabSize}`
      )
    return basis > model.vocabSize
      ? `method.basisTokens (${basis}) is beyond the model's vocabulary (${model.vocabSize}): take ${options.numVirtualTokens} to ${model.vocabSize}`
      : undefined
  },

  parameters(options, model) {
    const size = basisOf(options, model)
    return [
      { name: 'mix', shape: [options.numVirtualTokens, size] },
      { name: 'basis', shape: [size, model.hiddenSize], frozen: true },
    ]
  },

  async start(options, rows, context) {
    const m = options.numVirtualTokens
    const size = basisOf(options, context.model)
    const basis = new Float32Array(size * context.model.hiddenSize)
    basis.set(rows)
    basis.set(await context.embeddingRows(drawIds(size - m, context.model.vocabSize, context, 1)), rows.length)
    const mix = new Float32Array(m * size)
    for (let i = 0; i < m; i++) mix[i * size + i] = 1
    return new Map([
      ['mix', mix],
      ['basis', basis],
    ])
  },

  rows: (_, { mix, basis }) => tf.matMul(mix as tf.Tensor2D, basis as tf.Tensor2D),
}

const rankOf = ({ rank, numVirtualTokens }: ReparametrizationOptions) => rank ?? Math.min(8, numVirtualTokens)

/**
 * Decomposed prompt tuning (Xiao et al. 2023, arXiv 2310.10094) and LoPT (Guo et al. 2024, arXiv 2406.19486): P = A B, of which r m +
 * r d numbers are learned. A B starts as the best approximation of rank r of the rows to start from.
 */
const lowRank: Reparametrization = {
  options: ['rank'],

  check(options, { hiddenSize }) {
    const { rank, numVirtualTokens } = options
    const most = Math.min(numVirtualTokens, hiddenSize)
    if (rank === undefined || rank <= most) return undefined
    return rank > numVirtualTokens
      ? `method.rank (${rank}) is beyond method.numVirtualTokens (${numVirtualTokens}), the largest rank there is: take 1 to ${most}`
      : `method.rank (${rank}) is beyond the model's width (${hiddenSize}): take 1 to ${most}`
  },

  parameters(options, { hiddenSize }) {
    return [
      { name: 'promptA', shape: [options.numVirtualTokens, rankOf(options)] },
      { name: 'promptB', shape: [rankOf(options), hiddenSize] },
    ]
  },

  async start(options, rows, { model, seed }) {
    const { a, b } = lowRankFactors(rows, { m: options.numVirtualTokens, d: model.hiddenSize, r: rankOf(options) }, seed)
    return new Map([
      ['promptA', a],
      ['promptB', b],
    ])
  },

  rows: (_, { promptA, promptB }) => tf.matMul(promptA as tf.Tensor2D, promptB as tf.Tensor2D),
}

export const reparametrizations: Readonly<Record<ReparametrizationName, Reparametrization>> = {
  none,
  'residual-mlp': residualMlp,
  superposition,
  'low-rank': lowRank,
}

/** Says which option contradicts the chosen reparametrisation or the model. */
export function checkReparametrization(options: ReparametrizationOptions, model: ModelConfig): string | undefined {
  const { reparametrization: chosen = 'none' } = options
  for (const name of reparametrizationNames)
    for (const option of reparametrizations[name].options)
      if (options[option] !== undefined && name !== chosen)
        return `method.${option} belongs to method.reparametrization: ${name}, not to ${chosen}`
  return reparametrizations[chosen].check?.(options, model)
}

const iterations = 60

/**
 * P [m, d] as A [m, r] times B [r, d], projected onto the span of the r largest singular vectors. These come from subspace iteration
 * on P P^T; where P has a lower rank, directions that it lacks take their place, with zeros in B. The columns of A have the mean
 * square 1, so that the numbers of B are as large as those of the rows.
 */
export function lowRankFactors(
  rows: Float32Array,
  { m, d, r }: { m: number; d: number; r: number },
  seed: number,
): { a: Float32Array; b: Float32Array } {
  const gram = Float64Array.from({ length: m * m }, (_, k) => {
    const [i, j] = [Math.floor(k / m), k % m]
    let sum = 0
    for (let x = 0; x < d; x++) sum += rows[i * d + x]! * rows[j * d + x]!
    return sum
  })
  const noise = normalNumbers(r * m, 1, seed, 1)
  const start = Array.from({ length: r }, (_, k) => Float64Array.from(noise.subarray(k * m, (k + 1) * m)))
  let vectors = orthonormal(start, start)
  for (let step = 0; step < iterations; step++) {
    const images = vectors.map(vector =>
      Float64Array.from({ length: m }, (_, i) => {
        let sum = 0
        for (let j = 0; j < m; j++) sum += gram[i * m + j]! * vector[j]!
        return sum
      }),
    )
    vectors = orthonormal(images, start)
  }
  const scale = Math.sqrt(m)
  const a = new Float32Array(m * r)
  const b = new Float32Array(r * d)
  for (const [k, vector] of vectors.entries())
    for (let i = 0; i < m; i++) {
      a[i * r + k] = vector[i]! * scale
      for (let x = 0; x < d; x++) b[k * d + x]! += (vector[i]! * rows[i * d + x]!) / scale
    }
  return { a, b }
}

/** Gram and Schmidt, twice; a vector of which nothing is left gives way to what the spare one adds. */
function orthonormal(vectors: readonly Float64Array[], spare: readonly Float64Array[]): Float64Array[] {
  const largest = Math.max(...vectors.map(length))
  const made: Float64Array[] = []
  const rest = (vector: Float64Array) => {
    const left = vector.slice()
    for (let pass = 0; pass < 2; pass++)
      for (const other of made) {
        const along = left.reduce((sum, x, i) => sum + x * other[i]!, 0)
        for (let i = 0; i < left.length; i++) left[i]! -= along * other[i]!
      }
    return left
  }
  for (const [k, vector] of vectors.entries()) {
    let left = rest(vector)
    if (!(length(left) > 1e-10 * largest)) left = rest(spare[k]!)
    const norm = length(left)
    made.push(left.map(x => x / norm))
  }
  return made
}

const length = (vector: Float64Array) => Math.hypot(...vector)
