/** What a rule is that finds an answer in a generated text, and what rules of every kind are made with. */

/** What a rule found: an answer in its normal form, and the span `[start, end)` of the text, in UTF-16 units, where it stands. */
export interface Match {
  readonly value: string
  readonly start: number
  readonly end: number
}

export interface Extraction extends Match {
  /** The name of the rule that matched. */
  readonly rule: string
}

/** One way to find an answer in a generated text. */
export interface ExtractionRule {
  readonly name: string
  readonly description: string
  /** @param question the text that was answered: some rules read options or words out of it */
  find(text: string, question: string): Match | undefined
}

export type Which = 'first' | 'last'

/** The span of `found[group]`; needs the `d` flag. */
export function spanOf(found: RegExpMatchArray, group: number): { start: number; end: number } {
  const [start, end] = found.indices![group]!
  return { start, end }
}

/** The first or last match whose value is not undefined. */
export function pick(
  text: string,
  pattern: RegExp,
  which: Which,
  matchOf: (found: RegExpMatchArray) => Match | undefined,
): Match | undefined {
  let last: Match | undefined
  for (const found of text.matchAll(pattern)) {
    const match = matchOf(found)
    if (match === undefined) continue
    if (which === 'first') return match
    last = match
  }
  return last
}

export const wordStart = String.raw`(?<![\p{L}\p{N}_])`
export const wordEnd = String.raw`(?![\p{L}\p{N}_])`
export const escapePattern = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`)
export const inQuotes = (texts: readonly string[]) => texts.map(text => `"${text}"`).join(', ')
