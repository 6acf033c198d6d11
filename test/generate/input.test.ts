import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chatTemplateRenderer } from '../../src/formats/chat-template.js'
import { loadTokenizer, type Tokenizer } from '../../src/formats/tokenizer.js'
import { type GenerationInput, parseRow, readInput, renderInput } from '../../src/generate/input.js'
import { generationRequest, sampleSeed, tokenBudget } from '../../src/generate/settings.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

let tokenizer: Tokenizer
beforeAll(async () => {
  const checkpoint = await openCheckpoint('models/smollm2-135m-instruct')
  await checkpoint.file.close()
  tokenizer = await loadTokenizer(checkpoint.tokenizer)
})

const file = (lines: readonly string[], name = 'rows.jsonl') => {
  const path = join(folder, name)
  writeFileSync(path, lines.join('\n'))
  return path
}

describe('rows', () => {
  test('are texts and conversations, with the line they stand on', async () => {
    const path = file([
      '{"prompt": "Once"}',
      '',
      '{"messages": [{"role": "user", "content": "Hi"}], "enable_thinking": false, "chat_template_kwargs": {"depth": 2}}\r',
      '{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Ann"}]}',
    ])
    expect(await readInput(path)).toEqual([
      { origin: `${path}:1`, input: { prompt: 'Once' } },
      {
        origin: `${path}:3`,
        input: { messages: [{ role: 'user', content: 'Hi' }], variables: { enable_thinking: false, depth: 2 } },
      },
      { origin: `${path}:4`, input: { messages: [{ role: 'user', content: 'a\nb', name: 'Ann' }], variables: {} } },
    ])
  })

  test.each<[string, string, { found?: unknown; expected?: unknown; hint?: unknown }]>([
    ['{"prompt": 3}', 'has a prompt that is no text', { found: '3' }],
    ['{"prompt": "a", "messages": []}', 'has a prompt and messages', { found: 'both' }],
    ['{"promt": "a"}', 'has neither a prompt nor messages', { hint: 'did you mean "prompt"?' }],
    ['{}', 'has neither a prompt nor messages', { found: 'an empty object' }],
    ['["a"]', 'is not an object', { found: '["a"]' }],
    ['null', 'is not an object', { found: 'null' }],
    ['{"prompt": "a"', 'is not JSON', { expected: 'JSON' }],
    ['{"messages": []}', 'has messages that are not valid', { expected: 'at least one message', found: 'messages: []' }],
    ['{"messages": "a"}', 'has messages that are not valid', { expected: 'a list of messages' }],
    ['{"messages": [{"content": "a"}]}', 'has messages that are not valid', { found: 'no messages[0].role' }],
    [
      '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
      'has messages that are not valid',
      { found: 'messages[0].content: [{"type":"image_url"}]', expected: expect.stringContaining('nothing but text') },
    ],
    ['{"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": 1}', 'has chat_template_kwargs', { found: '1' }],
  ])('%s is refused by its line', async (line, message, details) => {
    const path = file(['{"prompt": "fine"}', line])
    const error = await problemOf(readInput(path))
    expect(error).toMatchObject({ code: 'invalid-data', exitCode: 2, ...details })
    expect(error.message).toContain(`${path}:2 ${message}`)
  })

  test('a file that is missing, empty or not UTF-8', async () => {
    expect(await problemOf(readInput(join(folder, 'nowhere.jsonl')))).toMatchObject({ code: 'file-not-found' })
    expect(await problemOf(readInput(file(['', '  '], 'empty.jsonl')))).toMatchObject({ code: 'empty-data' })
    writeFileSync(join(folder, 'latin.jsonl'), Buffer.from([0x22, 0xe9, 0x22]))
    expect(await problemOf(readInput(join(folder, 'latin.jsonl')))).toMatchObject({ code: 'invalid-encoding' })
  })

  test('any JSON is a row or a problem of ours', () => {
    fc.assert(
      fc.property(fc.jsonValue(), value => {
        try {
          const row = parseRow(value, 'row 1')
          expect('prompt' in row || row.messages.length > 0).toBe(true)
        } catch (error) {
          expect(error).toMatchObject({ name: 'GradpromptError', code: 'invalid-data' })
        }
      }),
    )
    const message = fc.record({ role: fc.string({ minLength: 1 }), content: fc.string() })
    fc.assert(
      fc.property(fc.array(message, { minLength: 1 }), messages => {
        expect(parseRow({ messages }, 'row 1')).toEqual({ messages, variables: {} })
      }),
    )
  })
})

