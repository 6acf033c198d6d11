import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { z } from 'zod'
import type { SearchMethod } from '../moves/method.js'
import { adamStep, offsetsOf } from '../score/relaxation.js'
import { type Candidate, distinct, rowsOf } from '../space/candidates.js'

export const gbdaSchema = z.strictObject({
  type: z.literal('gbda'),
  learningRate: z.number().positive().default(0.3).describe('of Adam, on the logits of the distributions'),
  temperature: z.number().positive().default(1).describe('of the Gumbel-softmax'),
  initialLogit: z.number().min(0).default(12).describe('of the first prompt’s tokens; all others start at 0'),
  samples: z.int().min(1).default(4).describe('relaxed prompts that a gradient is the mean of'),
  candidates: z.int().min(1).default(8).describe('prompts that are drawn from the distributions and scored in a step'),
})

type State = {
  readonly logits: Float32Array
  readonly first: Float32Array
  readonly second: Float32Array
  readonly updates: number
}

/** A distribution over the vocabulary at every free position, optimised through Gumbel-softmax mixtures of embeddings. */
export const gbda: SearchMethod<z.output<typeof gbdaSchema>, State> = {
  type: 'gbda',
  paper: 'Guo et al. 2021, "Gradient-based Adversarial Attacks against Text Transformers"',
  steps: 100,

  start({ initialLogit }, { space, embedding: { vocabSize } }) {
    const size = space.free.length * vocabSize
    const logits = new Float32Array(size)
    for (const [j, position] of space.free.entries()) logits[j * vocabSize + space.start[position]!] = initialLogit
    return Promise.resolve({ logits, first: new Float32Array(size), second: new Float32Array(size), updates: 0 })
  },

  async step(state, { learningRate, temperature, samples, candidates: count }, context) {
    const { space, objective, embedding, allowed, rows } = context
    const { vocabSize, hiddenSize } = embedding
    const positions = [...space.free.keys()]
    const noises = Array.from({ length: samples }, (_, sample) => context.random(sample))
    const gradient = new Float32Array(state.logits.length)
    for (const noise of noises) {
      const weights = positions.map(j =>
        gumbelSoftmax(state.logits.subarray(j * vocabSize, (j + 1) * vocabSize), allowed, temperature, noise),
      )
      const mixed = await embedding.mix(joined(weights, vocabSize))
      const offsets = await offsetsOf(mixed, space.start, space, embedding)
      const ofRows = await objective.gradient([space.start], rows, { offsets: [offsets] })
      const ofWeights = await embedding.project(rowsOf(ofRows.gradient, space.free, hiddenSize))
      for (const j of positions) {
        const [own, slope] = [weights[j]!, ofWeights.subarray(j * vocabSize, (j + 1) * vocabSize)]
        const mean = allowed.reduce((sum, v) => sum + own[v]! * slope[v]!, 0)
        for (const v of allowed) gradient[j * vocabSize + v]! += (own[v]! * (slope[v]! - mean)) / temperature / samples
      }
    }
    const next = adamStep({ ...state, vectors: state.logits }, gradient, {
      learningRate,
      weightDecay: 0,
      beta1: 0.9,
      beta2: 0.999,
    })
    const random = context.random(samples)
    const drawn = Array.from({ length: count }, (_, i): Candidate => {
      const swaps = positions.map(j => {
        const logits = next.values.subarray(j * vocabSize, (j + 1) * vocabSize)
        // The likeliest tokens first, then draws.
        return { position: space.free[j]!, to: highest(logits, allowed, i === 0 ? undefined : random) }
      })
      return context.settled(
        space.start,
        swaps.filter(({ position, to }) => space.start[position] !== to),
      )
    })
    const scored = await context.score(distinct(drawn, []))
    const best = scored[0]
    return {
      state: { logits: next.values, first: next.first, second: next.second, updates: next.updates },
      prompt: best?.ids ?? space.start,
      objective: best?.loss ?? Number.POSITIVE_INFINITY,
      candidates: scored,
      ...(best && { accepted: best }),
    }
  },
}

/** [V], nothing outside the allowed ids. */
function gumbelSoftmax(logits: Float32Array, allowed: Int32Array, temperature: number, random: RandomGenerator): Float32Array {
  const weights = new Float32Array(logits.length)
  let most = Number.NEGATIVE_INFINITY
  for (const v of allowed) {
    weights[v] = (logits[v]! + gumbel(random)) / temperature
    most = Math.max(most, weights[v]!)
  }
  let sum = 0
  for (const v of allowed) {
    weights[v] = Math.exp(weights[v]! - most)
    sum += weights[v]!
  }
  for (const v of allowed) weights[v]! /= sum
  return weights
}

/** The highest logit's id; with noise, a draw from the distribution. */
function highest(logits: Float32Array, allowed: Int32Array, random?: RandomGenerator): number {
  let [best, most] = [allowed[0]!, Number.NEGATIVE_INFINITY]
  for (const v of allowed) {
    const value = logits[v]! + (random === undefined ? 0 : gumbel(random))
    if (value > most) [best, most] = [v, value]
  }
  return best
}

const gumbel = (random: RandomGenerator) => -Math.log(-Math.log(((random.next() >>> 0) + 0.5) / 0x1_0000_0000))

function joined(rows: readonly Float32Array[], width: number): Float32Array {
  const all = new Float32Array(rows.length * width)
  for (const [i, row] of rows.entries()) all.set(row, i * width)
  return all
}
