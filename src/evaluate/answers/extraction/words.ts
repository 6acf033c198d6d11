import { type ExtractionRule, escapePattern, inQuotes, pick, spanOf, type Which, wordEnd, wordStart } from './rule.js'

/** Answers that are words or signs of a closed set. */

/** Matches any of the phrases as words of their own; the group says which. */
function phrasePattern(phrases: readonly (readonly [value: string, ...patterns: string[]])[]): RegExp {
  const groups = phrases.map(([, ...patterns]) => `(${patterns.join('|')})`)
  return new RegExp(`${wordStart}(?:${groups.join('|')})${wordEnd}`, 'dgiu')
}

/** A rule for a closed set of answers: a value and the patterns, as sources of regular expressions, that stand for it. */
export function phraseRule(
  name: string,
  phrases: readonly (readonly [value: string, ...patterns: string[]])[],
  which: Which = 'first',
): ExtractionRule {
  const pattern = phrasePattern(phrases)
  return {
    name,
    description: `the ${which} of ${inQuotes(phrases.map(([value]) => value))}, as a word of its own`,
    find: text =>
      pick(text, pattern, which, found => {
        const group = phrases.findIndex((_, i) => found[i + 1] !== undefined)
        return { value: phrases[group]![0], ...spanOf(found, 0) }
      }),
  }
}

// "is not a nurse" names a nurse, and says that it is none.
const denial =
  /(?:\bnot|n['’]t|\bnever|\bneither|\bnor|\brather than|\binstead of)\s+(?:(?:a|an|the|any|really|very|quite|actually|at all|be|considered|necessarily)\s+)*["'*]*$/i
/** As much of the text before a word as a denial may take. */
const denialLength = 60

/**
 * A rule for label words as they are, in any case; the longest first, where one begins another. A word that is denied is no answer; a
 * label that holds its own "not" is.
 */
export function labelRule(words: readonly string[], which: Which = 'first'): ExtractionRule {
  const patterns = [...words].sort((a, b) => b.length - a.length).map(word => [word, escapePattern(word)] as const)
  const mentions = phrasePattern(patterns)
  return {
    name: which === 'first' ? 'label' : 'last-label',
    description: `the ${which} of ${inQuotes(patterns.map(([value]) => value))}, as a word of its own that is not denied`,
    find: text =>
      pick(text, mentions, which, found => {
        const { start, end } = spanOf(found, 0)
        if (denial.test(text.slice(Math.max(0, start - denialLength), start))) return undefined
        return { value: patterns[patterns.findIndex((_, i) => found[i + 1] !== undefined)]![0], start, end }
      }),
  }
}

export const wordList: ExtractionRule = {
  name: 'word-list',
  description: 'the words after "List:" in the question, in the order of their last mention',
  find(text, question) {
    const words = question.split('List:').at(1)?.trim().split(/\s+/)
    if (words === undefined || words[0] === '') return undefined
    const choices = [...new Set(words)].sort((a, b) => b.length - a.length).map(escapePattern)
    const found = [...text.matchAll(new RegExp(`${wordStart}(?:${choices.join('|')})${wordEnd}`, 'dgu'))]
    if (found.length === 0) return undefined
    const lastMention = new Map(found.map(match => [match[0], spanOf(match, 0)]))
    const mentions = [...lastMention].sort(([, a], [, b]) => a.start - b.start)
    return {
      value: mentions.map(([word]) => word).join(' '),
      start: mentions[0]![1].start,
      end: mentions.at(-1)![1].end,
    }
  },
}

export const brackets: ExtractionRule = {
  name: 'brackets',
  description: 'the first run of brackets: ] ) } >',
  find(text) {
    const found = /[[\](){}<>](?:[[\](){}<>\s]*[[\](){}<>])?/d.exec(text)
    if (found === null) return undefined
    return { value: found[0].replaceAll(/\s/g, '').split('').join(' '), ...spanOf(found, 0) }
  },
}
