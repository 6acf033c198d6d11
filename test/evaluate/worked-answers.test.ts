import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { extractAnswer, labelRule, normalNumber } from '../../src/evaluate/answers/extraction.js'
import { gsm8k, sameNumber } from '../../src/evaluate/tasks/gsm8k.js'

interface Worked {
  readonly text: string
  /** What a reader takes from it. */
  readonly answer: string
  /** The rule that reads it, and where it stands. */
  readonly rule: string
  readonly found: string
}

const textsOf = (name: string): Worked[] =>
  readFileSync(`test/fixtures/evaluate/${name}.jsonl`, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Worked)

const read = (text: string) => extractAnswer(text, gsm8k.filters[0].rules)

describe('the number that a worked solution comes to', () => {
  // The rule was made with the first set in view. The second was written before it was read with the rule, and the rule left as it was.
  test.each([
    ['worked-answers', 172, []],
    // The reader's is 9.
    ['worked-answers-held-out', 88, [' I think the answer is 8, I mean 9.']],
  ])('%s: a reader agrees on all of the texts but these', (name, count, misread) => {
    const texts = textsOf(name)
    expect(texts).toHaveLength(count)
    const wrong = texts.filter(({ text, answer }) => read(text)?.value !== normalNumber(answer))
    expect(wrong.map(({ text }) => text)).toEqual(misread)
    for (const { text, rule, found } of texts) {
      const match = read(text)!
      expect({ text, rule: match.rule, found: text.slice(match.start, match.end) }).toEqual({ text, rule, found })
      // White space decides nothing.
      expect(read(text.replaceAll(' ', '  '))).toMatchObject({ value: match.value, rule })
    }
  })

  test.each([
    ['So the answer is 5 + 3 = 8.', '8', '8'],
    ['The answer is 5 + 3.', '8', '5 + 3'],
    ['He made $65,000.', '65000', '$65,000'],
    ['The answer is 3 hours and 20 minutes, that is 200 minutes.', '200', '200'],
    ['The answer is not 15 but 16.', '16', '16'],
    ['The answer is 7. Check: 7 * 3 = 21.', '7', '7'],
    ['**Answer: \\$21 a day**', '21', '$21'],
    ['Half of it is left: #### 0.50', '0.5', '0.50'],
    ['#### 1/2', '0.5', '1/2'],
    ['I do not know', undefined, ''],
  ])('%j is %j', (text, value, span) => {
    const match = read(text)
    expect(match?.value).toBe(value)
    if (match !== undefined) expect(text.slice(match.start, match.end).trim()).toBe(span)
  })

  test('is found in long hostile texts without delay', () => {
    const started = performance.now()
    expect(read(`\\boxed{${'.'.repeat(200_000)}x 5}`)?.value).toBe('5')
    expect(performance.now() - started).toBeLessThan(3000)
  })

  test('is how GSM8K is read', () => {
    const [filter] = gsm8k.filters
    const extracted = extractAnswer(' 16 - 3 - 4 = <<16-3-4=9>>9 eggs. She makes 9 * 2 = $18.', filter.rules)!
    expect(extracted).toMatchObject({ rule: 'last-result', value: '18' })
    expect(filter.score(extracted.value, '18', '')).toBe(true)
    expect(sameNumber('18.0', '18')).toBe(true)
  })
})

describe('labels that are denied', () => {
  const rule = labelRule(['nurse', 'teacher', 'not sure'])
  test.each([
    ['She is not a nurse.', undefined],
    ['She is not a nurse but a teacher.', 'teacher'],
    ["He isn't really a teacher, he is a nurse", 'nurse'],
    ['a nurse rather than a teacher', 'nurse'],
    ['neither a nurse nor a teacher', undefined],
    ['I am not sure', 'not sure'],
    ['Not everyone is kind, but the nurse is', 'nurse'],
    ['nurse, not teacher', 'nurse'],
  ])('%j is %j', (text, value) => expect(rule.find(text, '')?.value).toBe(value))

  test('the last that is not denied', () => {
    expect(labelRule(['nurse', 'teacher'], 'last').find('a nurse, not a teacher', '')?.value).toBe('nurse')
  })
})
