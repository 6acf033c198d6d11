import { GradpromptError } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import type { AnswerCursor } from './cursor.js'
import { TokenMask } from './token-mask.js'
import type { GrammarMatcher } from './xgrammar.js'

/** The bytes of `"`, `}` and `]`, behind which a JSON value that is complete cannot go on. */
const closers = new Set(Buffer.from('"}]'))

export interface CursorOptions {
  readonly matcher: GrammarMatcher
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'tokenBytes'>
  /** Tokens that end an answer that is complete. */
  readonly endTokenIds: readonly number[]
  /** What stands before and behind the answer, and belongs to the grammar. */
  readonly before: string
  readonly after: string
  /** Whether it is JSON in one line: then no token may hold a control character. */
  readonly within: TokenMask | undefined
}

/** A way through what a grammar describes. */
export class GrammarCursor implements AnswerCursor {
  /** What must follow is tokenised as the model has seen it, but some other token may be likelier. */
  readonly certainty = 0.9
  readonly #options: CursorOptions
  /** What is allowed now, and behind each token of `#ahead`. */
  #masks: TokenMask[] = []
  #ahead: readonly number[] = []
  #isEnd = false

  constructor(options: CursorOptions) {
    this.#options = options
  }

  get isEnd(): boolean {
    const [mask] = this.#masks
    return this.#isEnd || (mask !== undefined && !mask.isEmpty && mask.isWithin(this.#options.endTokenIds))
  }

  get readsAsTokens(): boolean {
    return this.#options.before === '' && this.#options.after === ''
  }

  get allowed(): TokenMask {
    const [mask] = this.#masks
    if (mask === undefined) throw new RangeError('a grammar was asked what is allowed before it was prepared')
    if (!mask.isEmpty) return mask
    throw new GradpromptError('answer-unreachable', 'the tokens of this model cannot write what the answer is limited to', {
      found: 'no token that goes on from here',
      expected: 'a regular expression or a schema in characters that the model has tokens for',
    })
  }

  take(id: number): void {
    const { matcher, endTokenIds, after, within, tokenizer } = this.#options
    if (!matcher.acceptToken(id)) throw new RangeError(`the token ${id} goes on with nothing that the grammar describes`)
    if (id === this.#ahead[0] && this.#masks.length > 1) {
      this.#masks.shift()
      this.#ahead = this.#ahead.slice(1)
    } else {
      this.#masks = []
      this.#ahead = []
    }
    const closes = within !== undefined && after === '' && closers.has(tokenizer.tokenBytes(id).at(-1) ?? 0)
    if ((closes || endTokenIds.length === 0) && this.#isComplete()) this.#isEnd = true
  }

  certain(most: number): number[] {
    const text = this.#options.matcher.findJumpForwardString()
    if (text === '' || most <= 0) return []
    // What follows may be part of the last one.
    const ids = this.#options.tokenizer.encode(text, { addSpecialTokens: false }).slice(0, most)
    return ids.slice(0, this.accepts(ids))
  }

  accepts(ids: readonly number[]): number {
    const { matcher, endTokenIds, within } = this.#options
    let count = 0
    for (const id of ids) {
      if (endTokenIds.includes(id) || within?.has(id) === false || !matcher.acceptToken(id)) break
      count++
    }
    if (count > 0) matcher.rollBack(count)
    return count
  }

  async prepare(ahead: readonly number[]): Promise<void> {
    const { matcher } = this.#options
    if (this.#masks.length === 0) this.#masks = [await this.#mask()]
    if (ahead.length === 0) return
    this.#masks.length = 1
    for (const id of ahead) {
      matcher.acceptToken(id)
      this.#masks.push(await this.#mask())
    }
    matcher.rollBack(ahead.length)
    this.#ahead = ahead
  }

  answerOf(text: string): string {
    const { before, after } = this.#options
    const rest = text.startsWith(before) ? text.slice(before.length) : text
    return after !== '' && rest.endsWith(after) ? rest.slice(0, -after.length) : rest
  }

  async #mask(): Promise<TokenMask> {
    const mask = new TokenMask(await this.#options.matcher.getNextTokenBitmask())
    return this.#options.within === undefined ? mask : mask.and(this.#options.within)
  }

  /** Whether the answer might end here. */
  #isComplete(): boolean {
    const { matcher, endTokenIds } = this.#options
    const [end] = endTokenIds
    if (end === undefined) return matcher.isTerminated()
    if (!matcher.acceptToken(end)) return false
    matcher.rollBack(1)
    return true
  }
}
