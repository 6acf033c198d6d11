import { expect, test } from 'vitest'
import { measured } from '../../src/api/hints/measure.js'
import { RowBuilder } from '../../src/data/rows/rows.js'
import { resolveAnswerEnd } from '../../src/data/texts/answer-end.js'
import { compileMessages } from '../../src/data/texts/rendering.js'
import { loadTokenizer } from '../../src/formats/tokenizer.js'
import { renderInput } from '../../src/generate/input.js'
import { bestFixed, bestOf, type Candidate, leaks, logShare } from '../../src/hints/choice.js'
import {
  askColumn,
  askFor,
  hintColumn,
  hintIn,
  hintKinds,
  policyTemplate,
  requireSay,
  said,
  withHint,
} from '../../src/hints/form.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { told } from '../../src/strategies/inputs.js'
import { problemOf } from '../support/problem.js'

/** Which texts are learned from, how they stand before a text, and what is measured: arithmetic and words, without a model. */

test('a text says an answer by its whole words, and not by a part of one', () => {
  expect(leaks('a thing of beauty', ['in'])).toBe(false)
  expect(leaks('a thing in beauty', ['in'])).toBe(true)
  expect(leaks('it is Sports.', [' sports'])).toBe(true)
  expect(leaks('sportsmanship', ['sports'])).toBe(false)
  expect(leaks('the New-York times', ['new york'])).toBe(true)
  expect(leaks('york is new', ['new york'])).toBe(false)
  expect(leaks('18 apples', ['180', '8'])).toBe(false)
  expect(leaks('take 18, then', ['18'])).toBe(true)
  expect(leaks('c++ is', ['+'])).toBe(false)
  expect(leaks('1 + 2', [' + '])).toBe(true)
  expect(leaks('anything', ['', ' '])).toBe(false)
})

// p(y | z) of a table: u is what the answer's log-probability gains.
const base = Math.log(0.25)
const table = { a: 0.3, b: 0.9, c: 0.5, worse: 0.1 } as const
const ofTable = (hint: keyof typeof table, leaks = false): Candidate => ({ hint, gain: Math.log(table[hint]) - base, leaks })

test('the argmax of the table is chosen; no text gains nothing; where none gains there is none', () => {
  expect(bestOf([ofTable('a'), ofTable('b'), ofTable('c'), ofTable('worse')])!.hint).toBe('b')
  expect(bestOf([ofTable('a'), ofTable('b', true), ofTable('c')])!.hint).toBe('c')
  const none = { hint: '', gain: 0, leaks: false }
  expect(bestOf([none, ofTable('worse')])).toBeUndefined()
  expect(bestOf([{ ...ofTable('a'), gain: 0 }])).toBeUndefined()
  // Of equal ones the first.
  expect(bestOf([ofTable('a'), { ...ofTable('a'), hint: 'as good' }])!.hint).toBe('a')
})

test('the one text for all rows has the highest mean gain; none where no text gains', () => {
  const texts = [
    { hint: 'of one row', gains: [3, -2, -2] },
    { hint: 'of all', gains: [0.5, 0.5, 0.2] },
  ]
  expect(bestFixed(texts)).toEqual({ hint: 'of all', gain: expect.closeTo(0.4, 12) })
  expect(bestFixed([{ hint: 'of one row', gains: [3, -2, -2] }])).toEqual({ hint: '', gain: 0 })
  expect(bestFixed([])).toEqual({ hint: '', gain: 0 })
})

test('the share of a class is a log-probability among all', () => {
  expect(logShare([Math.log(2), Math.log(6)], 1)).toBeCloseTo(Math.log(0.75), 12)
})

test('a hint is the first line with a word on it, without what stands before each anyway', () => {
  const { keywords, role } = hintKinds
  expect(hintIn('\n  \nkeywords:  goal,\tball \nmore', keywords)).toBe('goal, ball')
  expect(hintIn('Keywords:\ngoal', keywords)).toBe('goal')
  expect(hintIn('You are a judge.', role)).toBe('You are a judge.')
  expect(hintIn(' \n--\n', role)).toBe('')
  expect(said(keywords, 'a {b}')).toBe('Keywords: a {b}')
})

