/**
 * A text without its marks of emphasis and mathematics, with one space or line break wherever white space stood, and the way back: rules
 * for sentences are written for words with single spaces, and what they find is shown in the text as it came.
 */

/** A span `[start, end)`, in UTF-16 units. */
export interface Span {
  readonly start: number
  readonly end: number
}

export interface PlainText {
  readonly text: string
  /** Where a span of the plain text that holds at least one character stands in the source. */
  source(span: Span): Span
  /** Where the first character of the source at or behind `index` stands in the plain text. */
  plain(index: number): number
}

export function plainText(source: string): PlainText {
  const unmarked = withoutMarks(source)
  const starts: number[] = []
  let text = ''
  for (const { 0: piece, index } of unmarked.matchAll(/\s+|\S+/g)) {
    const isSpace = piece.trim() === ''
    const kept = isSpace ? (piece.includes('\n') ? '\n' : ' ') : piece
    for (let i = 0; i < kept.length; i++) starts.push(index + i)
    text += kept
  }
  return {
    text,
    source: ({ start, end }) => ({ start: starts[start]!, end: starts[end - 1]! + 1 }),
    plain(index) {
      const found = starts.findIndex(start => start >= index)
      return found === -1 ? starts.length : found
    },
  }
}

/** The text with its marks as spaces, so that every place stays where it was. */
const withoutMarks = (text: string): string =>
  text
    .replaceAll(/<<[^<>\n]{0,200}>>/g, blank)
    .replaceAll(/\\(?:boxed|text|mathbf|mathrm) ?\{|\\[()[\],;!]|\\(?=\$)|__|[`{}"“”]/g, blank)
    .replaceAll(/\$(?=[\s\\a-z]|$)/gi, blank)
    .replaceAll(/\\times|\\cdot/g, found => '*'.padEnd(found.length))
    .replaceAll(/\*\*|\*(?=\S[^*\n]*\*)/g, blank)

const blank = (found: string) => ' '.repeat(found.length)
