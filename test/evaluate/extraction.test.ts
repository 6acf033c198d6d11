import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  afterPhrase,
  extractAnswer,
  extractionRule,
  extractionRules,
  labelRule,
  normalNumber,
  optionsOf,
  regularExpression,
  rules,
} from '../../src/evaluate/answers/extraction.js'
import { problem } from '../support/problem.js'

const animals = 'Which bird stands last?\nOptions:\n(A) a quail\n(B) an owl\n(C) a barn owl'
const words = 'Sort the following words: List: pear fig it&t apple fig'

test.each([
  ['18', '18'],
  [' $1,450,000.00. ', '1450000'],
  ['5.00', '5'],
  ['5.50', '5.5'],
  ['.5', '0.5'],
  ['-0.0', '0'],
  ['+007', '7'],
  ['−3', '-3'],
  ['-$5', '-5'],
  ['12345678901234567890', '12345678901234567890'],
  ['', undefined],
  ['.', undefined],
  ['$', undefined],
  ['1e3', undefined],
  ['five', undefined],
  ['1.2.3', undefined],
])('the number %j is %j', (text, value) => expect(normalNumber(text)).toBe(value))

// The rule, the text, the value, and what of the text it stands in.
test.each([
  ['hash-number', 'so 9 * 2\n#### 18\nQuestion: 5\n#### 7', '18', '18'],
  ['hash-number', '####$1,200.00.', '1200', '$1,200.00'],
  ['hash-number', '#### -3', '-3', '-3'],
  ['hash-number', 'the total is 18', undefined, ''],
  ['last-number', 'She has 3 + 4 = 7 eggs.', '7', '7'],
  ['last-number', 'It costs $1,234.50.', '1234.5', '$1,234.50'],
  ['last-number', 'from 16-3', '3', '3'],
  ['last-number', 'that makes x = -13', '-13', '-13'],
  ['last-number', '1,2,3', '3', '3'],
  ['last-number', 'about 1,450,000 people in GPT4 and v1.5', '1450000', '1,450,000'],
  ['last-number', 'none', undefined, ''],
  ['first-number', 'I count 8 of 10', '8', '8'],
  ['option-letter', 'I think (B) rather than (A).', '(B)', '(B)'],
  ['option-letter', 'As (Z) says: (C)', '(C)', '(C)'],
  ['last-option-letter', 'Not (A). It is (B)', '(B)', '(B)'],
  ['option-letter', '(b)', undefined, ''],
  ['bare-letter', ' B. an owl', '(B)', 'B'],
  ['bare-letter', '**C**', '(C)', 'C'],
  ['bare-letter', 'A quail stands last', undefined, ''],
  ['bare-letter', 'D', undefined, ''],
  ['option-text', 'It is A Barn Owl, surely', '(C)', 'A Barn Owl'],
  ['option-text', 'a quail or an owl', undefined, ''],
  ['yes-no', 'No, not yes.', 'no', 'No'],
  ['last-yes-no', 'Yes? No.', 'no', 'No'],
  ['yes-no', 'Nobody knows yesterday', undefined, ''],
  ['true-false', 'False and True', 'false', 'False'],
  ['last-true-false', 'False and True is TRUE', 'true', 'TRUE'],
  ['valid-invalid', 'The argument is not deductively valid.', 'invalid', 'not deductively valid'],
  ['valid-invalid', 'It is valid', 'valid', 'valid'],
  ['plausible', 'That is not plausible', 'no', 'not plausible'],
  ['tells-the-truth', 'Ann tells the truth', 'yes', 'tells the truth'],
  ['brackets', 'It ends ] ) } here', '] ) }', '] ) }'],
  ['brackets', '))>', ') ) >', '))>'],
  ['after-phrase', 'The answer is 3.\nNo: the answer is: **an owl**.', 'an owl', 'an owl'],
  ['after-phrase', 'Answer: yes', 'yes', 'yes'],
  ['after-phrase', 'I do not know', undefined, ''],
  ['first-line', '\n  "a fig."\nmore', 'a fig', 'a fig'],
  ['first-line', ' \n ', undefined, ''],
  ['whole-text', '\n a b \n', 'a b', 'a b'],
])('%s of %j is %j', (name, text, value, span) => {
  const match = extractionRule(name).find(text, animals)
  expect(match?.value).toBe(value)
  if (match !== undefined) expect(text.slice(match.start, match.end)).toBe(span)
})

test('a word list: the words of the question, each at its last mention', () => {
  const text = 'We have pear, it&t, figs and apple. So: apple fig it&t pear'
  const match = rules.wordList.find(text, words)
  expect(match?.value).toBe('apple fig it&t pear')
  expect(text.slice(match!.start, match!.end)).toBe('apple fig it&t pear')
  expect(rules.wordList.find('apples', words)).toBeUndefined()
  expect(rules.wordList.find('apple', 'no list')).toBeUndefined()
  expect(rules.wordList.find('apple', 'List: ')).toBeUndefined()
})

test('options of a question', () => {
  expect(optionsOf(animals).map(({ letter, text }) => letter + text)).toEqual(['Aa quail', 'Ban owl', 'Ca barn owl'])
  expect(optionsOf('(is it) (A)?')).toEqual([])
})

