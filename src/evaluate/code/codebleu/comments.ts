/** Code without its comments and, of Python, its docstrings: what CodeBLEU compares the structure of. */

const notBlank = (code: string): string =>
  code
    .split('\n')
    .filter(line => line.trim() !== '')
    .join('\n')

/** Comments, and texts that may hold what looks like one. */
const commentOrText = /\/\/.*?(?=\n|$)|\/\*.*?\*\/|'(?:\\.|[^\\'])*'|"(?:\\.|[^\\"])*"/gs

/** Of languages with `//` and `/*`. */
export const withoutSlashComments = (code: string): string =>
  notBlank(code.replaceAll(commentOrText, found => (found.startsWith('/') ? ' ' : found)))

const opening = /(?:[rRuUbBfF]{0,2})("""|'''|"|')/y
const bracket = { '(': 1, '[': 1, '{': 1, ')': -1, ']': -1, '}': -1 } as const

/** What stood before a token, as far as it decides whether a text is a docstring. */
type Before = 'indent' | 'newline' | 'other'

/**
 * Of Python: comments, texts that stand at the margin, and those that begin a statement behind a line with a statement, or a block. What does
 * not end (a text of three quotes, a bracket) or is indented to no level leaves the code as it is.
 */
export function withoutPythonComments(code: string): string {
  let out = ''
  let depth = 0
  let at = 0
  let lineStart = 0
  let before: Before = 'indent'
  let hasToken = false
  const levels = [0]
  while (at < code.length) {
    if (at === lineStart && depth === 0 && !hasToken) {
      const width = /^[ \t\f]*/.exec(code.slice(at))![0].length
      const next = code[at + width]
      out += code.slice(at, at + width)
      at += width
      if (next !== undefined && next !== '\n' && next !== '\r' && next !== '#') {
        if (width > levels.at(-1)!) {
          levels.push(width)
          before = 'indent'
        } else if (width < levels.at(-1)!) {
          while (width < levels.at(-1)!) levels.pop()
          if (width !== levels.at(-1)) return code
          before = 'other'
        }
        hasToken = true
        continue
      }
      if (next === undefined) break
    }
    const character = code[at]!
    if (character === '\n') {
      before = hasToken && depth === 0 ? 'newline' : 'other'
      if (depth === 0) hasToken = false
      out += character
      lineStart = ++at
      continue
    }
    if (character === '#') {
      const end = code.indexOf('\n', at)
      at = end === -1 ? code.length : end
      // A comment behind a statement is followed by the end of the line; on a line of its own it is what stood before.
      before = 'other'
      continue
    }
    if (character === '\\' && code[at + 1] === '\n') {
      out += ' '
      at += 2
      lineStart = at
      continue
    }
    if (/\s/.test(character)) {
      out += character
      at++
      continue
    }
    opening.lastIndex = at
    const text = /[\p{L}\p{N}_]/u.test(code[at - 1] ?? '') ? null : opening.exec(code)
    if (text !== null) {
      const end = endOfText(code, opening.lastIndex, text[1]!)
      if (end === undefined && text[1]!.length === 3) return code
      if (end !== undefined) {
        if (before === 'other' && at > lineStart) out += code.slice(at, end)
        lineStart = Math.max(lineStart, code.lastIndexOf('\n', end - 1) + 1)
        at = end
        before = 'other'
        continue
      }
    }
    depth = Math.max(0, depth + (bracket[character as keyof typeof bracket] ?? 0))
    out += character
    at++
    before = 'other'
  }
  return depth > 0 ? code : notBlank(out)
}

/** The place behind the quotes that end a text; undefined where nothing does. */
function endOfText(code: string, from: number, quote: string): number | undefined {
  for (let at = from; at < code.length; at++) {
    if (code[at] === '\\') at++
    else if (code.startsWith(quote, at)) return at + quote.length
    else if (code[at] === '\n' && quote.length === 1) return undefined
  }
  return undefined
}