test('a hint stands in a template where it stands in an input', () => {
  const { keywords } = hintKinds
  const record = { text: 'x {y}', hint: 'a {b}' }
  const text = 'Review: {text} {{}}\nSentiment:'
  const shown = compileMessages(withHint(text, keywords)).render(record, 0)
  expect({ prompt: shown }).toEqual(told({ prompt: 'Review: x {y} {}\nSentiment:' }, said(keywords, record.hint)))
  const messages = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: '{text}' },
  ] as const
  const conversation = { messages: [messages[0], { role: 'user', content: record.text }] }
  const rendered = compileMessages(withHint(messages, keywords)).render(record, 0)
  expect({ messages: rendered }).toEqual(told(conversation, said(keywords, record.hint)))
})

test('a policy learns in the form that it is asked in', async () => {
  const { tokenizer: spec } = await openCheckpoint('models/smollm2-135m-instruct')
  const tokenizer = await loadTokenizer(spec)
  expect(tokenizer.chatTemplate).toBeDefined()
  const row = { [askColumn]: askFor(hintKinds.role, 'a text {with} braces'), [hintColumn]: 'You are a judge.' }
  for (const [isChat, input] of [
    [true, { messages: [{ role: 'user', content: row[askColumn]! }] }],
    [false, { prompt: `${row[askColumn]}\n` }],
  ] as const) {
    const { text, addSpecialTokens } = renderInput(tokenizer, input)
    const asked = tokenizer.encode(text, { addSpecialTokens })
    const template = policyTemplate(isChat)
    const end = resolveAnswerEnd({ answerEnd: 'auto', template }, tokenizer)
    const builder = new RowBuilder(tokenizer, { template, answer: '{hint}', labels: undefined, contextLength: 512, numVirtualTokens: 0, truncate: false, end }) // biome-ignore format: one line
    expect(builder.scoring(row, 0).context).toEqual(asked)
    // What ends a hint that was learned ends one that is written.
    expect(tokenizer.endTokenIds).toContain(builder.scoring(row, 0).candidates[0]!.ids.at(-1))
  }
})

test('a template that has no place for a hint, or has one already, and words without one are refused', async () => {
  const { keywords } = hintKinds
  const code = async (call: () => unknown) => (await problemOf(Promise.resolve().then(call))).code
  expect(await code(() => withHint('{hint} {text}', keywords))).toBe('unsupported-template')
  expect(await code(() => withHint([{ role: 'system', content: '{text}' }], keywords))).toBe('unsupported-template')
  for (const say of ['Hint:', '{hint} {text}', 'Hint: {hnt}']) expect(await code(() => requireSay(say))).toBe('invalid-option')
})

test('every way is measured on the same rows, and the policy is held against each', () => {
  const condition = (scores: readonly number[], rest: object = {}) => ({
    scores: scores.map(score => ({ score, correct: score > -1 })),
    ...{ tokens: 0, calls: 1, leaked: 0, ...rest },
  })
  const none = condition([-2, -2, -2, -0.5])
  const fixed = condition([-1.5, -1.5, -1.5, -0.5])
  const policy = condition([-0.5, -0.5, -3, -0.5], { tokens: 40, calls: 2, leaked: 1 })
  const result = measured({ none, fixed, untrained: none, policy }, 13)
  expect(result.rows).toBe(4)
  expect(result.conditions.policy).toMatchObject({ calls: 2, tokens: 10, leaked: 1 })
  expect(result.conditions.policy.score.value).toBeCloseTo(-1.125, 12)
  expect(result.conditions.policy.accuracy!.value).toBe(0.75)
  expect(result.conditions.policy.raised!.value).toBe(0.5)
  expect(result.conditions.none).not.toHaveProperty('raised')
  expect(result.differences.none.score.value).toBeCloseTo(0.5, 12)
  expect(result.differences.none.accuracy!.value).toBeCloseTo(0.5, 12)
  expect(result.differences.fixed.score.value).toBeCloseTo(0.125, 12)
  const same = measured({ none, fixed: none, untrained: none, policy: none }, 13).differences.none
  expect(same.score).toEqual({ value: 0, low: 0, high: 0 })
})
