import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { elementCount } from '../../numbers.js'
import { policyInputs, type SearchPrograms } from '../score/programs.js'
import { lowest } from '../space/candidates.js'
import type { SearchContext } from './method.js'

/** Standard deviation of a policy's first weights is that of Xavier times this: it begins as good as indifferent between tokens. */
const FIRST_GAIN = 1e-4

/** What is never chosen. Not infinite, so that no gradient is 0 times infinity. */
const NEVER = -1e9

/** The parts of a policy's parameters, which stand in one array. */
export function policyParts(parameters: Float32Array, hiddenSize: number) {
  const units = (parameters.length - hiddenSize) / (2 * hiddenSize + 1)
  const size = (shape: readonly string[]) => shape.map(name => (name === 'd' ? hiddenSize : units))
  let start = 0
  return Object.entries(policyInputs).map(([name, names]) => {
    const shape = size(names)
    const length = elementCount(shape)
    start += length
    return { name: name as keyof typeof policyInputs, shape, data: parameters.subarray(start - length, start) }
  })
}

/** A network of `units` between two layers, as RLPrompt begins with it. */
export function firstPolicy(hiddenSize: number, units: number, random: RandomGenerator): Float32Array {
  const parameters = new Float32Array(2 * hiddenSize * units + units + hiddenSize)
  for (const { name, data } of policyParts(parameters, hiddenSize)) {
    const bound = FIRST_GAIN * Math.sqrt(6 / (hiddenSize + units))
    if (name.endsWith('Bias')) data.fill(-FIRST_GAIN)
    else for (let i = 0; i < data.length; i++) data[i] = bound * (((random.next() >>> 0) / 0x1_0000_0000) * 2 - 1)
  }
  return parameters
}

/** A policy over the allowed tokens: a small network between a frozen model's last hidden state and its head. */
export class Policy {
  readonly #bias: Float32Array

  readonly #programs: SearchPrograms
  readonly #allowed: Int32Array
  readonly #sizes: { readonly hiddenSize: number; readonly vocabSize: number }

  constructor(programs: SearchPrograms, allowed: Int32Array, sizes: { readonly hiddenSize: number; readonly vocabSize: number }) {
    this.#programs = programs
    this.#allowed = allowed
    this.#sizes = sizes
    this.#bias = new Float32Array(sizes.vocabSize).fill(NEVER)
    for (const id of allowed) this.#bias[id] = 0
  }

  /** @returns [states.length / d, V] */
  logits(parameters: Float32Array, states: Float32Array): Promise<Float32Array> {
    return this.#programs.policy(this.#inputs(parameters, states))
  }

