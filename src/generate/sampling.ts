import { uniformInt } from 'pure-rand/distribution/uniformInt'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { GradpromptError } from '../errors.js'
import { aboveZero, logSumExp } from '../numbers.js'
import { randomGenerator, streams } from '../random.js'
import { TokenMask } from './limits/token-mask.js'
import type { Alternative } from './request.js'

/** How a token is chosen. The steps are taken in transformers' order: penalty, temperature, top-k, top-p, min-p. */
export interface SamplingOptions {
  /** Divides the logits; 0: the likeliest token. */
  readonly temperature?: number
  /** Only the k likeliest tokens; 0: all. */
  readonly topK?: number
  /** Only the likeliest tokens whose probabilities add up to this. */
  readonly topP?: number
  /** Only tokens of at least this share of the likeliest one's probability. */
  readonly minP?: number
  /** Divides positive logits of tokens that have occurred, and multiplies negative ones (Keskar et al. 2019). */
  readonly repetitionPenalty?: number
  /** Without one, every request draws its own. */
  readonly seed?: number
  /** Whether the log-probability of each token is wanted. */
  readonly logProbabilities?: boolean
  /** With them: those of so many of the likeliest tokens in each place. */
  readonly alternatives?: number
  /** Whether the probability of all allowed tokens together is wanted. */
  readonly rejectedMass?: boolean
}

/** A token that was chosen. */
export interface Choice {
  readonly token: number
  readonly logProbability: number
  /** The likeliest tokens in its place, downwards, where they are wanted. */
  readonly alternatives: readonly Alternative[]
  /** The log-probability of all tokens that were allowed together, where it is wanted and not all were. */
  readonly allowedLogProbability?: number
}

/** Chooses the tokens of one request, by its own random numbers: what else runs does not change them. */
export class Sampler {
  readonly #temperature: number
  readonly #topK: number
  readonly #topP: number
  readonly #minP: number
  readonly #penalty: number
  readonly #random: RandomGenerator
  readonly #wantsLogProbability: boolean
  readonly #alternatives: number
  readonly #wantsAllowed: boolean

  /** @throws GradpromptError `invalid-option` */
  constructor(options: SamplingOptions) {
    this.#temperature = inRange('temperature', options.temperature ?? 0, 0, Number.MAX_VALUE)
    this.#topK = inRange('topK', options.topK ?? 0, 0, Number.MAX_SAFE_INTEGER, true)
    this.#topP = inRange('topP', options.topP ?? 1, aboveZero, 1)
    this.#minP = inRange('minP', options.minP ?? 0, 0, 1)
    this.#penalty = inRange('repetitionPenalty', options.repetitionPenalty ?? 1, aboveZero, Number.MAX_VALUE)
    this.#wantsLogProbability = options.logProbabilities ?? false
    this.#alternatives = inRange('alternatives', options.alternatives ?? 0, 0, 1000, true)
    this.#wantsAllowed = options.rejectedMass ?? false
    const seed = options.seed ?? Math.floor(Math.random() * 2 ** 31)
    this.#random = randomGenerator(inRange('seed', seed, -(2 ** 53), 2 ** 53, true), streams.token)
  }

  /** Whether the likeliest token, which the program itself knows, is not all that is needed. */
  get needsLogits(): boolean {
    return this.#temperature > 0 || this.#penalty !== 1 || this.#wantsLogProbability || this.#wantsAllowed
  }

