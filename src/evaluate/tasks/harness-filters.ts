import { compilePattern, type ExtractionRule, escapePattern, type Match } from '../answers/extraction.js'

/**
 * How lm-evaluation-harness 0.4.13 reads answers out of generated text: with the same results, oddities included, so that figures can
 * be compared. The rules of `extraction.ts` are what to use otherwise.
 */

type Which = 'first' | 'last'

/** What it calls `regex`: of the first or last match the first group that is not empty, or all of it. */
export function harnessPattern(name: string, source: string, which: Which = 'first'): ExtractionRule {
  const pattern = compilePattern(source, 'dgu')
  return {
    name,
    description: `the ${which} match of /${source}/`,
    find: text => matched(text, pattern, which),
  }
}

function matched(text: string, pattern: RegExp, which: Which): Match | undefined {
  const found = [...text.matchAll(pattern)].at(which === 'first' ? 0 : -1)
  if (found === undefined) return undefined
  const group = found.length === 1 ? 0 : found.findIndex((part, i) => i > 0 && part !== undefined && part !== '')
  if (group === -1) return undefined
  const [start, end] = found.indices![group]!
  const value = text.slice(start, end).trim()
  return value === '' ? undefined : { value, start, end }
}

/** All of the text as it is, white space included. */
export const asGenerated: ExtractionRule = {
  name: 'as-generated',
  description: 'all of the text, white space included',
  find: text => ({ value: text, start: 0, end: text.length }),
}

// Words as Python's \b sees them.
const word = (source: string) => String.raw`(?<![\p{L}\p{N}_])(${source})(?![\p{L}\p{N}_])`

export const harnessWord = (name: string, words: string, which: Which): ExtractionRule => harnessPattern(name, word(words), which)

/** `MapRegexFilter`: a value and the words that stand for it, in any case. */
export function harnessPhrases(
  name: string,
  phrases: readonly (readonly [value: string, words: string])[],
  which: Which,
): ExtractionRule {
  const pattern = compilePattern(phrases.map(([, words]) => word(words)).join('|'), 'dgu')
  return {
    name,
    description: `the ${which} of ${phrases.map(([value, words]) => `${value} (${words.replaceAll('|', ', ')})`).join(' or ')}`,
    find(text) {
      const found = [...text.toLowerCase().matchAll(pattern)].at(which === 'first' ? 0 : -1)
      if (found === undefined) return undefined
      const [start, end] = found.indices![0]!
      return { value: phrases[found.findIndex((part, i) => i > 0 && part !== undefined) - 1]![0], start, end }
    },
  }
}

/** `MultiChoiceRegexFilter`: a letter in parentheses, else the words of an option, else a letter after a colon. */
export function harnessChoice(which: Which): ExtractionRule {
  const letter = compilePattern(String.raw`(\([A-Z]\))`, 'dgu')
  return {
    name: `${which}-choice`,
    description: `the ${which} letter in parentheses, else the words of an option, else a letter after a colon`,
    find(text, question) {
      const direct = matched(text, letter, which)
      if (direct !== undefined) return direct
      // Its options are counted, whatever their letters, and end at a line break, "^" or "(".
      const options = [...question.matchAll(/\([A-Z]\)([^\n^(]*)/g)].map(([, option]) => bare(option!.trim()))
      if (options.length === 0) return undefined
      const letterOf = (place: number) => `(${String.fromCharCode(65 + place)})`
      const choices = [...new Set(options)].sort((a, b) => b.length - a.length).map(escapePattern)
      const plain = matched(bare(text), compilePattern(choices.join('|'), 'dgu'), which)
      // The span in the bare text is not that of the text: the whole text stands for it.
      if (plain !== undefined) {
        const place = options.lastIndexOf(plain.value)
        return { value: place === -1 ? plain.value : letterOf(place), start: 0, end: text.length }
      }
      const letters = options.map((_, place) => String.fromCharCode(65 + place)).join('|')
      const after = matched(text, compilePattern(String.raw`:\s*(${letters})`, 'dgu'), which)
      return after && { ...after, value: `(${after.value})` }
    },
  }
}

const bare = (text: string) => text.toLowerCase().replaceAll(/\p{P}/gu, '')

/** `NumberParseRegexFilter`: digits and minus signs, else a number in English words, of which it knows most. */
export function harnessNumber(which: Which): ExtractionRule {
  const figures = compilePattern('([-0-9]+)', 'dgu')
  return {
    name: `${which}-integer`,
    description: `the ${which} run of digits and minus signs, else a number in English words`,
    find(text) {
      const direct = matched(text, figures, which)
      if (direct !== undefined) return direct
      const inWords = matched(text.toLowerCase(), numberWords, which)
      const value = inWords && numberOfWords(inWords.value)
      return value === undefined ? undefined : { ...inWords!, value: String(value) }
    },
  }
}

const small = 'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen'.split(' ')
const units = new Map([...small, 'sixteen', 'seventeen', 'eighteen', 'nineteen'].map((name, value) => [name, value]))
for (const [i, name] of 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ').entries()) units.set(name, 20 + 10 * i)
const scales = new Map([
  ['thousand', 1e3],
  ['million', 1e6],
  ['billion', 1e9],
])

// Its words may stand within others, and "six" to "nine" begin and end no number.
const numberWords = (() => {
  const words = (stems: string, eight: string) =>
    `zero|one|two|three|four|five|(?:twen|thir|for|fif|six|seven|nine)(?:${stems})|eight(?:${eight})|ten|eleven|twelve|fourteen|hundred|thousand|(?:m|b|tr)illion`
  const [opening, closing] = [words('teen|ty', '|een|y'), words('teen|ty', 'een|y')]
  return compilePattern(`((?:(?:${opening})(?:${words('|teen|ty', 'een|y')}|[^\\S\\r\\n]|,|and|&)+)?(?:${closing}))`, 'dgu')
})()

/** `two thousand three hundred and five` -> 2305 */
export function numberOfWords(text: string): number | undefined {
  let [total, part, isKnown] = [0, 0, false]
  for (const name of text.split(/\s+/)) {
    const unit = units.get(name)
    const scale = scales.get(name)
    isKnown ||= unit !== undefined || scale !== undefined || name === 'hundred'
    if (unit !== undefined) part += unit
    else if (name === 'hundred') part = Math.max(1, part) * 100
    else if (scale !== undefined) [total, part] = [total + Math.max(1, part) * scale, 0]
  }
  return isKnown ? total + part : undefined
}
