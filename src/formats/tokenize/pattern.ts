/**
 * Patterns of normalizers, pre-tokenizers and decoders, with the meaning of Oniguruma, which the Rust `tokenizers` runs them with.
 * `@huggingface/tokenizers` rewrites an expression for JavaScript. What cannot be rewritten, or is larger than any pattern of a
 * published tokenizer, is refused. How long one may take is bounded where the pipeline runs.
 */
import * as tokenizers from '@huggingface/tokenizers'
import { describe, invalid, unsupported } from './definition.js'

/** A stretch of a text: one match, or what lies between two. All stretches together are the text. */
export interface Stretch {
  readonly start: number
  readonly end: number
  readonly matched: boolean
}

export interface Pattern {
  /** Time may grow faster than the text: the expression is not one of those known to be harmless. */
  readonly doubtful: boolean
  stretches(text: string): Stretch[]
}

// What is used of the library, whose own declarations do not resolve under NodeNext.
const library = tokenizers as unknown as {
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp | null }
}

/** The longest of a published tokenizer has about 700 characters. */
const maxPatternLength = 4096

/** `{ String: … }` or `{ Regex: … }`, as a file writes a pattern. */
export function readPattern(value: unknown, part: string): Pattern {
  const { String: literal, Regex: expression } = (typeof value === 'object' && value !== null ? value : {}) as {
    String?: unknown
    Regex?: unknown
  }
  if (typeof literal === 'string' && literal !== '') return literalPattern(literal)
  if (typeof expression === 'string' && expression !== '') return expressionPattern(expression)
  throw invalid(
    `The tokenizer's ${part} has a pattern that cannot be read`,
    describe(value),
    '{"String": a text} or {"Regex": an expression}',
  )
}

export function literalPattern(literal: string): Pattern {
  return {
    doubtful: false,
    stretches: text => {
      const found: Stretch[] = []
      let end = 0
      for (let at = text.indexOf(literal); at !== -1; at = text.indexOf(literal, end)) {
        if (at > end) found.push({ start: end, end: at, matched: false })
        end = at + literal.length
        found.push({ start: at, end, matched: true })
      }
      return closed(found, end, text.length)
    },
  }
}

/** Every character of a class by itself. */
export function characterPattern(characters: RegExp): Pattern {
  return { doubtful: false, stretches: text => matches(characters, text) }
}

function expressionPattern(source: string): Pattern {
  if (source.length > maxPatternLength) {
    throw invalid(
      'A regular expression of the tokenizer is too long',
      `${source.length} characters`,
      `at most ${maxPatternLength}`,
    )
  }
  if (source.includes('(?>')) {
    throw unsupported('A regular expression of the tokenizer has an atomic group', source, 'expressions without (?>…)')
  }
  let expression: RegExp | null
  try {
    expression = new library.SplitPreTokenizer({ pattern: { Regex: source } }).pattern
  } catch (cause) {
    throw unsupported('A regular expression of the tokenizer cannot be run', source, 'an expression that JavaScript has, too', {
      cause,
    })
  }
  if (expression === null) throw unsupported('A regular expression of the tokenizer cannot be run', source, 'an expression')
  return { doubtful: !harmless(source), stretches: text => matches(expression, text) }
}

/**
 * Whether an expression is made of parts that published tokenizers have, and of nothing that backtracks far: no quantifier over a group
 * of other quantifiers, and no two unbounded quantifiers in a row that could share characters, but for those of line ends behind others.
 */
function harmless(source: string): boolean {
  return knownExpressions.has(source)
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const knownExpressions: ReadonlySet<string> = new Set([
  ' ',
  '\\d+',
  '\\d',
  '\\p{N}',
  '\\p{N}{1,3}',
  '[0-9]',
  '[\r\n]',
  '\\s?\\p{L}+',
  '\\s?\\p{P}+',
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
])

function matches(expression: RegExp, text: string): Stretch[] {
  const found: Stretch[] = []
  let end = 0
  let last = -1
  for (const match of text.matchAll(expression)) {
    const start = match.index
    // Oniguruma's iterator gives no empty match right behind another match.
    if (match[0] === '' && start === last) continue
    if (start > end) found.push({ start: end, end: start, matched: false })
    end = start + match[0].length
    last = end
    found.push({ start, end, matched: true })
  }
  return closed(found, end, text.length)
}

function closed(found: Stretch[], end: number, length: number): Stretch[] {
  if (end < length) found.push({ start: end, end: length, matched: false })
  return found
}