test('options that read alike are told apart by their letter alone', () => {
  expect(rules.optionText.find('an owl', '(A) an owl\n(B) An owl')).toBeUndefined()
})

test('a rule after a phrase: the span is that of the whole text', () => {
  const text = 'Some say (A). The answer is (B) or (C).'
  const rule = afterPhrase(rules.optionLetter)
  const match = rule.find(text, animals)!
  expect([rule.name, match.value, text.slice(match.start, match.end)]).toEqual(['after-phrase/option-letter', '(B)', '(B)'])
  expect(extractionRule('after-phrase/option-letter').find(text, animals)).toEqual(match)
  expect(rule.find('(A)', animals)).toBeUndefined()
})

test('labels: as they are written, the longest first', () => {
  const rule = labelRule(['very good', 'good', 'C++'])
  expect(rule.find('It was Very Good', '')?.value).toBe('very good')
  expect(rule.find('goodness', '')).toBeUndefined()
  expect(rule.find('C++ it is', '')?.value).toBe('C++')
  expect(labelRule(['follow-up', 'n/a']).find('it is a follow-up', '')?.value).toBe('follow-up')
  expect(labelRule(['a', 'b'], 'last').find('a then b', '')?.value).toBe('b')
})

describe('regular expressions', () => {
  test('the first group that takes part, or everything', () => {
    expect(regularExpression({ pattern: 'x=(\\d+)|y=(\\d+)' }).find('so y=12', '')).toEqual({ value: '12', start: 5, end: 7 })
    expect(regularExpression({ pattern: '\\d+', which: 'last' }).find('1 2 3', '')).toEqual({ value: '3', start: 4, end: 5 })
    expect(regularExpression({ pattern: 'A', flags: 'gi' }).find('ba', '')?.value).toBe('a')
    expect(regularExpression({ pattern: 'q' }).find('ba', '')).toBeUndefined()
  })

  test('one that is not valid is refused', () => {
    expect(problem(() => regularExpression({ pattern: '(' }))).toMatchObject({ code: 'invalid-pattern', exitCode: 2 })
    expect(problem(() => regularExpression({ pattern: 'a', flags: 'k' }))).toMatchObject({ code: 'invalid-pattern' })
  })
})

test('a chain: the first rule that matches is named', () => {
  const chain = [rules.hashNumber, rules.lastNumber]
  expect(extractAnswer('1 then 2', chain)).toEqual({ rule: 'last-number', value: '2', start: 7, end: 8 })
  expect(extractAnswer('#### 4 then 2', chain)).toMatchObject({ rule: 'hash-number', value: '4' })
  expect(extractAnswer('none', chain)).toBeUndefined()
})

test('a rule that does not exist', () => {
  expect(problem(() => extractionRule('last-numbr'))).toMatchObject({ code: 'unknown-rule', hint: 'did you mean last-number?' })
})

test('every rule has a name of its own and says what it does', () => {
  expect(extractionRules.size).toBe(Object.keys(rules).length)
  for (const [name, { description }] of extractionRules) expect([name, description.length > 10]).toEqual([name, true])
})

test('every rule, on any text: a span within it, which alone gives the same value', () => {
  const piece = fc.constantFrom(
    '(A)',
    'B.',
    '18',
    '-3.50',
    '$1,000',
    ' ',
    '\n',
    'yes',
    'No',
    'the answer is ',
    'True',
    '####',
    ')',
    'fig',
    '.',
  )
  const text = fc.oneof(
    fc.array(piece, { maxLength: 8 }).map(pieces => pieces.join('')),
    fc.string({ maxLength: 30 }),
  )
  fc.assert(
    fc.property(
      text,
      fc.constantFrom(...extractionRules.values()),
      fc.constantFrom('', animals, words),
      (text, rule, question) => {
        const match = rule.find(text, question)
        if (match === undefined) return
        expect(match.start).toBeGreaterThanOrEqual(0)
        expect(match.end).toBeGreaterThan(match.start)
        expect(match.end).toBeLessThanOrEqual(text.length)
        const span = text.slice(match.start, match.end)
        if (rule === rules.number || rule === rules.lastNumber) expect(normalNumber(span)).toBe(match.value)
        // A calculation, whose result is the answer.
        if (rule === rules.hashNumber) expect(rule.find(`#### ${span}`, question)?.value).toBe(match.value)
      },
    ),
    { numRuns: 2000 },
  )
})

test('numbers: a normal form is its own, and what JavaScript prints comes back', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 0, max: 4 }), (value, zeros) => {
      const text = `${value.toLocaleString('en-US')}.${'0'.repeat(zeros + 1)}`
      expect(normalNumber(text)).toBe(String(value))
      expect(rules.lastNumber.find(`it is ${text}!`, '')?.value).toBe(String(value))
      expect(normalNumber(normalNumber(text)!)).toBe(String(value))
    }),
  )
})

test('long hostile texts are read in little time', () => {
  for (const part of ['(A', '####', '1,', '$', '- ', 'answer is ', '"*', '([', 'not '])
    for (const rule of extractionRules.values()) {
      const started = performance.now()
      rule.find(part.repeat(20_000), animals)
      expect([part, rule.name, performance.now() - started < 1000]).toEqual([part, rule.name, true])
    }
})
