import { GradpromptError, nearest } from '../../errors.js'

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

/** The answer by the first rule that finds one; nothing when none does. */
export function extractAnswer(text: string, rules: readonly ExtractionRule[], question = ''): Extraction | undefined {
  for (const rule of rules) {
    const match = rule.find(text, question)
    if (match !== undefined) return { rule: rule.name, ...match }
  }
  return undefined
}

type Which = 'first' | 'last'

const digits = String.raw`(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)`
// A minus between two operands is an operator, and digits within a word or a version are no number.
const number = String.raw`(?:(?<![\p{L}\p{N}_)\]])[-−])?\$?(?<![\p{L}\p{N}_]|\d\.)${digits}`

/**
 * A number in its normal form, digits kept as they are: without `$`, commas, spaces, a plus, a trailing period, leading zeros
 * and zeros at the end of the fraction (`$1,450.00.` is `1450`, `-0` is `0`). Undefined for what is no number.
 */
export function normalNumber(text: string): string | undefined {
  const plain = text
    .replaceAll(/[$,\s]/g, '')
    .replace(/^−/, '-')
    .replace(/\.$/, '')
  const [, minus, whole, fraction] = /^([-+]?)(\d*)(?:\.(\d+))?$/.exec(plain) ?? []
  if (minus === undefined || (whole === '' && fraction === undefined)) return undefined
  const kept = fraction?.replace(/0+$/, '')
  const value = (whole!.replace(/^0+(?=\d)/, '') || '0') + (kept ? `.${kept}` : '')
  return minus === '-' && value !== '0' ? `-${value}` : value
}

/** The span of `found[group]`; needs the `d` flag. */
function spanOf(found: RegExpMatchArray, group: number): { start: number; end: number } {
  const [start, end] = found.indices![group]!
  return { start, end }
}

/** The first or last match whose value is not undefined. */
function pick(
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

const wordStart = String.raw`(?<![\p{L}\p{N}_])`
const wordEnd = String.raw`(?![\p{L}\p{N}_])`
export const escapePattern = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`)
const inQuotes = (texts: readonly string[]) => texts.map(text => `"${text}"`).join(', ')

const numberRule = (name: string, which: Which, before = ''): ExtractionRule => {
  const pattern = new RegExp(`${before}(${number})`, 'dgu')
  return {
    name,
    description: before === '' ? `the ${which} number` : 'the first number after ####, as GSM8K writes its answers',
    find: text =>
      pick(text, pattern, which, found => {
        const value = normalNumber(found[1]!)
        return value === undefined ? undefined : { value, ...spanOf(found, 1) }
      }),
  }
}

/** The lettered options of a question: `(A) a quail`, one a line. */
export function optionsOf(question: string): { readonly letter: string; readonly text: string }[] {
  return [...question.matchAll(/^[ \t]*\(([A-Z])\)[ \t]*(.*)$/gm)].map(([, letter, text]) => ({
    letter: letter!,
    text: text!.trim(),
  }))
}

/** Whether a question offers a letter; one without options offers all. */
function offers(question: string): (letter: string) => boolean {
  const letters = new Set(optionsOf(question).map(({ letter }) => letter))
  return letter => letters.size === 0 || letters.has(letter)
}

const optionLetter = (name: string, which: Which): ExtractionRule => ({
  name,
  description: `the ${which} letter in parentheses that is among the options`,
  find(text, question) {
    const isOffered = offers(question)
    return pick(text, /\(([A-Z])\)/dg, which, found =>
      isOffered(found[1]!) ? { value: found[0], ...spanOf(found, 0) } : undefined,
    )
  },
})

const bareLetter: ExtractionRule = {
  name: 'bare-letter',
  description: 'a capital letter that the text begins with, followed by punctuation or nothing: "B." or "**B**"',
  find(text, question) {
    const found = /^[^\p{L}\p{N}(]*(?:(?:option|choice)\s+)?([A-Z])(?=[).:,;*\]"'`]|\s*$|\s*\n)/du.exec(text)
    if (found === null || !offers(question)(found[1]!)) return undefined
    return { value: `(${found[1]})`, ...spanOf(found, 1) }
  },
}

const optionText: ExtractionRule = {
  name: 'option-text',
  description: "an option's own words, when those of exactly one option occur",
  find(text, question) {
    const options = optionsOf(question).filter(option => option.text !== '')
    if (options.length === 0) return undefined
    const byText = new Map(options.map(option => [option.text.toLowerCase(), option.letter]))
    if (byText.size < options.length) return undefined
    // The longest first: an option may be the beginning of another.
    const choices = [...byText.keys()].sort((a, b) => b.length - a.length).map(escapePattern)
    const pattern = new RegExp(`(?<![\\p{L}\\p{N}_])(?:${choices.join('|')})${wordEnd}`, 'dgiu')
    const found = [...text.matchAll(pattern)]
    const letters = new Set(found.map(match => byText.get(match[0].toLowerCase())))
    const [letter] = letters
    if (letters.size !== 1 || letter === undefined) return undefined
    return { value: `(${letter})`, ...spanOf(found[0]!, 0) }
  },
}

