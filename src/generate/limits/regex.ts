import { GradpromptError } from '../../errors.js'

/** Regular expressions that limit answers: what the grammar's compiler would take for something else is told, or written otherwise. */

/**
 * @param place names it in messages
 * @throws GradpromptError `invalid-regex`; `unsupported-regex` where ^ or $ stands within it: the compiler leaves them out
 */
export function checkRegex(pattern: string, place: string): void {
  try {
    new RegExp(pattern, 'u')
  } catch (cause) {
    throw new GradpromptError('invalid-regex', `${place} is no regular expression`, {
      found: `${pattern.slice(0, 200)}: ${cause instanceof Error ? cause.message.replace(/^.*: /, '') : String(cause)}`,
      expected: 'a regular expression as JavaScript has them, such as [0-9]{4}-[0-9]{2}',
      cause,
    })
  }
  const parts = partsOf(pattern)
  const [begins, ends] = [beginnings(parts), endings(parts)]
  const within = parts.findIndex((part, i) => (part === '^' && !begins[i]) || (part === '$' && !ends[i]))
  if (within === -1) return
  throw new GradpromptError('unsupported-regex', `${place} has ${parts[within]} within it`, {
    found: pattern.slice(0, 200),
    expected: 'an expression that an answer matches as a whole, with or without ^ before and $ behind it',
  })
}

/** The same as the compiler reads it: an answer is matched as a whole anyway, and an alternative of nothing is a group there. */
export function compilable(pattern: string): string {
  const parts = partsOf(pattern).filter(part => part !== '^' && part !== '$')
  const opens = (part: string | undefined) => part === undefined || part === '|' || isOpening(part)
  const closes = (part: string | undefined) => part === undefined || part === '|' || part === ')'
  return [...parts, undefined].map((part, i) => (closes(part) && opens(parts[i - 1]) ? '(?:)' : '') + (part ?? '')).join('')
}

/** Escapes, classes, openings of groups, and single characters. */
const partsOf = (pattern: string): string[] =>
  pattern.match(/\\.|\[(?:\\.|[^\]\\])*\]|\((?:\?(?:<?[=!]|:|<[^>]*>))?|[^\\[(]/gsu) ?? []

const isOpening = (part: string) => part.startsWith('(')

/** Before which parts nothing can stand. */
function beginnings(parts: readonly string[]): boolean[] {
  const groups: boolean[] = []
  let begins = true
  return parts.map(part => {
    const before = begins
    if (isOpening(part)) groups.push(begins)
    else if (part === '|') begins = groups.at(-1) ?? true
    else if (part !== '^') begins = false
    if (part === ')') groups.pop()
    return before
  })
}

/** Behind which parts nothing can stand. */
function endings(parts: readonly string[]): boolean[] {
  const groups: boolean[] = []
  let ends = true
  return parts
    .toReversed()
    .map(part => {
      const behind = ends
      if (part === ')') groups.push(ends)
      else if (part === '|') ends = groups.at(-1) ?? true
      else if (part !== '$') ends = false
      if (isOpening(part)) groups.pop()
      return behind
    })
    .reverse()
}
