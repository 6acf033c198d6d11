import { type Document, isNode, LineCounter, parseDocument } from 'yaml'

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

export interface ParsedYaml {
  readonly value: unknown
  /** The line of what stands at a path of keys. */
  lineOf(path: readonly (string | number)[]): number | undefined
}

/** The value of a YAML (or JSON) text. @returns the value, or what is wrong with it */
export function parseYaml(text: string): ParsedYaml | { readonly problem: YamlProblem } {
  if (countMarks(text) > mostMarks) return { problem: { message: `it has more than ${mostMarks} entries` } }
  const lines = new LineCounter()
  let document: Document.Parsed
  try {
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  } catch (cause) {
    // Lists within lists without end.
    return { problem: { message: said(cause), cause } }
  }
  const [first] = document.errors
  if (first !== undefined) {
    const { line, col } = lines.linePos(first.pos[0])
    return { problem: { message: said(first), line, column: col, cause: first } }
  }
  try {
    const value: unknown = document.toJS({ maxAliasCount: mostAliases })
    if (holdsItself(value)) return { problem: { message: 'an alias names what it stands in' } }
    return {
      value,
      lineOf(path) {
        const node: unknown = document.getIn(path, true)
        return isNode(node) && node.range ? lines.linePos(node.range[0]).line : undefined
      },
    }
  } catch (cause) {
    return { problem: { message: said(cause), cause } }
  }
}

/** The parser calls itself at every level, and says of a stack that is full what the engine says. */
function said(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause)
  return message.includes('call stack') ? 'it is nested too deeply' : message
}

/** Whether a part of a value is the whole of one that it is in; every part is looked at once, however often aliases name it. */
function holdsItself(value: unknown, around = new Set<object>(), seen = new Set<object>()): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (around.has(value)) return true
  if (seen.has(value)) return false
  seen.add(value)
  around.add(value)
  const found = Object.values(value).some(part => holdsItself(part, around, seen))
  around.delete(value)
  return found
}

const marks = new Set([...'\n,[]{}:?-!&*'].map(mark => mark.charCodeAt(0)))

function countMarks(text: string): number {
  let count = 0
  for (let i = 0; i < text.length; i++) if (marks.has(text.charCodeAt(i))) count++
  return count
}
