import { unknownName } from '../../errors.js'
import { numberRule } from './extraction/numbers.js'
import { bareLetter, optionLetter, optionText } from './extraction/options.js'
import { answerResult, hashNumber, lastResult } from './extraction/result.js'
import type { ExtractionRule, Match } from './extraction/rule.js'
import { afterPhrase, firstLine, type PatternOptions, regularExpression, wholeText } from './extraction/texts.js'
import { brackets, phraseRule, wordList } from './extraction/words.js'

/** The rules that find an answer in a generated text, by their names. What each does stands in `extraction/`. */

export { normalNumber } from './extraction/numbers.js'
export { optionsOf } from './extraction/options.js'
export { type ExtractionRule, escapePattern, type Match } from './extraction/rule.js'
export { afterPhrase, compilePattern, type PatternOptions, regularExpression } from './extraction/texts.js'
export { labelRule, phraseRule } from './extraction/words.js'

export interface Extraction extends Match {
  /** The name of the rule that matched. */
  readonly rule: string
}

/** The answer by the first rule that finds one; nothing when none does. */
export function extractAnswer(text: string, rules: readonly ExtractionRule[], question = ''): Extraction | undefined {
  for (const rule of rules) {
    const match = rule.find(text, question)
    if (match !== undefined) return { rule: rule.name, ...match }
  }
  return undefined
}

const yesNo = ['yes', 'no'].map(word => [word, word] as const)
const validInvalid = [
  ['invalid', 'invalid', 'not(?:\\s+deductively)?\\s+valid'],
  ['valid', 'valid'],
] as const
const trueFalse = ['true', 'false'].map(word => [word, word] as const)

export const rules = {
  hashNumber,
  answerResult,
  lastResult,
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
  throw unknownName('unknown-rule', 'there is no such extraction rule', rule, [...extractionRules.keys()], {
    also: ', or after-phrase/ and one of them',
  })
}
