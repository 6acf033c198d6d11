import { describe, expect, test } from 'vitest'
import {
  type ExtractionRule,
  extractAnswer,
  extractionRule,
  extractionRules,
  labelRule,
  optionsOf,
  rules,
} from '../../src/evaluate/answers/extraction.js'
import { problem } from '../support/problem.js'

/** Where one reading of an answer ends and the next begins: words within words, options that begin others, texts without a question. */

const readBy = (rule: ExtractionRule, text: string, question = '') => rule.find(text, question)?.value

describe('rules by their names', () => {
  test('without a question rules are asked with none', () => {
    const asked: string[] = []
    const rule = { name: 'own', description: '', find: (_: string, question: string) => void asked.push(question) }
    expect(extractAnswer('x', [rule as unknown as ExtractionRule])).toBeUndefined()
    expect(asked).toEqual([''])
  })

  test('each stands under its own, and another name is refused with what is meant', () => {
    for (const [name, rule] of extractionRules) expect([extractionRule(name), rule.name]).toEqual([rule, name])
    expect(extractionRules.size).toBe(Object.keys(rules).length)
    expect(extractionRules.get('word-list')).toBe(rules.wordList)
    expect(readBy(extractionRule({ pattern: 'x(\\d)' }), 'a x7')).toBe('7')
    expect(readBy(extractionRule('after-phrase/last-number'), 'It is 3. The answer is 4 or 5')).toBe('5')
    for (const wrong of ['last-numbr', 'so after-phrase/last-number', 'after-phrase/nothing'])
      expect(problem(() => extractionRule(wrong))).toMatchObject({ code: 'unknown-rule' })
    const error = problem(() => extractionRule('last-numbr'))
    expect(error.message).toContain('there is no such extraction rule')
    expect(error.expected).toContain(', or after-phrase/ and one of them')
  })
})

describe('options', () => {
  test('are those that begin a line, each with its words', () => {
    expect(optionsOf('Which?\n(A) a red one \n  (B)b\n\t(C)\nx(D) no\nx (E) no')).toEqual([
      { letter: 'A', text: 'a red one' },
      { letter: 'B', text: 'b' },
      { letter: 'C', text: '' },
    ])
  })

  test.each([
    ['B', '(B)'],
    ['B.', '(B)'],
    ['**B**', '(B)'],
    ['B  ', '(B)'],
    ['B\nbecause', '(B)'],
    ['B \nbecause', '(B)'],
    ['option  B.', '(B)'],
    ['choice B', '(B)'],
    ['option:B.', undefined],
    ['Because', undefined],
    ['Bx\n', undefined],
    ['B is', undefined],
  ])('%j as a letter alone is %j', (text, value) => {
    expect(readBy(rules.bareLetter, text)).toBe(value)
    expect(readBy(rules.bareLetter, text, '(A) one\n(C) other')).toBeUndefined()
  })

  test('words count where they are those of one option', () => {
    expect(readBy(rules.optionText, 'a quail', '(A)\n(B) quail')).toBe('(B)')
    expect(readBy(rules.optionText, 'The red car.', '(A) red\n(B) red car')).toBe('(B)')
    expect(readBy(rules.optionText, 'The red car.', '(A) red car\n(B) red')).toBe('(A)')
    expect(readBy(rules.optionText, 'red, or the car', '(A) red\n(B) car')).toBeUndefined()
    expect(readBy(rules.optionText, 'red', 'no options')).toBeUndefined()
    expect(readBy(rules.optionText, 'red', '(A) red\n(B) Red')).toBeUndefined()
  })
})

describe('words', () => {
  test('are words of their own', () => {
    expect(readBy(rules.yesNo, 'eyes: no')).toBe('no')
    expect(readBy(rules.yesNo, 'nothing but yes')).toBe('yes')
    expect(readBy(rules.trueFalse, 'untrue, so false')).toBe('false')
  })

  test('labels: the first or the last, the longest where one begins another, signs as they are', () => {
    expect(readBy(labelRule(['x', 'y']), 'y, then x')).toBe('y')
    expect(readBy(labelRule(['x', 'y'], 'last'), 'y, then x')).toBe('x')
    for (const words of [
      ['sad', 'sad but true'],
      ['sad but true', 'sad'],
    ])
      expect(readBy(labelRule(words), 'It is sad but true.')).toBe('sad but true')
    expect(readBy(labelRule(['c', 'c++']), 'It is c++ here')).toBe('c++')
    expect(readBy(labelRule(['a.b']), 'axb')).toBeUndefined()
    expect(labelRule(['a', 'b'])).toMatchObject({
      name: 'label',
      description: 'the first of "a", "b", as a word of its own that is not denied',
    })
    expect(labelRule(['a'], 'last')).toMatchObject({
      name: 'last-label',
      description: expect.stringContaining('the last of "a"'),
    })
  })

  test('are denied by what stands right before them, wherever they stand', () => {
    const rule = labelRule(['nurse'])
    expect(readBy(rule, `She is not a nurse${'.'.repeat(100)}`)).toBeUndefined()
    expect(readBy(rule, `${'so '.repeat(40)}she is not a nurse`)).toBeUndefined()
    expect(readBy(rule, 'not a teacher, a nurse')).toBe('nurse')
    expect(readBy(rule, "isn't really a *nurse*")).toBeUndefined()
    expect(readBy(rule, 'a knot, a nurse')).toBe('nurse')
  })

  test('of a list: in the order of their last mention', () => {
    expect(readBy(rules.wordList, 'apple pear', 'Sort. List: pear  apple')).toBe('apple pear')
    expect(readBy(rules.wordList, 'pear apple: apple pear', 'List: pear apple')).toBe('apple pear')
    expect(readBy(rules.wordList, 'red-car red', 'List: red red-car')).toBe('red-car red')
    expect(readBy(rules.wordList, 'red-car red', 'List: red-car red')).toBe('red-car red')
    for (const question of ['List: ', 'none']) expect(readBy(rules.wordList, 'x', question)).toBeUndefined()
  })

  test('brackets: one is enough', () => {
    expect(readBy(rules.brackets, 'a ( b')).toBe('(')
    expect(readBy(rules.brackets, 'so ] ) }\n> and (')).toBe('] ) } >')
  })
})
