import type { ChatMessage } from './template.js'

/** What rows need of a tokenizer. */
export interface Encoder {
  readonly eosTokenId: number | undefined
  readonly unkTokenId?: number | undefined
  readonly specialTokenIds: ReadonlySet<number>
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[]
  decode(ids: readonly number[]): string
  applyChatTemplate(messages: ChatMessage[], options?: { addGenerationPrompt?: boolean }): string
}