  /** By the parameters: of the weighted sum of the log-probabilities of tokens. */
  async gradient(
    parameters: Float32Array,
    states: Float32Array,
    actions: readonly number[],
    weights: readonly number[],
  ): Promise<Float32Array> {
    const vector = (data: Int32Array | Float32Array) => ({ data, shape: [data.length] })
    const parts = await this.#programs.policyGradient({
      ...this.#inputs(parameters, states),
      rows: vector(Int32Array.from(actions.keys())),
      actions: vector(Int32Array.from(actions)),
      weights: vector(Float32Array.from(weights)),
    })
    const gradient = new Float32Array(parameters.length)
    for (const { name, data } of policyParts(gradient, this.#sizes.hiddenSize)) data.set(parts[name])
    return gradient
  }

  /** The log-sum-exp of a row of logits over the allowed tokens: soft Q-learning's value of the state. */
  value(logits: Float32Array, row: number): number {
    const own = this.#rowOf(logits, row)
    let highest = Number.NEGATIVE_INFINITY
    for (const id of this.#allowed) highest = Math.max(highest, own[id]!)
    let sum = 0
    for (const id of this.#allowed) sum += Math.exp(own[id]! - highest)
    return Math.log(sum) + highest
  }

  /** A token by its probability among the `topk` likeliest; without `random` the likeliest, of equals the lowest id. */
  choose(logits: Float32Array, row: number, topk: number, random?: RandomGenerator): number {
    const costs = this.#rowOf(logits, row).map(logit => -logit)
    const best = lowest(costs, this.#allowed, random === undefined ? 1 : topk)
    if (random === undefined) return best[0]!
    const weights = best.map(id => Math.exp(costs[best[0]!]! - costs[id]!))
    let left = ((random.next() >>> 0) / 0x1_0000_0000) * weights.reduce((sum, weight) => sum + weight, 0)
    for (const [i, weight] of weights.entries()) {
      left -= weight
      if (left < 0) return best[i]!
    }
    return best.at(-1)!
  }

  #rowOf(logits: Float32Array, row: number): Float32Array {
    return logits.subarray(row * this.#sizes.vocabSize, (row + 1) * this.#sizes.vocabSize)
  }

  #inputs(parameters: Float32Array, states: Float32Array) {
    const { hiddenSize, vocabSize } = this.#sizes
    const parts = policyParts(parameters, hiddenSize).map(({ name, shape, data }) => [name, { data, shape }] as const)
    return {
      states: { data: states, shape: [states.length / hiddenSize, hiddenSize] },
      bias: { data: this.#bias, shape: [vocabSize] },
      ...Object.fromEntries(parts),
    }
  }
}

/** Prompts as a policy writes them, and what it saw on the way: of the sampled ones, token after token. */
export interface RollOut {
  readonly prompts: readonly (readonly number[])[]
  /** The likeliest token at every place. */
  readonly greedy: readonly number[]
  /** [prompts.length * F, d] */
  readonly states: Float32Array
  /** [prompts.length * F]: ids, and their log-probabilities. */
  readonly actions: readonly number[]
  readonly logProbabilities: readonly number[]
}

/** Lets a policy write prompts: at each free place from the frozen model's state behind all that stands before. */
export async function rollOut(
  policy: Policy,
  parameters: Float32Array,
  { space, objective, embedding, random }: SearchContext,
  { prompts: count, topk }: { readonly prompts: number; readonly topk: number },
): Promise<RollOut> {
  const { vocabSize, hiddenSize } = embedding
  const places = space.free.length
  const generator = random()
  const written = Array.from({ length: count + 1 }, () => [...space.start])
  const states = new Float32Array(count * places * hiddenSize)
  const logProbabilities = new Array<number>(count * places)
  for (const [j, position] of space.free.entries()) {
    const seen = await objective.states(written.map(ids => [space.beginning, ...ids.slice(0, position)]))
    const logits = await policy.logits(parameters, seen)
    for (const [i, ids] of written.entries()) {
      const isSample = i < count
      const id = policy.choose(logits, i, topk, isSample ? generator : undefined)
      ids[position] = id
      if (!isSample) continue
      states.set(seen.subarray(i * hiddenSize, (i + 1) * hiddenSize), (i * places + j) * hiddenSize)
      logProbabilities[i * places + j] = logits[i * vocabSize + id]! - policy.value(logits, i)
    }
  }
  const prompts = written.slice(0, count)
  const actions = prompts.flatMap(ids => space.free.map(position => ids[position]!))
  return { prompts, greedy: written[count]!, states, actions, logProbabilities }
}

/**
 * Soft Q-learning from rewards that come at the end (Guo et al. 2021, arXiv 2106.07704), over prompts of one length: the mean of the
 * single-step path consistency of advantages and that of all steps to the end, summed over the steps.
 *
 * @param logProbabilities advantages of the tokens, prompt after prompt: [prompts * length]
 * @param values what a slowly following policy holds of the states before them, [prompts * length]
 * @param rewards one a prompt
 * @returns the loss, and its derivative by each advantage
 */
export function pathConsistency(
  logProbabilities: readonly number[],
  values: readonly number[],
  rewards: readonly number[],
): { loss: number; slopes: number[] } {
  const length = logProbabilities.length / rewards.length
  const slopes = new Array<number>(logProbabilities.length).fill(0)
  let loss = 0
  for (const [prompt, reward] of rewards.entries()) {
    const [start, end] = [prompt * length, (prompt + 1) * length]
    // The errors of all steps up to one are those that its advantage takes part in.
    let ahead = logProbabilities.slice(start, end).reduce((sum, advantage) => sum + advantage, 0)
    let errors = 0
    for (let i = start; i < end; i++) {
      const next = i + 1 < end ? values[i + 1]! : reward
      const single = logProbabilities[i]! - (next - values[i]!)
      const several = ahead - (reward - values[i]!)
      ahead -= logProbabilities[i]!
      errors += several
      loss += (single ** 2 + several ** 2) / 2 / rewards.length
      slopes[i] = (single + errors) / rewards.length
    }
  }
  return { loss, slopes }
}