  /**
   * Chooses the next token.
   *
   * @param logits [V]
   * @param ids the tokens so far, which a repetition penalty counts
   * @param allowed the only tokens that it may be; by default all
   * @returns the token, and its log-probability under the distribution that no option has changed (NaN where it is not wanted), with
   *   those of the likeliest tokens
   */
  choose(logits: Float32Array, ids: readonly number[], allowed?: readonly number[] | TokenMask): Choice {
    const all = this.#penalty === 1 ? logits : penalised(logits, ids, this.#penalty)
    const scores = allowed === undefined ? all : keptScores(all, allowed)
    const place = this.#temperature === 0 ? highest(scores) : this.#draw(scores)
    const token = allowed === undefined || allowed instanceof TokenMask ? place : allowed[place]!
    const limited = this.#wantsAllowed && allowed !== undefined
    const sum = limited || this.#wantsLogProbability ? logSumExp(logits) : Number.NaN
    const mass = limited && { allowedLogProbability: Math.min(0, logSumExp(keptScores(logits, allowed)) - sum) }
    if (!this.#wantsLogProbability) return { token, logProbability: Number.NaN, alternatives: [], ...mass }
    const likeliest = this.#alternatives === 0 ? [] : largest(relativeWeights(logits, 1), this.#alternatives)
    return {
      token,
      logProbability: logits[token]! - sum,
      alternatives: likeliest.map(id => ({ id, logProbability: logits[id]! - sum })),
      ...mass,
    }
  }

  #draw(scores: Float32Array): number {
    const weights = relativeWeights(scores, this.#temperature)
    let kept = this.#topK > 0 && this.#topK < scores.length ? largest(weights, this.#topK) : undefined
    if (this.#topP < 1) kept = nucleus(weights, kept, this.#topP)
    if (this.#minP > 0) kept = (kept ?? everything(weights.length)).filter(id => weights[id]! >= this.#minP)
    const count = kept?.length ?? weights.length
    const at = (i: number) => (kept ? kept[i]! : i)
    let total = 0
    for (let i = 0; i < count; i++) total += weights[at(i)]!
    let rest = ((uniformInt(this.#random, 0, 0x7fffffff) + 0.5) / 0x80000000) * total
    for (let i = 0; i < count; i++) {
      rest -= weights[at(i)]!
      if (rest < 0) return at(i)
    }
    // Rounding has left a sliver behind the last one, which may be one that is not allowed.
    const last = kept?.at(-1)
    return last !== undefined && weights[last] !== 0 ? last : highest(scores)
  }
}

function inRange(name: string, value: number, least: number, most: number, whole = false): number {
  if (value >= least && value <= most && (!whole || Number.isInteger(value))) return value
  const upTo = most === Number.MAX_VALUE || most === Number.MAX_SAFE_INTEGER || most === 2 ** 53 ? '' : ` to ${most}`
  throw new GradpromptError('invalid-option', `${name} is not usable`, {
    found: String(value),
    expected: `a ${whole ? 'whole ' : ''}number ${least === aboveZero ? 'above 0' : least === 0 ? 'from 0' : ''}${upTo}`.trim(),
  })
}

/** Scores of a list, or of a vocabulary with nothing but what a mask has. */
const keptScores = (scores: Float32Array, allowed: readonly number[] | TokenMask) =>
  allowed instanceof TokenMask ? allowed.keep(scores) : Float32Array.from(allowed, id => scores[id]!)

const everything = (count: number) => Array.from({ length: count }, (_, id) => id)

/** Index of the largest value, the first of several. */
export function highest(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}

function penalised(logits: Float32Array, ids: readonly number[], penalty: number): Float32Array {
  const scores = logits.slice()
  for (const id of new Set(ids)) scores[id] = scores[id]! > 0 ? scores[id]! / penalty : scores[id]! * penalty
  return scores
}

/** Probabilities as shares of the largest one. */
function relativeWeights(scores: Float32Array, temperature: number): Float64Array {
  const most = scores[highest(scores)]!
  const weights = new Float64Array(scores.length)
  for (let i = 0; i < scores.length; i++) weights[i] = Math.exp((scores[i]! - most) / temperature)
  return weights
}

const descending = (weights: Float64Array) => (a: number, b: number) => weights[b]! - weights[a]! || a - b

/** The k largest, in descending order. */
function largest(weights: Float64Array, k: number): number[] {
  for (const threshold of [1e-3, 1e-6, 1e-12]) {
    const ids = atLeast(weights, threshold)
    if (ids.length >= k) return ids.sort(descending(weights)).slice(0, k)
  }
  return everything(weights.length).sort(descending(weights)).slice(0, k)
}

/** The smallest set of the likeliest whose weights reach the share `topP` of all, in descending order. */
function nucleus(weights: Float64Array, among: readonly number[] | undefined, topP: number): number[] {
  let total = 0
  if (among) for (const id of among) total += weights[id]!
  else for (let id = 0; id < weights.length; id++) total += weights[id]!
  const cut = (sorted: readonly number[]) => {
    let sum = 0
    const end = sorted.findIndex(id => {
      sum += weights[id]!
      return sum >= topP * total
    })
    return end < 0 ? undefined : sorted.slice(0, end + 1)
  }
  if (among) return cut(among) ?? [...among]
  // Sorting a whole vocabulary takes longer than a step of a small model, and the tail is seldom needed.
  for (const threshold of [1e-3, 1e-6]) {
    const found = cut(atLeast(weights, threshold).sort(descending(weights)))
    if (found) return found
  }
  const all = everything(weights.length).sort(descending(weights))
  return cut(all) ?? all
}

function atLeast(weights: Float64Array, threshold: number): number[] {
  const ids: number[] = []
  for (let id = 0; id < weights.length; id++) if (weights[id]! >= threshold) ids.push(id)
  return ids
}
