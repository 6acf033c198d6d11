import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { storedConfig } from '../../src/config/stored.js'
import { findOverlaps, labelNotices, rowKeys, textNotices } from '../../src/data/checks.js'
import { readTask } from '../../src/data/task.js'
import { decideLabels, findLabels, labelWord } from '../../src/data/texts/labels.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import { problem, problemOf } from '../support/problem.js'

const rowsOf = (values: readonly string[], times = 1) =>
  Array.from({ length: times }, () => values.map(label => ({ label }))).flat()
const names = (count: number) => Array.from({ length: count }, (_, i) => `intent_${i}`)
const judge = (values: readonly string[], times: number) => {
  const { labels, notice } = decideLabels(' {label}', rowsOf(values, times), {})
  return [labels?.candidates.length, notice?.message] as const
}

describe('classes or free text', () => {
  test.each([
    ['a few names', ['pos', 'neg'], 3, 2],
    ['77 names, four rows each', names(77), 4, 77],
    ['77 names, two rows each', names(77), 2, undefined],
    ['600 names', names(600), 5, undefined],
    [
      'sentences, twice each',
      ['A spider has eight legs.', 'Paris', 'Blue, most of the time.', 'In the south, mostly.'],
      2,
      undefined,
    ],
    ['sentences that many rows share', ['Please call our office today.', 'We will write to you.'], 8, 2],
    ['each once', ['a', 'b', 'c'], 1, undefined],
    ['200 numbers, often', Array.from({ length: 200 }, (_, i) => `${i * 7}`), 4, undefined],
    ['ten numbers', ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10'], 2, 10],
    ['one value', ['a'], 4, 1],
  ])('%s', (_, values, times, classes) => {
    const [found, message] = judge(values, times)
    expect(found).toBe(classes)
    expect(message).toMatch(
      classes === undefined ? /^answers are taken for free text: "label" has / : /^answers are taken for \d+ class/,
    )
    expect(message).toContain(classes === undefined ? 'answerType: classes' : 'answerType: text')
  })

  test('what is set is not judged, nor spoken of', () => {
    const rows = rowsOf(['a', 'b', 'c'])
    expect(decideLabels(' {label}', rows, { answerType: 'classes' })).toMatchObject({ labels: { candidates: ['a', 'b', 'c'] } })
    expect(decideLabels(' {label}', rowsOf(['a'], 9), { answerType: 'text' })).toEqual({ labels: undefined })
    expect(decideLabels(' {label}', rows, { labels: { a: 'x' } }).notice).toBeUndefined()
    expect(findLabels(' {label}', undefined, rows, 'mean', 'classes')?.candidates).toHaveLength(3)
    expect(problem(() => decideLabels('yes', rows, { answerType: 'classes' })).code).toBe('invalid-config')
    expect(problem(() => decideLabels('{label}', rowsOf(names(1001)), { answerType: 'classes' }))).toMatchObject({
      code: 'too-many-classes',
      found: '1001',
    })
  })

  test('runs of earlier versions keep their rule', () => {
    const earlier = (values: string[], times: number) =>
      decideLabels('{label}', rowsOf(values, times), { answerType: null }).labels?.candidates.length
    expect([earlier(names(50), 2), earlier(names(51), 4), earlier(['It is four, he says.'], 2)]).toEqual([50, undefined, 1])
    expect(storedConfig({ data: { train: 'a' } })).toEqual({
      ...{ answerType: null, answerEnd: 'none' },
      data: { train: 'a', splitSeed: null },
    })
    const now = { answerType: 'auto', answerEnd: 'auto', data: { splitSeed: 5 } }
    expect(storedConfig(now)).toEqual(now)
    expect(storedConfig('text')).toBe('text')
  })

  test('text and labels exclude each other', () => {
    const config = {
      data: { train: 'a.tsv', labels: { 0: 'no' } },
      template: '{text}',
      answer: ' {label}',
      answerType: 'text' as const,
    }
    expect(problem(() => parseConfig(config)).message).toContain('answerType: text and data.labels')
  })
})

test('rows that ask nothing are counted and named; a column that only some rows have is no reason', () => {
  const train = [
    { text: 'a', more: '' },
    { text: ' ', more: '' },
  ]
  expect(textNotices('{text} =>', { train, dev: [] })).toEqual([
    { code: 'empty-texts', message: '{text} is empty in 1 of 2 rows in train (row 2)' },
  ])
  expect(textNotices('{text} {more}', { train: train.slice(0, 1) })).toEqual([])
  expect(textNotices('no column', { train })).toEqual([])
})

describe('what is said about labels', () => {
  test('empty ones, those that differ in case and spaces, and classes that a part lacks', () => {
    const train = rowsOf(['Yes', 'yes ', 'yes', 'No', 'No', ''])
    const labels = findLabels(' {label}', undefined, train, 'mean', 'classes')
    expect(labelNotices(' {label}', labels, { train, dev: rowsOf(['No', 'yes']), test: [] })).toEqual([
      {
        code: 'empty-labels',
        message: '"label" is empty in 1 of 6 rows in train, and the empty text is learned as a class of its own',
      },
      {
        code: 'similar-labels',
        message:
          'labels differ in case, spaces or how characters are written alone, and are classes of their own: "Yes" (1 row), "yes " (1 row), "yes" (2 rows). data.labels, in which each value has its word, makes them one',
      },
      { code: 'absent-labels', message: 'dev has no row of 3 of 5 classes: "", "Yes", "yes "' },
    ])
  })

  test('those that look alike, with what nobody sees by its code', () => {
    const values = [
      'gr\u00fcn',
      'gru\u0308n',
      'rot',
      'rot\u00a0',
      'rot\u200b',
      '❤',
      '❤\ufe0f',
      '１',
      '1',
      'ja',
      'ja\x1a',
      'नहीं',
      'हाँ',
    ]
    const train = rowsOf(values, 2)
    const labels = findLabels('{label}', undefined, train, 'mean', 'classes')
    const messages = labelNotices('{label}', labels, { train }).map(({ message }) => message)
    const written = messages.map(message => message.match(/alone, and are classes of their own: (.*)\. data/)?.[1])
    expect(written.filter(found => found !== undefined)).toEqual([
      '"grün" (2 rows), "gru\\u0308n" (2 rows)',
      '"rot" (2 rows), "rot\\u00A0" (2 rows), "rot\\u200B" (2 rows)',
      '"❤" (2 rows), "❤\\uFE0F" (2 rows)',
      '"１" (2 rows), "1" (2 rows)',
      '"ja" (2 rows), "ja\\u001a" (2 rows)',
    ])
    const known = findLabels('{label}', { 'gr\u00fcn': 'green', rot: 'red' }, [])!
    const refused = () => labelWord(known, { label: 'gru\u0308n' }, 0)
    expect(refused).toThrow(
      expect.objectContaining({ found: 'label: "gru\\u0308n"', hint: expect.stringContaining('it is "grün" but for case') }),
    )
  })

  test('spaces of their own at the ends of most answers', () => {
    const train = rowsOf([' no', ' yes'], 3)
    const codes = (answer: string, records: ReturnType<typeof rowsOf>, given?: Record<string, string>) =>
      labelNotices(answer, findLabels(answer, given, records, 'mean', 'classes'), { train: records }).map(({ code }) => code)
    expect(codes(' {label}', train)).toEqual(['spaced-labels'])
    // The space that stands before an answer may be the label's.
    expect(codes('{label}', train)).toEqual([])
    expect(codes('{label}', rowsOf(['no ', 'yes\t'], 3))).toEqual(['spaced-labels'])
    expect(codes(' {label}', train, { ' no': 'no', ' yes': 'yes' })).toEqual([])
    expect(labelNotices(' {label}', undefined, { train })).toMatchObject([{ code: 'spaced-labels' }])
  })

  test('nothing, where nothing is wrong', () => {
    const train = rowsOf(['0', '1'], 3)
    const labels = findLabels(' {label}', { 0: 'no', 1: 'yes' }, train)
    expect(labelNotices(' {label}', labels, { train, dev: train, test: [] })).toEqual([])
    const merged = findLabels(' {label}', { Yes: 'yes', yes: 'yes', No: 'no' }, rowsOf(['Yes']))
    expect(labelNotices(' {label}', merged, { train: rowsOf(['Yes', 'yes', 'No']) })).toEqual([])
    expect(labelNotices(' {label}', undefined, { train: rowsOf(['', 'x']) })).toMatchObject([{ code: 'empty-labels' }])
    // Rows without labels are no rows without a class.
    expect(labelNotices(' {label}', labels, { train, test: [{ text: 'x' }] })).toEqual([])
  })
})

test('rows in two parts: their inputs count, and whether their answers agree', () => {
  const row = (text: string, label: string) => ({ text, label, id: text + label })
  const parts = {
    train: [row('a', '1'), row('b', '1')],
    dev: [row('a', '1'), row('a', '2'), row('c', '1')],
    test: [row('c', '1')],
  }
  expect(findOverlaps(parts, rowKeys('{text} -', ' {label}'))).toEqual([
    { part: 'dev', other: 'train', rows: 2, conflicting: 1 },
    { part: 'test', other: 'dev', rows: 1, conflicting: 0 },
  ])
})

describe('a task', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gradprompt-task-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const file = (name: string, content: string) => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
  }
  const task = (input: Omit<ConfigInput, 'template' | 'answer'> & Partial<ConfigInput>) =>
    readTask(parseConfig({ template: '{text}', answer: ' {label}', ...input }))
  const codes = ({ notices }: Awaited<ReturnType<typeof task>>) => notices.map(({ code }) => code)

  test('says what was guessed and what may be wrong, in the order of reading', async () => {
    const train = file('a.csv', 'text;label\na;x\na;x\nb;y\nb;Y\nc;y\nd;x\n')
    const found = await task({ data: { train, dev: train } })
    expect(codes(found)).toEqual(['delimiter', 'delimiter', 'labels', 'similar-labels', 'overlapping-rows'])
    expect(found.notices.at(-1)!.message).toMatch(/^6 of 6 rows in dev ask what rows in train ask as well: figures over dev/)
  })

  test('lists and objects in a text are refused, with the way to what is in them', async () => {
    const train = file(
      'a.jsonl',
      '{"text": {"title": "t", "body": "b"}, "label": "x"}\n{"text": {"title": "u", "body": "c"}, "label": "y"}',
    )
    expect(await problemOf(task({ data: { train } }))).toMatchObject({
      code: 'structured-column',
      found: '{text}',
      hint: 'write {text.title} or {text.body}',
    })
    const found = await task({ data: { train }, template: '{text.title}: {text.body}' })
    expect(found.train[1]).toMatchObject({ 'text.title': 'u', 'text.body': 'c', label: 'y' })
    const chat = file('chat.jsonl', '{"m": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}')
    expect((await problemOf(task({ data: { train: chat }, template: '{m}', answer: 'x' }))).hint).toContain('role: conversation')
  })

  test('conversations and preferences are spoken of; a null label is named with its line', async () => {
    const chat = file(
      'chat.jsonl',
      '{"m": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'.repeat(2),
    )
    const template = [{ role: 'conversation' as const, content: '{m}' }]
    expect(codes(await task({ data: { train: chat }, template, answer: '{m.answer}' }))).toEqual(['conversations', 'labels'])
    const preferences = file('p.jsonl', '{"prompt": "a", "chosen": "b", "rejected": "c"}')
    expect(codes(await task({ data: { train: preferences }, template: '{prompt}', answer: ' {chosen}' }))).toContain(
      'preference-data',
    )
  })

  test('dev and test rows do not hang on the seed, training rows do', async () => {
    const rows = Array.from({ length: 60 }, (_, i) => `text ${i}\t${i % 3}`).join('\n')
    const train = file('long.tsv', `text\tlabel\n${rows}\n`)
    const drawn = (seed: number, splitSeed?: number | null) =>
      task({
        data: { train, split: { dev: 12, test: 6 }, limit: { train: 10, dev: 9 }, ...(splitSeed !== undefined && { splitSeed }) },
        evaluate: { limit: 5 },
        seed,
      })
    const [one, two] = [await drawn(1), await drawn(2)]
    expect([one.dev, one.test, one.scored]).toEqual([two.dev, two.test, two.scored])
    expect(one.train).not.toEqual(two.train)
    expect((await drawn(1, 7)).test).not.toEqual(one.test)
    expect(['0', '1', '2'].map(label => one.test.filter(row => row.label === label).length)).toEqual([2, 2, 2])
    expect((await drawn(1, null)).dev).not.toEqual((await drawn(2, null)).dev)
  })
})
