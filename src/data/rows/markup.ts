import { GradpromptError } from '../../errors.js'
import { type DataRecord, originOf } from '../readers/records.js'
import type { Encoder } from '../texts/encoder.js'
import { type CompiledMessages, plainRecord } from '../texts/rendering.js'
import { softCount } from '../texts/soft-tokens.js'

/**
 * Keeps special tokens out of data. Those that a template writes are markup; a value that contains the text of one is refused, since as
 * markup it would end a turn or a document, and tokenizers offer no way to encode it as text.
 */
export class MarkupGuard {
  readonly #tokenizer: Encoder
  readonly #template: CompiledMessages
  readonly #encodePlain: (record: DataRecord) => readonly number[]
  readonly #softTexts: readonly (readonly string[])[] | undefined
  /** By the roles of a row's conversations. */
  readonly #counts = new Map<string, ReadonlyMap<number, number>>()

  /** @param encodePlain ids of a row whose values are all plain, its answer included */
  constructor(
    tokenizer: Encoder,
    template: CompiledMessages,
    encodePlain: (record: DataRecord) => readonly number[],
    softTexts: readonly (readonly string[])[] | undefined,
  ) {
    this.#tokenizer = tokenizer
    this.#template = template
    this.#encodePlain = encodePlain
    this.#softTexts = softTexts
  }

  /**
   * What a tokenizer does not know (`unk`) is no markup.
   * @throws GradpromptError `special-token-in-data`
   */
  check(text: string, ids: readonly number[], record: DataRecord, index: number): void {
    if (this.#softTexts && softCount(text) !== softCount(this.#softTexts.flat().join('')))
      throw new GradpromptError(
        'special-token-in-data',
        `${originOf(record, index)} holds a character that stands for a soft token`,
        {
          found: 'a character of the private plane U+F0000',
          expected: 'text; soft tokens belong in the template',
          hint: 'take it out of the row',
        },
      )
    const { specialTokenIds, unkTokenId } = this.#tokenizer
    const special = ids.filter(id => specialTokenIds.has(id))
    if (special.length === 0) return
    const own = this.#ownMarkup(record, index)
    for (const id of new Set(special)) {
      const token = this.#tokenizer.decode([id])
      if (id === unkTokenId && !text.includes(token)) continue
      if (special.filter(other => other === id).length > (own.get(id) ?? 0))
        throw new GradpromptError('special-token-in-data', `${originOf(record, index)} holds the text of a special token`, {
          found: token,
          expected: 'text; special tokens belong in the template',
          hint: 'take it out of the row',
        })
    }
  }

  /** The special tokens of a row whose values are all plain: the same for all rows but for the turns of conversations. */
  #ownMarkup(record: DataRecord, index: number): ReadonlyMap<number, number> {
    const { conversations } = this.#template
    const plain = plainRecord(this.#template, 'x', conversations.length > 0 ? record : undefined, index)
    const key = conversations.map(column => plain[column]).join('\n')
    const known = this.#counts.get(key)
    if (known !== undefined) return known
    const counts = new Map<number, number>()
    for (const id of this.#encodePlain(plain))
      if (this.#tokenizer.specialTokenIds.has(id)) counts.set(id, (counts.get(id) ?? 0) + 1)
    this.#counts.set(key, counts)
    return counts
  }
}