/** A rule for a closed set of answers: a value and the patterns, as sources of regular expressions, that stand for it. */
export function phraseRule(
  name: string,
  phrases: readonly (readonly [value: string, ...patterns: string[]])[],
  which: Which = 'first',
): ExtractionRule {
  const groups = phrases.map(([, ...patterns]) => `(${patterns.join('|')})`)
  const pattern = new RegExp(`${wordStart}(?:${groups.join('|')})${wordEnd}`, 'dgiu')
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

/** A rule for label words as they are, in any case; the longest first, where one begins another. */
export const labelRule = (words: readonly string[], which: Which = 'first'): ExtractionRule =>
  phraseRule(
    which === 'first' ? 'label' : 'last-label',
    [...words].sort((a, b) => b.length - a.length).map(word => [word, escapePattern(word)] as const),
    which,
  )

const wordList: ExtractionRule = {
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

const brackets: ExtractionRule = {
  name: 'brackets',
  description: 'the first run of brackets: ] ) } >',
  find(text) {
    const found = /[[\](){}<>](?:[[\](){}<>\s]*[[\](){}<>])?/d.exec(text)
    if (found === null) return undefined
    return { value: found[0].replaceAll(/\s/g, '').split('').join(' '), ...spanOf(found, 0) }
  },
}

/** A part of a text without white space, quotes and asterisks around it, and without a full stop. */
function trimmed(text: string, start: number, end: number): Match | undefined {
  const part = text.slice(start, end)
  const before = /^[\s"'`*]*/.exec(part)![0].length
  let length = part.length
  while (length > before && /[\s"'`*.]/.test(part[length - 1]!)) length--
  if (length <= before) return undefined
  return { value: part.slice(before, length), start: start + before, end: start + length }
}

const firstLine: ExtractionRule = {
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

const wholeText: ExtractionRule = {
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

const yesNo = ['yes', 'no'].map(word => [word, word] as const)
const validInvalid = [
  ['invalid', 'invalid', 'not(?:\\s+deductively)?\\s+valid'],
  ['valid', 'valid'],
] as const
const trueFalse = ['true', 'false'].map(word => [word, word] as const)

export const rules = {
  hashNumber: numberRule('hash-number', 'first', '####\\s*'),
  number: numberRule('first-number', 'first'),
  lastNumber: numberRule('last-number', 'last'),
  optionLetter: optionLetter('option-letter', 'first'),
  lastOptionLetter: optionLetter('last-option-letter', 'last'),
  bareLetter,
  optionText,
  yesNo: phraseRule('yes-no', yesNo),
  lastYesNo: phraseRule('last-yes-no', yesNo, 'last'),
  trueFalse: phraseRule('true-false', trueFalse),
  lastTrueFalse: phraseRule('last-true-false', trueFalse, 'last'),
  validInvalid: phraseRule('valid-invalid', validInvalid),
  lastValidInvalid: phraseRule('last-valid-invalid', validInvalid, 'last'),
  plausible: phraseRule('plausible', [
    ['no', 'not\\s+plausible', 'implausible'],
    ['yes', 'plausible'],
  ]),
  tellsTheTruth: phraseRule('tells-the-truth', [
    [
      'no',
      'does\\s+not\\s+tell\\s+the\\s+truth',
      "doesn't\\s+tell\\s+the\\s+truth",
      'is\\s+not\\s+telling\\s+the\\s+truth',
      'lies',
    ],
    ['yes', 'tells\\s+the\\s+truth', 'is\\s+telling\\s+the\\s+truth'],
  ]),
  wordList,
  brackets,
  afterPhrase: afterPhrase(),
  firstLine,
  wholeText,
} as const satisfies Record<string, ExtractionRule>

/** Every rule that needs no argument, by its name. */
export const extractionRules: ReadonlyMap<string, ExtractionRule> = new Map(Object.values(rules).map(rule => [rule.name, rule]))

/**
 * A rule by its name, or a regular expression.
 * @throws GradpromptError `unknown-rule`, `invalid-pattern`
 */
export function extractionRule(rule: string | PatternOptions): ExtractionRule {
  if (typeof rule !== 'string') return regularExpression(rule)
  const [, inner] = /^after-phrase\/(.*)$/.exec(rule) ?? []
  if (inner !== undefined) return afterPhrase(extractionRule(inner))
  const found = extractionRules.get(rule)
  if (found !== undefined) return found
  const known = [...extractionRules.keys()]
  const meant = nearest(rule, known)
  throw new GradpromptError('unknown-rule', 'there is no such extraction rule', {
    found: rule,
    expected: `one of ${known.join(', ')}, or after-phrase/ and one of them`,
    ...(meant !== undefined && { hint: `did you mean ${meant}?` }),
  })
}
