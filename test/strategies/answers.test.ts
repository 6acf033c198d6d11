import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { generate, loadModel, serve } from '../../src/index.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyModel } from '../train/toy.js'

/** Texts, files and requests that are answered with several calls of a tiny model. */

const { folder, remove } = temporaryFolder()
let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(async () => {
  await model.dispose()
  remove()
})

test('what waits for ever ends with the signal', async () => {
  const waits = { type: 'waits', paper: 'none', answer: () => new Promise<never>(() => {}) }
  const stop = new AbortController()
  const answers = generate({ model, inputs: ['the wine'], strategy: { type: waits }, signal: stop.signal, maxNewTokens: 2 })
  setTimeout(() => stop.abort(), 100)
  expect((await problemOf(answers)).code).toBe('aborted')
})

test('choices get their tokens anew behind each text', async () => {
  const options = { model, inputs: ['the wine '], choices: ['a', 'the'], logProbabilities: true, seed: 3 }
  const [alone] = await generate(options)
  const [voted] = await generate({ ...options, strategy: { type: 'retries', turns: 1 } })
  expect(voted).toMatchObject({ text: alone!.text, ids: alone!.ids, logProbabilities: alone!.logProbabilities })
})

test('a text without tokens has no likelihood', async () => {
  const strategy = { type: 'likely', paper: 'none', answer: async ({ input }: { input: never }, asked: { likelihood(input: never, text: string): Promise<number> }) => asked.likelihood(input, '') } // biome-ignore format: one line
  const problem = await problemOf(generate({ model, inputs: ['it'], strategy: { type: strategy as never } }))
  expect(problem.message).toContain('the likelihood of a text without tokens')
})

const inputs = ['the wine', 'on stone']
const strategy = { type: 'self-consistency', samples: 3, temperature: 0.9 }
const own = { maxNewTokens: 4, seed: 3 }

test('answers say what they took, and come out the same in a list, a stream, a file and over HTTP', async () => {
  const options = { ...own, model, strategy }
  const answers = await generate({ ...options, inputs })
  for (const { severally } of answers) expect(severally).toMatchObject({ calls: 3, tokens: 12 })
  // One sample is the answer at that temperature with that seed.
  const alone = await generate({ ...own, model, inputs, temperature: 0.9 })
  const one = await generate({ ...options, strategy: { ...strategy, samples: 1 }, inputs })
  expect(one.map(({ text }) => text)).toEqual(alone.map(({ text }) => text))

  const pieces: { readonly index: number; readonly text: string }[] = []
  for await (const piece of generate.stream({ ...options, inputs })) pieces.push(piece)
  const told = inputs.map((_, i) =>
    pieces
      .filter(({ index }) => index === i)
      .map(({ text }) => text)
      .join(''),
  )
  expect(told).toEqual(answers.map(({ text }) => text))

  const [input, output] = ['asked.jsonl', 'answers.jsonl'].map(name => join(folder, name)) as [string, string]
  writeFileSync(input, inputs.map(prompt => JSON.stringify({ prompt })).join('\n'))
  const file = await generate.toFile({ ...options, input, output })
  expect(file.tokens).toBe(24)
  const lines = readFileSync(output, 'utf8')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  expect(lines.map(({ text }) => text)).toEqual(answers.map(({ text }) => text))
  expect(lines[0].severally.calls).toBe(3)

  await using server = await serve({ model, port: 0, strategy })
  const asked = { model: server.models[0], prompt: inputs[0], max_tokens: 4, seed: 3, temperature: 0 }
  const post = (body: object) => fetch(`${server.url}/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }) // biome-ignore format: one line
  const reply = (await (await post(asked)).json()) as { choices: { text: string }[]; usage: object }
  expect(reply.choices[0]!.text).toBe(answers[0]!.text)
  expect(reply.usage).toMatchObject({ completion_tokens: 12 })
  const streamed = await (await post({ ...asked, stream: true })).text()
  const texts = [...streamed.matchAll(/^data: (\{.*)$/gm)].flatMap(([, json]) =>
    (JSON.parse(json!) as typeof reply).choices.map(({ text }) => text),
  )
  expect(texts.join('')).toBe(answers[0]!.text)
  // Tokens alone say nothing that could be asked otherwise.
  const ids = (await (await post({ ...asked, prompt: model.tokenizer.encode(inputs[0]!) })).json()) as typeof reply
  expect(ids.usage).toMatchObject({ completion_tokens: 4 })
})

test('an end that is asked for ends it', async () => {
  const stopping = new AbortController()
  let answered = 0
  const asks = {
    type: 'asks',
    paper: 'none',
    // It waits for nothing but the model, and would go on for ever.
    async answer({ input }: { input: never }, asked: { answer(input: never): Promise<never> }) {
      for (;;) {
        await asked.answer(input)
        if (++answered === 2) stopping.abort()
      }
    },
  }
  const answering = generate({ ...own, model, inputs: ['the wine'], strategy: { type: asks as never }, signal: stopping.signal })
  expect((await problemOf(answering)).code).toBe('aborted')
  expect(answered).toBe(2)
})

test('mistakes are refused wherever it is asked for', async () => {
  const code = async (call: Promise<unknown>) => (await problemOf(call)).code
  expect(await code(generate({ ...own, model, inputs, strategy: 'retris' }))).toBe('unknown-strategy')
  expect(await code(serve({ model, port: 0, strategy: { type: 'retries', turns: -1 } }))).toBe('invalid-option')
})

test('a file is gone on with by the same code alone', async () => {
  const [input, output, module] = ['gone-on.jsonl', 'gone-on-answers.jsonl', 'own.mjs'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  writeFileSync(input, inputs.map(prompt => JSON.stringify({ prompt })).join('\n'))
  const code = (end: string) => `let calls = 0
export default { paper: 'none', async answer({ input }, model) {
  const answer = await model.answer(input)
  ${end}
  return { answer, answers: [answer] } } }`
  writeFileSync(module, code("if (calls++ > 0) throw new Error('enough')"))
  const options = { ...own, model, strategy: module, input, output }
  expect((await problemOf(generate.toFile(options))).code).toBe('strategy-failed')
  writeFileSync(module, code(''))
  expect((await problemOf(generate.toFile(options))).code).toBe('other-answers')
})
