import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { GgufValue } from '../../../src/formats/gguf.js'
import type { ChatMessage, Tokenizer } from '../../../src/formats/tokenizer.js'

export interface Encoded {
  texts: string[]
  ids: number[][]
}
export interface Expected extends Encoded {
  decoded: Decoded
  conversations: { messages: ChatMessage[]; addGenerationPrompt: boolean; text: string }[]
}
export type Decoded = { ids: number[]; text: string; skipped: string }[]
export interface GgufExpected {
  vocabularies: Record<string, Record<string, GgufValue>>
  variants: (Encoded & { vocabulary: string; architecture: string; extra: Record<string, GgufValue>; decoded: Decoded })[]
}

export const fixtures = 'test/fixtures/tokenizer'
export const fixture = async <T>(name: string) => JSON.parse(await readFile(join(fixtures, name), 'utf8')) as T

/** The texts whose ids differ: a diff of thousands of ids would hide them. */
export function differing(tokenizer: Tokenizer, { texts, ids }: Encoded): unknown[] {
  return texts
    .map((text, i) => ({ text, expected: ids[i], found: tokenizer.encode(text) }))
    .filter(({ expected, found }) => JSON.stringify(expected) !== JSON.stringify(found))
}

export function checkDecoding(tokenizer: Tokenizer, decoded: Decoded): void {
  expect(decoded.length).toBeGreaterThan(0)
  for (const { ids, text, skipped } of decoded) {
    expect(tokenizer.decode(ids)).toBe(text)
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(skipped)
  }
}

export function checkAgainst(tokenizer: () => Tokenizer, expected: () => Expected): void {
  test('gives the ids of transformers', () => {
    expect(differing(tokenizer(), expected())).toEqual([])
  })

  test('gives the text of transformers, also for ids that are no whole characters', () => {
    checkDecoding(tokenizer(), expected().decoded)
  })

  test('renders conversations as transformers does', () => {
    for (const { messages, addGenerationPrompt, text } of expected().conversations) {
      expect(tokenizer().applyChatTemplate(messages, { addGenerationPrompt })).toBe(text)
    }
  })
}
