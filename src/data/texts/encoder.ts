import type { ChatMessage } from './template.js'

/** What rows need of a tokenizer. */
export interface Encoder {
  readonly eosTokenId: number | undefined
  /** Every token that ends a text or a turn. */
  readonly endTokenIds?: readonly number[]
  readonly unkTokenId?: number | undefined
  readonly specialTokenIds: ReadonlySet<number>
  /** Characters of the longest token, where it is known. */
  readonly longestToken?: number
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[]
  decode(ids: readonly number[]): string
  applyChatTemplate(messages: ChatMessage[], options?: { addGenerationPrompt?: boolean }): string
}
