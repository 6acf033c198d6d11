import { GradpromptError } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'

/** Tokens of the prompt that are decoded with the first new ones: some tokenizers drop a space where a text begins. */
const CONTEXT = 4
/** What stands for bytes that are no character (yet). */
const INCOMPLETE = '\uFFFD'

/**
 * Turns tokens into text as they come. A piece is given out when no stop string can begin in it, and when its last character is whole:
 * one character may be several tokens.
 */
export class TextStream {
  readonly #ids: number[]
  /** The text from `start` on is decoded again with every token; what is before `read` is known already. */
  #start = 0
  #read: number
  #decoded = ''
  #given = 0
  readonly #longest: number

  readonly #tokenizer: Tokenizer
  readonly #stop: readonly string[]
  readonly #onText: ((piece: string) => void) | undefined

  constructor(tokenizer: Tokenizer, promptIds: readonly number[], stop: readonly string[], onText?: (piece: string) => void) {
    this.#tokenizer = tokenizer
    this.#stop = stop
    this.#onText = onText
    const context = promptIds.slice(-CONTEXT)
    this.#ids = this.#decode(context).endsWith(INCOMPLETE) ? [] : context
    this.#read = this.#ids.length
    this.#longest = Math.max(0, ...stop.map(({ length }) => length))
  }

  /** The whole text so far; after a stop string, what stands before it. */
  get text(): string {
    return this.#decoded
  }

  /** Adds a token. @returns the stop string that it completes */
  push(id: number): string | undefined {
    this.#ids.push(id)
    const known = this.#decode(this.#ids.slice(this.#start, this.#read))
    const whole = this.#decode(this.#ids.slice(this.#start))
    if (whole.endsWith(INCOMPLETE)) return undefined
    this.#start = this.#read
    this.#read = this.#ids.length
    return this.#add(whole.slice(known.length))
  }

  /** Gives out what was held back: nothing more comes. @returns the stop string that it completes */
  finish(): string | undefined {
    const known = this.#decode(this.#ids.slice(this.#start, this.#read))
    const met = this.#add(this.#decode(this.#ids.slice(this.#start)).slice(known.length))
    this.#start = this.#read = this.#ids.length
    if (met === undefined) this.#give(this.#decoded.length)
    return met
  }

  #decode(ids: readonly number[]): string {
    return this.#tokenizer.decode(ids, { skipSpecialTokens: true })
  }

  #add(piece: string): string | undefined {
    const from = Math.max(this.#given, this.#decoded.length - this.#longest + 1)
    this.#decoded += piece
    const met = this.#stop
      .map(text => ({ text, at: this.#decoded.indexOf(text, from) }))
      .filter(({ at }) => at >= 0)
      .sort((a, b) => a.at - b.at || b.text.length - a.text.length)[0]
    if (met) {
      this.#decoded = this.#decoded.slice(0, met.at)
      this.#give(met.at)
      return met.text
    }
    this.#give(this.#decoded.length - this.#heldBack())
    return undefined
  }

  /** Length of the longest end of the text that some stop string begins with. */
  #heldBack(): number {
    for (let length = Math.min(this.#longest - 1, this.#decoded.length); length > 0; length--) {
      const end = this.#decoded.slice(-length)
      if (this.#stop.some(text => text.startsWith(end))) return length
    }
    return 0
  }

  #give(end: number): void {
    if (end <= this.#given) return
    const piece = this.#decoded.slice(this.#given, end)
    this.#given = end
    this.#onText?.(piece)
  }
}

/** What stop strings look for: text, or a special token, which has no text in an answer. It does not know how either is found. */
export interface Stops {
  readonly texts: readonly string[]
  readonly ids: readonly number[]
}

/** @throws GradpromptError `invalid-option` for text with a special token in it: neither the text nor the token would be met */
export function splitStops(stop: readonly string[], tokenizer: Pick<Tokenizer, 'encode' | 'specialTokenIds' | 'token'>): Stops {
  const texts: string[] = []
  const ids: number[] = []
  for (const text of stop) {
    const found = tokenizer.encode(text, { addSpecialTokens: false })
    const special = found.find(id => tokenizer.specialTokenIds.has(id))
    // A word that the tokenizer does not know is read as a special token, but does not say its name.
    if (special === undefined || !text.includes(tokenizer.token(special))) texts.push(text)
    else if (text === tokenizer.token(special)) ids.push(special)
    else
      throw new GradpromptError('invalid-option', 'A stop string has a special token and other text in it', {
        found: JSON.stringify(text),
        expected: 'text, or a special token alone',
        hint: `${tokenizer.token(special)} alone ends the answer there`,
      })
  }
  return { texts, ids }
}
