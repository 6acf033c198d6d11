import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { readRecords } from '../../src/data/read.js'
import { originOf } from '../../src/data/readers/records.js'
import { namedColumns } from '../../src/data/task-columns.js'
import { detectTask } from '../../src/data/task-records.js'
import { generationMetrics, scoreGeneration, scoreGenerations } from '../../src/evaluate/generations.js'
import { answerShape, normalAnswer } from '../../src/evaluate/tasks/bbh.js'
import {
  bbh,
  bbhTasks,
  classification,
  cutAtStop,
  freeText,
  gsm8k,
  presets,
  promptTemplate,
  taskFor,
} from '../../src/evaluate/tasks/index.js'
import { parseConfig } from '../../src/train/config.js'
import { problem, problemOf } from '../support/problem.js'

const folder = mkdtempSync(join(tmpdir(), 'gradprompt-tasks-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function file(name: string, content: unknown): string {
  const path = join(folder, name)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

const worked = [
  { question: 'How many figs?', answer: 'He has 2+2 = <<2+2=4>>4 figs.\nAnd 1,000 more.\n#### 1,004' },
  { question: 'How much?', answer: 'Nothing less.\n#### -7.5' },
]
const gsm8kFile = file('gsm8k.jsonl', worked.map(row => JSON.stringify(row)).join('\n'))
const bbhFile = file('navigate.json', { canary: 'x', examples: [{ input: 'Do you return?', target: 'No' }] })

describe('data.task', () => {
  test('gsm8k: the final number alone, and the rationale', async () => {
    const { records, columns, task } = await readRecords(gsm8kFile, { task: 'gsm8k' })
    expect(records).toEqual([
      { question: 'How many figs?', answer: '1004', rationale: 'He has 2+2 = <<2+2=4>>4 figs.\nAnd 1,000 more.' },
      { question: 'How much?', answer: '-7.5', rationale: 'Nothing less.' },
    ])
    expect([columns, task]).toEqual([['question', 'answer', 'rationale'], 'gsm8k'])
    expect(originOf(records[1]!, 1)).toBe(`${gsm8kFile}:2`)
  })

  test('bbh: question and answer', async () => {
    const { records, columns } = await readRecords(bbhFile, { task: 'bbh' })
    expect(records).toEqual([{ question: 'Do you return?', answer: 'No' }])
    expect(columns).toEqual(['question', 'answer'])
  })

  test('a file that was converted already stays as it is; other columns stay', async () => {
    const rows = [{ question: 'a', answer: '4', rationale: 'b', id: '7' }]
    expect((await readRecords(file('c.json', rows), { task: 'gsm8k' })).records).toEqual(rows)
    expect((await readRecords(file('d.json', rows), { task: 'bbh' })).records).toEqual(rows)
    const { records } = await readRecords(file('e.json', [{ input: 'a', target: 'b', id: 7 }]), { task: 'bbh' })
    expect(records).toEqual([{ question: 'a', answer: 'b', id: '7' }])
  })

  test('is guessed where a column is needed that only the benchmark has', async () => {
    const needed = namedColumns({ template: [{ role: 'user', content: '{question}' }], answer: ' {answer}' })
    expect(needed).toEqual(['question', 'answer'])
    expect(await readRecords(bbhFile, { needed })).toMatchObject({ task: 'bbh', columns: needed })
    expect((await readRecords(bbhFile, { needed: ['input', 'target'] })).columns).toEqual(['input', 'target'])
    expect((await readRecords(bbhFile)).columns).toEqual(['input', 'target'])
    expect((await readRecords(gsm8kFile, { needed })).records).toEqual(worked)
    expect((await readRecords(gsm8kFile, { needed: [...needed, 'rationale'] })).records[0]).toMatchObject({ answer: '1004' })
    expect((await readRecords(gsm8kFile, { needed: ['rationale', 'topic'] })).records).toEqual(worked)
  })

  test('is known for certain, or not at all', () => {
    expect(detectTask({ columns: ['question', 'answer'], records: worked })).toBe('gsm8k')
    expect(
      detectTask({ columns: ['question', 'answer'], records: [...worked, { question: 'a', answer: '####' }] }),
    ).toBeUndefined()
    expect(detectTask({ columns: ['input', 'target', 'id'], records: [] })).toBeUndefined()
  })

  test.each([
    ['gsm8k', [{ question: 'a', answer: 'plain text' }], 'invalid-data'],
    ['gsm8k', [{ question: 'a' }], 'missing-column'],
    ['bbh', [{ input: 'a' }], 'missing-column'],
  ] as const)('%s of %j is refused', async (task, rows, code) => {
    const path = file('bad.json', rows)
    const error = await problemOf(readRecords(path, { task }))
    expect(error).toMatchObject({ code, exitCode: 2 })
    expect(error.message).toContain(`${path} row 1`)
  })

  test('is an option of the config', () => {
    const config = { data: { train: 'a.jsonl', task: 'gsm8k' }, template: '{question}', answer: ' {answer}' }
    expect(parseConfig(config).data.task).toBe('gsm8k')
    expect(problem(() => parseConfig({ ...config, data: { train: 'a', task: 'gsm' } })).code).toBe('invalid-config')
  })
})

describe('prompts', () => {
  const examples = [{ question: 'Is {it}?', answer: '3', rationale: '1 + 2 = 3' }]

  test('zero-shot and few-shot, with braces in the examples', () => {
    expect(promptTemplate(gsm8k)).toBe('Question: {question}\nAnswer:')
    expect(promptTemplate(gsm8k, examples)).toBe(
      'Question: Is {{it}}?\nAnswer: 1 + 2 = 3\n#### 3\n\nQuestion: {question}\nAnswer:',
    )
    expect(promptTemplate(presets['bbh-fewshot']('word_sorting'), examples)).toBe(
      'Sort a list of words.\n\nQ: Is {{it}}?\nA: 3\n\nQ: {question}\nA:',
    )
  })

  test('in a chat each example is a turn, and the description the system message', () => {
    const task = {
      ...presets['bbh-fewshot']('word_sorting'),
      template: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Q: {question}' },
      ] as const,
    }
    expect(promptTemplate(task, examples)).toEqual([
      { role: 'system', content: 'Sort a list of words.\nBe brief.' },
      { role: 'user', content: 'Q: Is {{it}}?' },
      { role: 'assistant', content: '3' },
      { role: 'user', content: 'Q: {question}' },
    ])
  })

  test('an example without a column is refused', () => {
    expect(problem(() => promptTemplate(gsm8k, [{ question: 'a', answer: '1' }])).code).toBe('missing-column')
  })

  test('text ends at the first stop string', () => {
    expect(cutAtStop('a Q: b\n\nc', ['\n\n', 'Q:', ''])).toBe('a ')
    expect(cutAtStop('a b', ['Q:'])).toBe('a b')
  })
})

describe('BIG-Bench Hard', () => {
  const options = 'Which?\nOptions:\n(A) Monsters, Inc\n(B) Up'

  // A task, its question, the right answer, a text, what is read out of it and by which rule, and whether it is right.
  test.each([
    ['date_understanding', options, '(B)', ' (B)', '(B)', 'option-letter', true],
    [
      'date_understanding',
      options,
      '(B)',
      'It looks like (A), but the answer is (B).',
      '(B)',
      'after-phrase/option-letter',
      true,
    ],
    ['date_understanding', options, '(B)', 'Answer: B.', '(B)', 'after-phrase/bare-letter', true],
    ['date_understanding', options, '(B)', ' Up', '(B)', 'option-text', true],
    ['date_understanding', options, '(B)', 'I cannot say', undefined, undefined, false],
    ['movie_recommendation', options, 'Monsters, Inc', ' (A)', '(A)', 'option-letter', true],
    ['navigate', 'Do you return?', 'No', ' no, never', 'no', 'yes-no', true],
    ['causal_judgement', 'Did it?\nOptions:\n- Yes\n- No', 'Yes', 'No. The answer is Yes', 'yes', 'after-phrase/yes-no', true],
    ['sports_understanding', 'Is it plausible?', 'no', 'That is not plausible', 'no', 'plausible', true],
    ['web_of_lies', 'Does Ann tell the truth?', 'Yes', 'Ann tells the truth.', 'yes', 'tells-the-truth', true],
    ['boolean_expressions', 'not True is', 'False', 'False', 'false', 'true-false', true],
    ['formal_fallacies', 'Is it valid?', 'invalid', 'It is not valid.', 'invalid', 'valid-invalid', true],
    ['object_counting', 'How many?', '15', ' 15.0', '15', 'first-number', true],
    ['multistep_arithmetic_two', '2 * 3 =', '-1450', 'the answer is -1,450.', '-1450', 'answer-result', true],
    ['word_sorting', 'Sort: List: pear fig', 'fig pear', ' fig, pear', 'fig pear', 'word-list', true],
    ['dyck_languages', 'Complete: ( [', '] )', '])', '] )', 'brackets', true],
    ['unknown_task', 'Say.', 'An Owl', 'an owl.\nOr not.', 'an owl', 'first-line', true],
  ] as const)('%s: %s', async (name, question, answer, text, extracted, rule, correct) => {
    const result = await scoreGeneration(bbh(name), { record: { question, answer }, index: 3, text })
    expect(result).toMatchObject({ index: 3, text, answer, score: Number(correct), correct })
    expect([result.extracted, result.rule]).toEqual([extracted, rule])
    expect(result).not.toHaveProperty('scores')
  })

  test('with reasoning the last mention counts', async () => {
    const row = { record: { question: options, answer: '(B)' }, index: 0, text: ' (A) is wrong. (B) is left.' }
    expect(await scoreGeneration(bbh('snarks'), row)).toMatchObject({ extracted: '(A)' })
    expect(await scoreGeneration(bbh('snarks', { reasoning: true }), row)).toMatchObject({ extracted: '(B)' })
  })

  test('the 27 tasks have a shape; of others the answers tell it', () => {
    expect(bbhTasks).toHaveLength(27)
    for (const name of bbhTasks) expect(answerShape(name)).not.toBe('text')
    const rows = (...answers: string[]) => answers.map(answer => ({ answer }))
    expect(answerShape('mine', rows('(A)', '(B)'))).toBe('option')
    expect(answerShape('mine', rows('Yes', 'no'))).toBe('yes-no')
    expect(answerShape('mine', rows('12', '-3', '1,000'))).toBe('number')
    expect(answerShape('mine', rows(') ]', '>'))).toBe('brackets')
    expect(answerShape('mine', rows('12', 'twelve'))).toBe('text')
    expect(answerShape('constructor')).toBe('text')
  })

  test('normal forms', () => {
    expect(normalAnswer('B', 'option', options)).toBe('(B)')
    expect(normalAnswer('Inc', 'option', options)).toBe('Inc')
    expect(normalAnswer(' 5.00', 'number', '')).toBe('5')
  })

  test('tasks are found by the name of the file', () => {
    const at = (path: string) => ({ path, rows: [] })
    expect(taskFor('bbh', at('data/navigate.json')).name).toBe('bbh/navigate')
    expect(taskFor('lm-eval/bbh-zeroshot', at('data/navigate.json')).name).toBe('bbh-zeroshot/navigate')
    expect(taskFor('lm-eval/gsm8k', at('any.jsonl'))).toBe(presets.gsm8k)
    expect(problem(() => taskFor('lm-eval/bbh-zeroshot', at('navigat.json')))).toMatchObject({
      code: 'unknown-task',
      hint: 'did you mean navigate?',
    })
    expect(problem(() => taskFor('gsm8', at('a')))).toMatchObject({ code: 'unknown-task', hint: 'did you mean gsm8k?' })
  })
})

describe('GSM8K', () => {
  test.each([
    [' 2+2 is 4.\n#### 1,004', 'hash-number', true],
    [' The answer is 1004 figs, not 7.', 'answer-result', true],
    [' 1000 + 4 = $1,004.00.', 'last-result', true],
    [' 1005', 'last-result', false],
    [' So 1004\n\nQuestion: next?\nAnswer: 5', 'last-result', true],
  ])('%j', async (text, rule, correct) => {
    expect(await scoreGeneration(gsm8k, { record: { question: 'q', answer: '1004' }, index: 0, text })).toMatchObject({
      rule,
      correct,
    })
  })
})

describe('classification and free text', () => {
  const labels = {
    column: 'label',
    words: new Map([
      ['0', 'bad'],
      ['1', 'good'],
    ]),
    candidates: ['bad', 'good'],
  }
  const task = classification(labels, { template: 'Review: {text}\nSentiment:', answer: ' {label}' })

  test('the first label word counts, in any case', async () => {
    const score = (text: string) => scoreGeneration(task, { record: { text: 'fine', label: '1' }, index: 0, text })
    expect(await score(' Good, not bad')).toMatchObject({ extracted: 'good', rule: 'label', correct: true, answer: 'good' })
    expect(await score(' bad')).toMatchObject({ correct: false })
    expect(await score(' goodness')).toMatchObject({ correct: false, score: 0 })
  })

  test('a label outside the set is refused', async () => {
    const row = { record: { text: 'fine', label: '2' }, index: 0, text: 'good' }
    expect(await problemOf(scoreGeneration(task, row))).toMatchObject({ code: 'unknown-label' })
  })

  test('free text has three scores', async () => {
    const free = freeText({ template: '{q}', answer: ' {a}', answerColumn: 'a', extraction: ['after-phrase'] })
    const rows = ['The answer is the owl', 'I pass'].map((text, index) => ({ record: { q: 'x', a: 'an owl' }, index, text }))
    const results = await scoreGenerations(free, rows)
    expect(results[0]).toMatchObject({ correct: false, scores: { exactMatch: 0, f1: 1, rougeL: 0.5 } })
    expect(results[1]).toMatchObject({ correct: false, scores: { exactMatch: 0, f1: 0, rougeL: 0 } })
    const { metrics, unextracted } = generationMetrics(results, { seed: 1 })
    expect(metrics.f1!.value).toBe(0.5)
    expect(metrics.rougeL!.value).toBe(0.25)
    expect(metrics.rougeL!.high).toBeGreaterThan(metrics.rougeL!.value)
    expect(unextracted).toEqual([1])
  })
})

test('figures: accuracy with Wilson’s interval, what each rule found, and what none did', async () => {
  const texts = [' #### 4', ' 4', ' 5', ' none', ' #### 4']
  const results = await scoreGenerations(
    gsm8k,
    texts.map((text, index) => ({ record: { question: 'q', answer: '4' }, index, text })),
  )
  const figures = generationMetrics(results, { seed: 1 })
  expect(figures).toMatchObject({ rows: 5, unextracted: [3], rules: { 'hash-number': 2, 'last-result': 2 }, errors: [] })
  expect(figures.metrics.accuracy!.value).toBe(0.6)
  expect(figures.metrics.accuracy!.low).toBeCloseTo(0.2307, 4)
  expect(figures.metrics.extracted!.value).toBe(0.8)
  expect(problem(() => generationMetrics([], { seed: 1 })).code).toBe('no-rows')
})
