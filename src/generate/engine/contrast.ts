import { highest } from '../sampling.js'
import type { Sequence } from './sequence.js'

/**
 * Two sequences, one text: each token is chosen by what the model makes of the text under one prompt, against what it makes of it under
 * another (contrastive decoding, Li et al. 2023, arXiv 2210.15097, with two prompts in the place of two models; for prompts that were
 * learned on good and on bad answers, arXiv 2310.00819).
 */

/** Tokens of less than this share of the likeliest one's probability, without the contrast, are not chosen: Li et al.'s α. */
const PLAUSIBLE = 0.1

/**
 * @param own logits, [V]
 * @param other those under the other prompt, [V]
 * @returns `(1 + g) z - g z'` where z is plausible, `-Infinity` elsewhere, [V]
 */
export function contrasted(own: Float32Array, other: Float32Array, strength: number): Float32Array {
  const least = own[highest(own)]! + Math.log(PLAUSIBLE)
  return own.map((z, id) => (z < least ? Number.NEGATIVE_INFINITY : (1 + strength) * z - strength * other[id]!))
}

/** Brings the logits of both sequences together. Whichever has its first waits for the other. */
export class Contrast {
  readonly #strength: number
  readonly #answering: Sequence
  readonly #beside: Sequence
  #own: Float32Array | undefined
  #other: Float32Array | undefined

  /**
   * @param answering the sequence whose text is the answer
   * @param beside the one under the other prompt, of the same tokens
   */
  constructor(strength: number, answering: Sequence, beside: Sequence) {
    this.#strength = strength
    this.#answering = answering
    this.#beside = beside
    answering.contrast = beside.contrast = this
  }

  /** Whether it is the one that only runs beside the answer. */
  isBeside(sequence: Sequence): boolean {
    return sequence === this.#beside
  }

  /** Whether a sequence has no next token before the other one has its logits. */
  waits(sequence: Sequence): boolean {
    return (sequence === this.#answering ? this.#own : this.#other) !== undefined
  }

  /**
   * Takes the logits behind the last token of one of them, and with those of both lets the answer take its next token.
   * @param logits a copy is kept: a run's outputs may be written over by the next one, [V]
   * @returns whether the answer has ended; both leave then
   */
  take(sequence: Sequence, logits: Float32Array): boolean {
    if (sequence === this.#answering) this.#own = logits.slice()
    else this.#other = logits.slice()
    if (this.#own === undefined || this.#other === undefined) return false
    const joint = contrasted(this.#own, this.#other, this.#strength)
    this.#own = this.#other = undefined
    const hasEnded = this.#answering.take(highest(joint), joint)
    if (!hasEnded) this.#beside.ids.push(this.#answering.ids.at(-1)!)
    else this.end()
    return hasEnded
  }

  /** Both are to leave. */
  end(): void {
    this.#answering.isOver = this.#beside.isOver = true
  }

  /** One of them has failed, and the answer with it. */
  fail(error: unknown): void {
    this.end()
    this.#answering.reject(error)
  }
}
