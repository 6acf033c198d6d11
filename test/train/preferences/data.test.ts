import { afterAll, describe, expect, test } from 'vitest'
import { completeTexts } from '../../../src/data/describe/suggest.js'
import { RowBuilder } from '../../../src/data/rows/rows.js'
import { readTask, sideOf } from '../../../src/data/task.js'
import { rejectedBeside } from '../../../src/data/texts/preferences.js'
import { type ConfigInput, parseConfig } from '../../../src/train/config.js'
import { fakeEncoder } from '../../data/encoder.js'
import { problem, problemOf } from '../../support/problem.js'
import { temporaryFolder, toyModel } from '../toy.js'
import { rowsFile } from './data.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

const configOf = (rows: readonly object[], options: Partial<ConfigInput> = {}): ConfigInput => ({
  model: toyModel,
  data: { train: rowsFile(folder, rows) },
  template: '{prompt}',
  answer: ' {chosen}',
  train: { loss: { type: 'dpo' } },
  ...options,
})
const taskOf = async (rows: readonly object[], options: Partial<ConfigInput> = {}) =>
  readTask(parseConfig(configOf(rows, options)))
const pair = { prompt: 'a', chosen: 'b', rejected: 'c' }
const turn = (role: string, content: string) => ({ role, content })
const asked = turn('user', 'hello')
const conversations = {
  template: [{ role: 'conversation' as const, content: '{chosen}' }],
  answer: '{chosen.answer}',
}
const talk = (answer: string, first = asked) => [first, turn('assistant', answer)]

describe('where preferences stand', () => {
  test.each([
    [' {chosen}', ' {rejected}'],
    ['{chosen.answer}', '{rejected.answer}'],
    ['{chosen[1].content} {x}', '{rejected[1].content} {x}'],
    ['{{chosen}}', undefined],
    ['{chosenOne}', undefined],
    [' {label}', undefined],
  ])('beside the answer %j it is %j', (answer, wanted) => expect(rejectedBeside(answer)).toBe(wanted))

  const parse = (options: object) => () => parseConfig({ ...configOf([pair]), ...options })
  test('a config says it, or lets it be found, and says the same when it is read again', () => {
    const config = parse({})()
    expect(config.rejected).toBe(' {rejected}')
    expect(parseConfig(config)).toEqual(config)
    expect(parse({ answer: ' {better}', rejected: ' {worse}' })().rejected).toBe(' {worse}')
    expect(parse({ train: { loss: { type: 'kto' } }, answer: ' {completion}' })()).toMatchObject({ thumbs: 'label' })
    expect(parse({ train: { loss: { type: 'kto' } } })()).toMatchObject({ rejected: ' {rejected}' })
    expect(parse({ train: {} })().rejected).toBeUndefined()
  })

  test.each([
    [{ answer: ' {better}' }, /compares two answers, and only one is named/],
    [{ thumbs: 'label' }, /dpo does not read thumbs/],
    [{ train: {}, thumbs: 'label' }, /cross-entropy does not read thumbs/],
    [{ rejected: ' {rejected}', thumbs: 'label', train: { loss: { type: 'kto' } } }, /exclude each other/],
    [{ rejected: ' {chosen}' }, /the same text/],
    [{ answerType: 'classes' }, /answerType: classes and preferences/],
    [{ train: { loss: { type: 'kto' }, batchSize: 1 } }, /batchSize \(1\) is too small/],
    [{ train: { loss: { type: 'cdpo', labelSmoothing: 0.5 } } }, /labelSmoothing/],
  ])('%j is refused', (options, message) => expect(parse(options)).toThrow(message))
})

