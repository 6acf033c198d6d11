import { type Document, LineCounter, parseDocument } from 'yaml'

/**
 * YAML in bounded memory. A parser makes objects of a thousand bytes of what a file writes in two, so what may begin an entry is counted
 * before anything is parsed, and what aliases refer to is multiplied only so often. What a config holds is unknown here.
 */

/** Marks that may each begin an entry: far more than any config of people's has, text in it included. */
const mostMarks = 100_000
const mostAliases = 100

export interface YamlProblem {
  readonly message: string
  readonly line?: number
  readonly column?: number
  readonly cause?: unknown
}

/** The value of a YAML (or JSON) text. @returns the value, or what is wrong with it */
export function parseYaml(text: string): { readonly value: unknown } | { readonly problem: YamlProblem } {
  if (countMarks(text) > mostMarks) return { problem: { message: `it has more than ${mostMarks} entries` } }
  const lines = new LineCounter()
  let document: Document.Parsed
  try {
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  } catch (cause) {
    // Lists within lists without end.
    return { problem: { message: cause instanceof Error ? cause.message : String(cause), cause } }
  }
  const [first] = document.errors
  if (first !== undefined) {
    const { line, col } = lines.linePos(first.pos[0])
    return { problem: { message: first.message, line, column: col, cause: first } }
  }
  try {
    return { value: document.toJS({ maxAliasCount: mostAliases }) as unknown }
  } catch (cause) {
    return { problem: { message: cause instanceof Error ? cause.message : String(cause), cause } }
  }
}

const marks = new Set([...'\n,[]{}:?-!&*'].map(mark => mark.charCodeAt(0)))

function countMarks(text: string): number {
  let count = 0
  for (let i = 0; i < text.length; i++) if (marks.has(text.charCodeAt(i))) count++
  return count
}
