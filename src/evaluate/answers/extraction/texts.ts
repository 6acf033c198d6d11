import { GradpromptError } from '../../../errors.js'
import { type ExtractionRule, type Match, pick, spanOf, type Which } from './rule.js'

/** Answers that are a part of the text as it stands: a line, what follows a phrase, all of it, or what a pattern of the user's finds. */

/** A part of a text without white space, quotes and asterisks around it, and without a full stop. */
function trimmed(text: string, start: number, end: number): Match | undefined {
  const part = text.slice(start, end)
  const before = /^[\s"'`*]*/.exec(part)![0].length
  let length = part.length
  while (length > before && /[\s"'`*.]/.test(part[length - 1]!)) length--
  if (length <= before) return undefined
  return { value: part.slice(before, length), start: start + before, end: start + length }
}

export const firstLine: ExtractionRule = {
  name: 'first-line',
  description: 'the first line that is not blank, without a full stop, quotes or asterisks around it',
  find(text) {
    const found = /\S[^\r\n]*/.exec(text)
    return found === null ? undefined : trimmed(text, found.index, found.index + found[0].length)
  },
}

const answerPhrase = /\b(?:answer\s+is|answer\s*[:=])\s*:?/gi

/** A rule for what follows the last "the answer is" or "answer:". Without an inner rule: the rest of that line. */
export const afterPhrase = (inner: ExtractionRule = firstLine): ExtractionRule => ({
  name: inner === firstLine ? 'after-phrase' : `after-phrase/${inner.name}`,
  description: `after the last "the answer is" or "answer:", ${inner === firstLine ? 'the rest of the line' : inner.description}`,
  find(text, question) {
    const phrase = [...text.matchAll(answerPhrase)].at(-1)
    if (phrase === undefined) return undefined
    const start = phrase.index + phrase[0].length
    const match = inner.find(text.slice(start), question)
    return match && { ...match, start: match.start + start, end: match.end + start }
  },
})

export const wholeText: ExtractionRule = {
  name: 'whole-text',
  description: 'all of the text, without white space around it',
  find(text) {
    const value = text.trim()
    if (value === '') return undefined
    const start = text.indexOf(value)
    return { value, start, end: start + value.length }
  },
}

export interface PatternOptions {
  /** The source of a regular expression; its first group that takes part is the answer, or all of it when there is none. */
  readonly pattern: string
  readonly flags?: string | undefined
  /** Of several matches; by default the first. */
  readonly which?: Which | undefined
  readonly name?: string | undefined
}

/**
 * A rule of the user's own.
 * @throws GradpromptError `invalid-pattern`
 */
export function regularExpression({ pattern, flags = '', which = 'first', name }: PatternOptions): ExtractionRule {
  const compiled = compilePattern(pattern, `${flags.replaceAll(/[dg]/g, '')}dg`)
  return {
    name: name ?? 'regular-expression',
    description: `the ${which} match of /${pattern}/${flags}`,
    find: text =>
      pick(text, compiled, which, found => {
        const group = Math.max(
          0,
          found.findIndex((part, i) => i > 0 && part !== undefined && part !== ''),
        )
        const { start, end } = spanOf(found, group)
        return { value: found[group]!.trim(), start, end }
      }),
  }
}

/** @throws GradpromptError `invalid-pattern` */
export function compilePattern(pattern: string, flags: string): RegExp {
  try {
    return new RegExp(pattern, flags)
  } catch (cause) {
    throw new GradpromptError('invalid-pattern', 'the regular expression is not valid', {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a regular expression of JavaScript',
      cause,
    })
  }
}