describe('rows of preferences', () => {
  test('equal sides are left out, and said; nothing but these is refused', async () => {
    const task = await taskOf([pair, { ...pair, rejected: 'b' }, { ...pair, chosen: 'd' }])
    expect(task.train).toHaveLength(2)
    expect(task.notices.find(({ code }) => code === 'equal-sides')?.message).toMatch(/^1 of 3 pairs in .*jsonl:2\)$/)
    expect(await problemOf(taskOf([{ ...pair, rejected: 'b' }]))).toMatchObject({ code: 'equal-sides' })
  })

  test('few answers are texts and no classes', async () => {
    const task = await taskOf(Array.from({ length: 9 }, (_, i) => ({ ...pair, prompt: `${i}` })))
    expect(task.labels).toBeUndefined()
    expect(task.notices.map(({ code }) => code)).toEqual(['preferences'])
  })

  test.each([
    ['a missing side', [pair, { prompt: 'a', chosen: 'b' }], {}, 'missing-column'],
    ['a null', [pair, { ...pair, rejected: null }], {}, 'null-value'],
    ['an empty side', [pair, { ...pair, rejected: ' ' }], {}, 'missing-side'],
    ['no such column', [{ prompt: 'a', chosen: 'b' }], {}, 'missing-column'],
    ['a text beside a conversation', [{ chosen: talk('x'), rejected: 'y' }], conversations, 'missing-column'],
    [
      'rows of both kinds',
      [
        { chosen: talk('x'), rejected: talk('y') },
        { chosen: 'x', rejected: 'y' },
      ],
      conversations,
      'mixed-formats',
    ],
    [
      'a row with a text on one side',
      [
        { chosen: talk('x'), rejected: talk('y') },
        { chosen: talk('x'), rejected: 'y' },
      ],
      conversations,
      'mixed-formats',
    ],
    [
      'conversations that differ earlier',
      [{ chosen: talk('x'), rejected: talk('y', turn('user', 'bye')) }],
      conversations,
      'different-prompts',
    ],
  ])('%s is refused', async (_, rows, options, code) => {
    expect(await problemOf(taskOf(rows, options))).toMatchObject({ code })
  })

  const kto = { answer: ' {completion}', train: { loss: { type: 'kto' as const } } }
  const thumb = (label: unknown) => ({ prompt: 'a', completion: 'b', label })
  test('thumbs are of both kinds, and nothing else', async () => {
    expect((await taskOf([thumb(true), thumb(false), thumb('1'), thumb(0)], kto)).train).toHaveLength(4)
    expect(await problemOf(taskOf([thumb(true), thumb(true)], kto))).toMatchObject({ code: 'one-kind-of-thumbs' })
    expect(await problemOf(taskOf([thumb(true), thumb('maybe')], kto))).toMatchObject({
      code: 'invalid-thumb',
      found: 'label: "maybe"',
    })
  })

  test('conversations need no template: those of both sides, or of a prompt of its own', async () => {
    const both = [{ chosen: talk('x'), rejected: talk('y') }]
    const completed = await completeTexts({ data: { train: rowsFile(folder, both) } })
    expect(completed).toMatchObject(conversations)
    const apart = [{ prompt: [asked], chosen: [turn('assistant', 'x')], rejected: [turn('assistant', 'y')] }]
    const other = await completeTexts({ data: { train: rowsFile(folder, apart) } })
    expect(other).toMatchObject({ template: [{ role: 'conversation', content: '{prompt}' }], answer: '{chosen.answer}' })
    const task = await taskOf(both, conversations)
    expect(task.train[0]).toMatchObject({ 'chosen.answer': 'x', 'rejected.answer': 'y' })
  })
})

describe('the two rows of a pair', () => {
  const encoder = fakeEncoder()
  const texts = { answer: ' {chosen}', rejected: ' {rejected}' }
  const builderOf = (side: 'answer' | 'rejected', contextLength = 100) =>
    new RowBuilder(encoder, {
      template: '{prompt}',
      answer: texts[side],
      contextLength,
      numVirtualTokens: 0,
      truncate: true,
      ...sideOf(texts, texts[side]),
    })
  const border = (labels: readonly number[]) => labels.findIndex(label => label !== -100)

  test('have the same text before them, cut for the longer of both', () => {
    const record = { prompt: 'one two three four five six', chosen: 'x', rejected: 'x x x x' }
    const [chosen, rejected] = (['answer', 'rejected'] as const).map(side => builderOf(side, 12).training(record, 0))
    expect(chosen!.ids.slice(0, border(chosen!.labels))).toEqual(rejected!.ids.slice(0, border(rejected!.labels)))
    expect([chosen!.liked, rejected!.liked]).toEqual([true, false])
    expect([chosen!.truncated, rejected!.truncated]).toEqual([true, true])
    const { candidates, context } = builderOf('answer', 12).scoring(record, 0)
    expect([...context, ...candidates[0]!.ids]).toEqual(chosen!.ids)
    expect([...context, ...candidates[1]!.ids]).toEqual(rejected!.ids)
  })

  test('are too long together where one is', () => {
    const record = { prompt: '', chosen: 'x', rejected: 'x '.repeat(40) }
    expect(problem(() => builderOf('answer', 16).training(record, 0))).toMatchObject({ code: 'row-too-long' })
  })
})