describe('rendering', () => {
  const hello: GenerationInput = { messages: [{ role: 'user', content: 'Hello' }] }
  const ownSystem: GenerationInput = {
    messages: [
      { role: 'system', content: 'Be short.' },
      { role: 'user', content: 'Hello' },
    ],
  }

  test('a text stays as it is, with the special tokens of the tokenizer', () => {
    expect(renderInput(tokenizer, { prompt: 'Hello' })).toEqual({ text: 'Hello', addSpecialTokens: true })
  })

  test('a conversation goes through the chat template, and a text too if that is wanted', () => {
    const { text, addSpecialTokens } = renderInput(tokenizer, hello)
    expect(text).toMatch(
      /^<\|im_start\|>system\n.*SmolLM.*<\|im_end\|>\n<\|im_start\|>user\nHello<\|im_end\|>\n<\|im_start\|>assistant\n$/s,
    )
    expect(addSpecialTokens).toBe(false)
    expect(renderInput(tokenizer, { prompt: 'Hello' }, { chat: true }).text).toBe(text)
  })

  test('a system message is put first, or in place of the one there', () => {
    const said = '<|im_start|>system\nSay no.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n'
    for (const input of [hello, ownSystem, { prompt: 'Hello' }])
      expect(renderInput(tokenizer, input, { system: 'Say no.' }).text).toBe(said)
    expect(renderInput(tokenizer, ownSystem).text).toContain('system\nBe short.')
  })

  test('variables reach the template; those of a row win, and none can take the assistant’s turn away', () => {
    const source = '{{ enable_thinking }} {{ depth }} {{ add_generation_prompt }} {{ messages | length }}'
    const applyChatTemplate = chatTemplateRenderer(source, {})
    const input = {
      messages: [{ role: 'user', content: 'a' }],
      variables: { enable_thinking: false, addGenerationPrompt: false, add_generation_prompt: false, messages: [] },
    }
    const { text } = renderInput({ applyChatTemplate }, input, { variables: { enable_thinking: true, depth: 3 } })
    expect(text.toLowerCase()).toBe('false 3 true 1')
  })

  test('a model without a chat template says so', () => {
    const applyChatTemplate = chatTemplateRenderer(undefined, {})
    expect(problem(() => renderInput({ applyChatTemplate }, hello))).toMatchObject({ code: 'no-chat-template' })
  })
})

describe('settings', () => {
  test('what is not given is left to the generator', () => {
    expect(generationRequest([1, 2], 8, { temperature: 0, topP: undefined, stop: ['x'] })).toStrictEqual({
      ids: [1, 2],
      maxNewTokens: 8,
      temperature: 0,
      stop: ['x'],
    })
  })

  test('samples have seeds of their own, and those of the next seed are others', () => {
    const seeds = [1, 2, 3].flatMap(seed => Array.from({ length: 1000 }, (_, sample) => sampleSeed(seed, sample)))
    expect(new Set(seeds).size).toBe(seeds.length)
    expect(sampleSeed(7, 0)).toBe(7)
    expect(generationRequest([1], 1, { seed: 7 }, 3).seed).toBe(sampleSeed(7, 3))
  })

  test('the budget is what was wanted, or what the context has left', () => {
    const room = { contextLength: 100, numVirtualTokens: 20 }
    expect(tokenBudget('it', 30, room, 50)).toBe(50)
    expect(tokenBudget('it', 30, room, undefined)).toBe(50)
    expect(tokenBudget('it', 30, room, undefined, 16)).toBe(16)
    expect(problem(() => tokenBudget('it', 30, room, 51))).toMatchObject({
      code: 'context-exceeded',
      message: 'it does not fit into the model’s context'.replace('’', "'"),
      found: '30 tokens after 20 of a soft prompt, and 51 new',
      expected: 'at most 100 tokens in all',
      hint: expect.stringContaining('room for 50 new tokens'),
    })
    expect(problem(() => tokenBudget('it', 80, room, undefined))).toMatchObject({ hint: 'shorten the prompt' })
    expect(problem(() => tokenBudget('it', 0, room, 1))).toMatchObject({
      code: 'empty-prompt',
    })
  })
})
