import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { answerSpace, answerSpaceNotices } from '../../src/data/describe/answer-space.js'
import { describeColumns } from '../../src/data/describe/columns.js'
import { describeData, lengthsOf } from '../../src/data/describe/describe.js'
import { learnedRows } from '../../src/data/describe/evaluated.js'
import { completeTexts, suggestTask } from '../../src/data/describe/suggest.js'
import { readRecords, tableOf } from '../../src/data/read.js'
import { readTask } from '../../src/data/task.js'
import { findLabels } from '../../src/data/texts/labels.js'
import { parseConfig } from '../../src/train/config.js'
import { problemOf } from '../support/problem.js'

const folder = mkdtempSync(join(tmpdir(), 'gradprompt-describe-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (name: string, content: string) => {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}

describe('rows in figures', () => {
  const train = [
    { text: 'a', label: '0' },
    { text: 'b', label: '1' },
    { text: 'a', label: '1' },
    { text: 'a', label: '0' },
  ]
  const dev = [{ text: 'b', label: '0' }]

  test('classes, repeats, overlaps and lengths', () => {
    const labels = findLabels(' {label}', { 0: 'no', 1: 'yes', 2: 'perhaps' }, train)
    const lengthOf = ({ text }: { text?: string }, index: number) => ({
      tokens: 10 + index,
      answerTokens: 1,
      truncated: text === 'b',
    })
    const options = { template: '{text}', answer: ' {label}', labels, parts: { train, dev, test: [] } }
    expect(describeData({ ...options, lengthOf: lengthOf as never, measure: 3 })).toEqual({
      parts: {
        train: {
          rows: 4,
          classes: [
            { label: 'no', rows: 2 },
            { label: 'yes', rows: 2 },
            { label: 'perhaps', rows: 0 },
          ],
          answers: 2,
          repeated: { rows: 2, conflicting: 1 },
          tokens: { least: 10, median: 11, most: 12 },
          answerTokens: { least: 1, median: 1, most: 1 },
          cut: 1,
          measured: 3,
        },
        dev: expect.objectContaining({ rows: 1, cut: 1, repeated: { rows: 0, conflicting: 0 } }),
        test: expect.objectContaining({ rows: 0, answers: 0 }),
      },
      overlaps: [{ part: 'dev', other: 'train', rows: 1, conflicting: 1 }],
    })
    expect(describeData({ ...options, labels: undefined }).parts.train).not.toHaveProperty('classes')
    expect(lengthsOf([5, 1, 3])).toEqual({ least: 1, median: 3, most: 5 })
  })

  test('columns: what they hold, and what is missing', () => {
    const rows = [
      { text: 'x', n: 1, l: [1], m: [{ role: 'user', content: 'a' }] },
      { text: ' ', n: 2.5, l: [2], m: [{ role: 'user', content: 'b' }] },
      { text: 'x', n: null, l: [3] },
    ]
    const same = Array.from({ length: 4 }, () => ({ m: rows[0]!.m, label: 'a' }))
    expect(describeColumns(tableOf(same)).map(({ values }) => values?.length)).toEqual([undefined, 1])
    expect(describeColumns(tableOf(rows))).toMatchObject([
      { name: 'text', kind: 'text', different: 2, empty: 1, nulls: 0, absent: 0, length: { least: 1, most: 1 } },
      { name: 'n', kind: 'numbers', nulls: 1, absent: 0 },
      { name: 'l', kind: 'lists or objects' },
      { name: 'm', kind: 'conversations', absent: 1 },
    ])
  })
})

describe('the space before an answer', () => {
  const joining = { encode: (text: string) => text.match(/ ?\S+/g)!.map((_, i) => i) }
  const single = { encode: (text: string) => [...text].map((_, i) => i) }
  const record = { text: 'fine', label: 'good' }
  const said = (template: Parameters<typeof answerSpace>[0]['template'], answer: string, tokenizer = joining) => {
    const space = answerSpace({ template, answer }, record, tokenizer)
    return [space.begins, space.wanted, answerSpaceNotices(space, answer).length]
  }

  test.each([
    ['{text}\nLabel:', '{label}', [false, true, 1]],
    ['{text}\nLabel:', ' {label}', [true, true, 0]],
    ['{text}\nLabel: ', '{label}', [false, true, 1]],
    ['{text}\nLabel:\n', '{label}', [false, null, 0]],
    ['{text} "', '{label}', [false, null, 0]],
    ['{text}\nLabel:', '好', [false, null, 0]],
    [[{ role: 'user' as const, content: '{text}' }], '{label}', [false, false, 0]],
  ])('%j and %j', (template, answer, expected) => expect(said(template, answer)).toEqual(expected))

  test('is no matter to a tokenizer that writes spaces by themselves', () => {
    expect(said('{text}\nLabel:', '{label}', single)).toEqual([false, null, 0])
  })
})

describe('what a file is taken for', () => {
  const suggested = (row: Record<string, unknown>) => {
    const suggestion = suggestTask(tableOf([row, row]))
    return suggestion && [suggestion.template, suggestion.answer, suggestion.certain]
  }
  const turns = [
    { role: 'user', content: 'a' },
    { role: 'assistant', content: 'b' },
  ]

  test.each([
    [{ id: 1, messages: turns }, [[{ role: 'conversation', content: '{messages}' }], '{messages.answer}', true]],
    [{ instruction: 'i', input: 'x', output: 'y' }, ['{instruction}\n{input}\nAnswer:', ' {output}', false]],
    [{ instruction: 'i', output: 'y' }, ['{instruction}\nAnswer:', ' {output}', false]],
    [
      { context: 'c', question: 'q', answers: { text: ['a'], answer_start: [0] } },
      ['{context}\nQuestion: {question}\nAnswer:', ' {answers.text[0]}', false],
    ],
    [{ prompt: 'p', chosen: 'a', rejected: 'b' }, ['{prompt}\n', '{chosen}', false]],
    [{ id: 1, input: { subject: 's', body: 'a long body' }, label: 3 }, ['{input.body}\nLabel:', ' {label}', false]],
    [{ sentence: 's', label: 0 }, ['{sentence}\nLabel:', ' {label}', false]],
    [{ ID: 1, Text: 's', Label: 0 }, ['{Text}\nLabel:', ' {Label}', false]],
    [{ a: 'x', b: 'y', c: 'z' }, undefined],
  ])('%j', (row, expected) => expect(suggested(row)).toEqual(expected))

  test('conversations need no template; other columns get a hint', async () => {
    const chat = file('chat.jsonl', JSON.stringify({ messages: turns }))
    const input = { data: { train: chat }, train: { steps: 3 } }
    const { answer, template } = parseConfig(await completeTexts(input))
    expect([answer, template]).toEqual(['{messages.answer}', [{ role: 'conversation', content: '{messages}' }]])
    expect(await completeTexts({ ...input, template: 'x' })).toEqual({ ...input, template: 'x' })
    expect(await completeTexts({ data: undefined })).toEqual({ data: undefined })
    const train = file('a.csv', 'instruction,output\na,b\n')
    expect(await problemOf(completeTexts({ data: { train, columns: [1], task: 'x' } }))).toMatchObject({
      code: 'missing-template',
      hint: expect.stringContaining('it looks like instructions: template: "{instruction}\\nAnswer:"'),
    })
    for (const [text, hint] of [
      ['a,b,c\n1,2,3\n', `for example template: "{a}\\nC:", answer: " {c}"; npx gradprompt inspect ${folder}`],
      ['a\n1\n', 'both are needed'],
    ] as const) {
      const train = file('odd.csv', text)
      expect((await problemOf(completeTexts({ data: { train } }))).hint).toContain(hint)
    }
  })
})

describe('rows in memory', () => {
  test('are read as those of files', () => {
    const { records, columns } = tableOf([{ a: { b: [1, 'x'] }, c: true, d: null }], ['a.b[1]'])
    expect(records).toEqual([{ a: '{"b":[1,"x"]}', c: 'true', 'a.b[1]': 'x' }])
    expect(columns).toEqual(['a', 'c', 'a.b[1]'])
  })

  test('a prompt learned from some of them is said to be', async () => {
    const train = file('train.csv', 'text,label\na,x\nb,y\nc,x\n')
    const texts = { template: '{text}', answer: ' {label}' }
    const config = parseConfig({ ...texts, data: { train } })
    const learnedFrom = async () => (await readTask(config)).train
    const { records } = await readRecords(file('dev.csv', 'text,label\na,y\nz,x\n'))
    expect(await learnedRows(learnedFrom, records, texts)).toEqual([
      {
        code: 'overlapping-rows',
        message:
          '1 of 2 rows to be scored ask what rows that the prompt was learned from ask as well, 1 of them with another answer',
      },
    ])
    rmSync(train)
    expect(await learnedRows(learnedFrom, records, texts)).toEqual([])
  })
})
