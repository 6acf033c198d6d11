import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { ChoiceCursor, encodeChoices, writtenChoices } from '../../src/generate/limits/choices.js'
import { generate, type LanguageModel, loadModel, serve } from '../../src/index.js'
import { command } from '../cli/command.js'
import { problemOf } from '../support/problem.js'
import { toyModel } from '../train/toy.js'

let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(() => model.dispose())

const choice = (...ids: number[]) => ({ text: ids.join(' '), ids })

describe('a way through the tree', () => {
  test('goes where some choice goes on, and ends where one does', () => {
    const cursor = new ChoiceCursor([choice(5, 6, 7), choice(5, 8), choice(5)], [0])
    expect(cursor.allowed).toEqual([5])
    expect(cursor.certain(9)).toEqual([5])
    cursor.take(5)
    expect([cursor.allowed, cursor.choice?.text, cursor.isEnd]).toEqual([[6, 8, 0], '5', false])
    expect(cursor.certain(9)).toEqual([])
    cursor.take(6)
    expect(cursor.certain(9)).toEqual([7])
    cursor.take(7)
    expect([cursor.choice?.text, cursor.isEnd]).toEqual(['5 6 7', true])
  })

  test('is refused where nothing could be chosen', () => {
    expect(() => new ChoiceCursor([], [0])).toThrow('choices are not usable')
    expect(() => new ChoiceCursor([choice()], [0])).toThrow('choices are not usable')
    expect(() => new ChoiceCursor([choice(5), choice(5, 6)], [])).toThrow('choices are not usable')
    expect(new ChoiceCursor([choice(5), choice(6)], []).allowed).toEqual([5, 6])
  })
})

test('the tokens are those of the joined text, also where one straddles the border', () => {
  const { tokenizer } = model
  for (const [text, words] of [
    ['the wine -', [' the', ' of']],
    ['the wi', ['ne', 'nd', 'x']],
    ['x'.repeat(200), [' a', 'xx']],
  ] as const) {
    const ids = tokenizer.encode(text)
    const written = words.map(word => ({ text: word, written: word }))
    const encoded = encodeChoices(tokenizer, text, ids, written)
    for (const [i, { ids: own }] of encoded.choices.entries())
      expect([...encoded.ids, ...own]).toEqual(tokenizer.encode(text + words[i]))
  }
  expect(writtenChoices(['of'], ' {label}!')).toEqual([{ text: 'of', written: ' of!' }])
})

const inputs = ['the wine -', 'on the stone', 'it wine of', 'at']
const answers = [' the', ' of', ' of the wine', ' stone']

/** The greedy way through the choices, by the logits of whole texts. */
async function greedy(text: string): Promise<string> {
  const { tokenizer } = model
  const start = tokenizer.encode(text)
  const { ids, choices } = encodeChoices(
    tokenizer,
    text,
    start,
    answers.map(text => ({ text, written: text })),
  )
  const chosen: number[] = []
  for (;;) {
    const left = choices.filter(({ ids }) => chosen.every((id, i) => ids[i] === id))
    const whole = left.find(({ ids }) => ids.length === chosen.length)
    if (left.length === 1 && whole !== undefined) return whole.text
    const [logits] = await model.logits([[...ids, ...chosen]])
    const last = logits!.subarray(-model.config.vocabSize)
    const next = left.flatMap(({ ids }) => (ids.length > chosen.length ? [ids[chosen.length]!] : []))
    const allowed = [...new Set([...next, ...(whole === undefined ? [] : [0, 2])])]
    const best = allowed.reduce((a, b) => (last[b]! > last[a]! ? b : a))
    if (!next.includes(best)) return whole!.text
    chosen.push(best)
  }
}

test('each answer is one of them, and the likeliest token by token', async () => {
  const wanted = await Promise.all(inputs.map(greedy))
  for (const weights of ['fp32', 'stored'] as const) {
    const given = await generate({ model, inputs, choices: answers, weights })
    expect(given.every(({ text, finishReason }) => answers.includes(text) && finishReason === 'stop')).toBe(true)
    if (weights === 'fp32') expect(given.map(({ text }) => text)).toEqual(wanted)
  }
  let streamed = ''
  for await (const { text } of generate.stream({ model, inputs: ['the wine -'], choices: answers })) streamed += text
  expect(streamed).toBe(wanted[0])
})

test('a draw is among them, with every option of sampling; a budget that is too small cuts', async () => {
  const drawn = await generate({ model, inputs: Array(40).fill('the'), choices: answers, temperature: 3, topK: 50, topP: 0.9 })
  const texts = new Set(drawn.map(({ text }) => text))
  expect([...texts].every(text => answers.includes(text))).toBe(true)
  expect(texts.size).toBeGreaterThan(1)
  const [cut] = await generate({ model, inputs: ['the'], choices: [' of the wine'], maxNewTokens: 1 })
  expect(cut).toMatchObject({ finishReason: 'length' })
  const alone = await generate({ model, inputs: ['the'], choices: [' of the wine'], logProbabilities: true })
  expect(alone[0]!.text).toBe(' of the wine')
  expect(alone[0]!.logProbabilities!.every(value => value < 0)).toBe(true)
  expect(await problemOf(generate({ model, inputs: ['the'], choices: [] }))).toMatchObject({ code: 'invalid-option' })
})

test('in the command, and in serve as guided_choice', async () => {
  const wanted = await greedy('the wine -')
  const args = ['generate', '--model', toyModel, '--raw', '--threads', '1', '--json', 'the wine -']
  const printed = await command([...args, '--choices', JSON.stringify(answers)])
  expect(printed.lines.at(-1)).toMatchObject({ text: wanted })
  expect((await command([...args, '--choices', 'a,,b'])).stderr).toContain('a JSON list of texts')
  await using server = await serve({ model, port: 0 })
  const client = new OpenAI({ baseURL: server.url, apiKey: 'none', maxRetries: 0 })
  const request = { model: model.name, prompt: 'the wine -', temperature: 0, guided_choice: answers, max_tokens: 16 }
  expect((await client.completions.create(request as never)).choices[0]!.text).toBe(wanted)
  await expect(client.completions.create({ ...request, guided_choice: [] } as never)).rejects.toThrow('guided_choice')
})

test('an engine that knows no end of answers takes what begins no other', async () => {
  await using engine = await GenerationEngine.open(model, { endTokenIds: [] })
  const ids = model.tokenizer.encode('the')
  const request = (...choices: ReturnType<typeof choice>[]) => engine.generate({ ids, maxNewTokens: 4, choices })
  expect(await problemOf(request(choice(5), choice(5, 6)))).toMatchObject({ code: 'invalid-option' })
  expect(['5 7', '6 7']).toContain((await request(choice(5, 7), choice(6, 7))).text)
})
