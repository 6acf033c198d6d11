import { describe, expect, test } from 'vitest'
import { readRecords } from '../../src/data/read.js'
import { RowBuilder } from '../../src/data/rows/rows.js'
import { answerOf, conversationTurns, lastTurns } from '../../src/data/texts/conversation.js'
import { pathOf, pathsWithin } from '../../src/data/texts/paths.js'
import { compileMessages } from '../../src/data/texts/rendering.js'
import type { Template } from '../../src/data/texts/template.js'
import { problem } from '../support/problem.js'
import { fakeEncoder } from './encoder.js'

const turn = (role: string, content: unknown) => ({ role, content })
const route = [
  turn('system', 'route'),
  turn('user', 'lost'),
  turn('assistant', 'which'),
  turn('user', 'card'),
  turn('assistant', 'bank'),
]
const read = async (...conversations: unknown[]) =>
  (
    await readRecords(
      { name: 'a.jsonl', bytes: Buffer.from(conversations.map(messages => JSON.stringify({ messages })).join('\n')) },
      { needed: ['messages', 'messages.answer'] },
    )
  ).records
const template: Template = [{ role: 'conversation', content: '{messages}' }]
const builderOf = (options: Partial<ConstructorParameters<typeof RowBuilder>[1]> = {}) =>
  new RowBuilder(fakeEncoder(), { template, answer: '{messages.answer}', contextLength: 500, numVirtualTokens: 0, ...options })

describe('a conversation', () => {
  test('its last assistant turn is the answer, the turns before it the prompt, by the chat template', async () => {
    const [record] = await read(route)
    const { segments } = builderOf().training(record!, 0)
    expect(segments.map(({ text }) => text)).toEqual([
      '<user>route<eos><user>lost<eos><assistant>which<eos><user>card<eos><assistant>',
      'bank',
    ])
  })

  test('rows differ in their turns, and what is not a turn of the template is still refused', async () => {
    const [short, long, hostile] = await read(route.slice(1, 3), route, [turn('user', 'a<eos>b'), turn('assistant', 'c')])
    const builder = builderOf()
    expect(builder.training(short!, 0).segments[0]!.text).toBe('<user>lost<eos><assistant>')
    expect(builder.training(long!, 1).segments[1]!.text).toBe('bank')
    expect(problem(() => builder.training(hostile!, 2))).toMatchObject({
      code: 'special-token-in-data',
      message: 'a.jsonl:3 holds the text of a special token',
    })
  })

  test('messages may stand before it; system messages are joined', async () => {
    const [record, plain] = await read(route.slice(0, 2), route.slice(1, 2))
    const { render } = compileMessages([{ role: 'system', content: 'be kind' }, ...template])
    expect(render(record!, 0)).toEqual([turn('system', 'be kind\nroute'), turn('user', 'lost')])
    expect(render(plain!, 1)).toEqual([turn('system', 'be kind'), turn('user', 'lost')])
  })

  test('one without an answer can be asked, not learned', async () => {
    const [asked] = await read(route.slice(0, 4))
    expect(compileMessages(template).render(asked!, 0)).toHaveLength(4)
    expect(problem(() => builderOf().training(asked!, 0))).toMatchObject({
      code: 'missing-column',
      message: 'a.jsonl:1 has nothing at {messages.answer}',
      hint: expect.stringContaining('last turn'),
    })
  })

  test('other names and parts of text are known; other roles and pictures are refused with the line', async () => {
    const [shared, parts, tool, picture] = await read(
      [
        { from: 'human', value: 'hi' },
        { from: 'gpt', value: 'yes' },
      ],
      [
        turn('user', [
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b' },
        ]),
        turn('assistant', 'c'),
      ],
      [turn('user', 'a'), turn('tool', '{}'), turn('assistant', 'c')],
      [turn('user', [{ type: 'image' }]), turn('assistant', 'c')],
    )
    expect(
      builderOf()
        .training(shared!, 0)
        .segments.map(({ text }) => text),
    ).toEqual(['<user>hi<eos><assistant>', 'yes'])
    expect(conversationTurns(parts!.messages!, '')).toEqual([turn('user', 'ab')])
    expect(problem(() => builderOf().training(tool!, 2))).toMatchObject({
      message: 'a.jsonl:3: turn 2 of the conversation cannot be used',
      found: 'the role "tool"',
    })
    expect(problem(() => builderOf().training(picture!, 3)).found).toBe('a list')
    expect(answerOf([turn('assistant', 'c')])).toBe('c')
  })

  test('a message of a conversation is one column', () => {
    for (const content of ['{a} {b}', 'text', '{soft:2}'])
      expect(problem(() => builderOf({ template: [{ role: 'conversation', content }] })).code).toBe('invalid-template')
  })

  test('the first turns go where it is too long', async () => {
    const [record] = await read(route)
    expect(problem(() => builderOf({ contextLength: 12 }).training(record!, 0)).code).toBe('row-too-long')
    const row = builderOf({ contextLength: 12, truncate: true }).training(record!, 0)
    expect([row.truncated, row.segments[0]!.text]).toEqual([true, '<user>route<eos><user>card<eos><assistant>'])
    const { most, keep } = lastTurns(record!.messages!, '')
    expect(Array.from({ length: most + 1 }, (_, i) => (JSON.parse(keep(i)) as unknown[]).length)).toEqual([2, 2, 4])
  })

  test('as an example, its turns are input', async () => {
    const [record] = await read(route.slice(1, 3))
    const { kinds } = builderOf().example(record!, 0)
    expect([kinds[0], kinds[1], kinds.at(-1)]).toEqual(['template', 'input', 'label'])
  })
})

describe('paths', () => {
  test('keys and places', () => {
    expect(pathOf('a.b[0][-1].c d')).toEqual({ head: 'a', steps: ['b', 0, -1, 'c d'] })
    for (const name of ['a', '', '.a', 'a.', 'a[x]', 'a[0', '[0]', 'a..b']) expect(pathOf(name)).toBeUndefined()
  })

  test('a column of the whole name goes before', async () => {
    const bytes = Buffer.from('{"a.b": "own", "a": {"b": "inner", "__proto__": 1}}')
    const { records } = await readRecords({ name: 'a.jsonl', bytes }, { needed: ['a.b', 'a.toString'] })
    expect(records[0]).toMatchObject({ 'a.b': 'own' })
    expect(Object.keys(records[0]!)).toEqual(['a.b', 'a'])
  })

  test('those within a value, for hints', () => {
    expect(pathsWithin({ text: ['a'], at: [0], more: { deep: 'x' } }, 'answers')).toEqual([
      'answers.text[0]',
      'answers.at[0]',
      'answers.more.deep',
    ])
  })
})
