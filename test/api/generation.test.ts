import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exportPrompt, generate, type LanguageModel, loadModel, search, serve, tune } from '../../src/index.js'
import { readPeftAdapter } from '../../src/sources/peft-adapter.js'
import { command } from '../cli/command.js'
import { toySearch } from '../search/toy.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

let model: LanguageModel
let run: Awaited<ReturnType<typeof tune>>
let found: Awaited<ReturnType<typeof search>>
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  run = await tune({ ...toyConfig(folder, { train: { steps: 10 }, threads: 1 }), out: join(folder, 'tuned') })
  const words = toySearch(folder, { search: { steps: 2, searchWidth: 4, topk: 4 } })
  found = await search({ ...words, out: join(folder, 'found') })
})
afterAll(() => model.dispose())

const settings = { maxNewTokens: 4, weights: 'fp32' } as const
const idsOf = (answers: readonly { readonly ids: readonly number[] }[]) => answers.map(({ ids }) => ids)

/** The id of the toy model that ends an answer. */
const ends = new Set([0])

/** What the model itself says behind a text, the likeliest token each time. */
async function greedy(text: string, prompt?: Parameters<LanguageModel['logits']>[1]): Promise<number[]> {
  const ids = model.tokenizer.encode(text)
  const begin = ids.length
  for (let i = 0; i < settings.maxNewTokens; i++) {
    const [logits] = await model.logits([ids], prompt)
    const last = logits!.subarray(-model.config.vocabSize)
    const next = last.indexOf(Math.max(...last))
    if (ends.has(next)) break
    ids.push(next)
  }
  return ids.slice(begin)
}

describe('a PEFT adapter', () => {
  const adapters = ['prompt-tuning', 'prefix-tuning', 'adaption-prompt']

  test.each(adapters)('%s answers in generate as its vectors do', async name => {
    const prompt = join('test/fixtures/prompt-methods', name)
    const active = await readPeftAdapter(prompt, model.checkpoint)
    const [answer] = await generate({ model, prompt, inputs: ['the wine'], ...settings })
    expect(answer!.ids).toEqual(await greedy('the wine', active))
  })

  test('an adapter that a run was exported to answers as the run does, in generate, in the command and in serve', async () => {
    const adapter = join(folder, 'adapter')
    await exportPrompt(run, { to: 'peft', out: adapter, model })
    const inputs = ['the wine -']
    // An adapter knows of no labels that a run is limited to: raw texts are not.
    const [own] = await generate({ model, prompt: run, inputs, ...settings, raw: true })
    const [theirs] = await generate({ model, prompt: adapter, inputs, ...settings })
    expect(theirs!.ids).toEqual(own!.ids)
    const printed = await command([
      ...['generate', '--prompt', adapter, '--model', toyModel, '--weights', 'fp32', '--max-new-tokens', '4', '--json'],
      'the wine -',
    ])
    expect(printed.lines.at(-1)).toMatchObject({ ids: own!.ids })
    await using server = await serve({ model, prompts: { adapter }, port: 0, weights: 'fp32' })
    const client = new OpenAI({ baseURL: server.url, apiKey: 'none', maxRetries: 0 })
    const request = { model: 'adapter', prompt: 'the wine -', max_tokens: 4, temperature: 0 }
    const { choices } = await client.completions.create(request)
    expect(choices[0]!.text).toBe(own!.text)
  })
})

describe('inputs', () => {
  test('rows of vectors', async () => {
    const rows = { data: await model.embeddingRows([5, 6]), shape: [2, 32] as const }
    const [answer] = await generate({ model, prompt: rows, inputs: ['the wine'], ...settings })
    expect(answer!.ids).toEqual(await greedy('the wine', rows))
  })

  test('columns stand in the template of the run, or in one that is given', async () => {
    const texts = idsOf(await generate({ model, prompt: run, inputs: ['the wine -'], ...settings }))
    expect(idsOf(await generate({ model, prompt: run.folder, inputs: [{ text: 'the wine' }], ...settings }))).toEqual(texts)
    const own = await generate({ model, inputs: [{ a: 'the', b: 'wine' }], template: '{a} {b}', ...settings })
    expect(own[0]!.ids).toEqual(await greedy('the wine'))
    const missing = await problemOf(generate({ model, prompt: run, inputs: [{ txt: 'the wine' }], ...settings }))
    expect(missing).toMatchObject({ code: 'missing-column', message: expect.stringContaining('inputs[0]') })
    expect(await problemOf(generate({ model, inputs: [{ text: 'x' }], ...settings }))).toMatchObject({ code: 'invalid-data' })
  })

  test('a text stands in the only column of the template; one that has the template around it stays', async () => {
    const texts = ['the wine', 'the wine -', { prompt: 'the wine' }, { text: 'the wine' }]
    const ids = idsOf(await generate({ model, prompt: run, inputs: texts, ...settings }))
    expect(ids).toEqual(Array(4).fill(ids[0]))
    const [raw] = await generate({ model, prompt: run, inputs: ['the wine'], ...settings, raw: true })
    expect(raw!.ids).not.toEqual(ids[0])
    expect(raw).toMatchObject({ weights: 'fp32' })
    const template = 'on {text} of'
    const said: string[] = []
    const onWarning = ({ code }: { code: string }) => void said.push(code)
    const begun = { model, prompt: run, template, inputs: ['on the wine', 'the wine'], ...settings, onWarning }
    const [first, second] = idsOf(await generate(begun))
    expect(first).toEqual(second)
    expect(said).toEqual(['limited-to-labels', 'completed-text'])
    const two = generate({ model, prompt: run, template: '{text} {more} -', inputs: ['the wine'], ...settings })
    expect(await problemOf(two)).toMatchObject({ code: 'no-place-for-text', expected: 'a value for each of text, more' })
  })

  test('under a run of classes answers are its labels, unless a text is raw or other choices are named', async () => {
    const said: string[] = []
    const onWarning = ({ code }: { code: string }) => void said.push(code)
    const texts = ['the wine', 'on the stone', 'of and', 'wine']
    const asked = { model, prompt: run, inputs: texts, ...settings, onWarning }
    const answers = await generate(asked)
    expect(answers.every(({ text }) => ['the', 'of'].includes(text))).toBe(true)
    expect(answers.map(({ finishReason }) => finishReason)).toEqual(texts.map(() => 'stop'))
    expect(said).toEqual(['limited-to-labels'])
    const others = await generate({ ...asked, choices: ['wine'] })
    expect(others.map(({ text }) => text)).toEqual(texts.map(() => 'wine'))
    expect((await generate({ ...asked, raw: true })).some(({ text }) => !['the', 'of'].includes(text))).toBe(true)
    expect(said).toEqual(['limited-to-labels'])
  })

  test('columns in the command: by name, as an object, from standard input', async () => {
    const common = ['generate', '--prompt', run.folder, '--max-new-tokens', '4', '--threads', '1', '--json']
    const [wanted] = await generate({ model, prompt: run, inputs: [{ text: 'the wine' }], ...settings })
    for (const given of ['text=the wine', '{"text": "the wine"}']) {
      const { lines } = await command([...common, '--columns', given])
      expect(lines.at(-1)).toMatchObject({ ids: wanted!.ids, weights: 'fp32' })
    }
    const output = join(folder, 'piped.jsonl')
    const piped = [...common, '--input', '-', '--output', output]
    const { code } = await command([...piped, '--columns', 'text=review'], { input: 'review,id\nthe wine,7\n' })
    expect([code, JSON.parse(readFileSync(output, 'utf8')).ids]).toEqual([0, wanted!.ids])
  })

  test('a data file, whose answers are those of its rows; an output that is there stays', async () => {
    const [input, output] = [join(folder, 'questions.tsv'), join(folder, 'answers.jsonl')]
    writeFileSync(input, 'text\tlabel\nthe wine\t0\nit stone\t1\n')
    const { rows, resumed } = await generate.toFile({ model, prompt: run, input, output, ...settings })
    expect({ rows, resumed }).toEqual({ rows: 2, resumed: 0 })
    const lines = readFileSync(output, 'utf8').trimEnd().split('\n')
    const wanted = await generate({ model, prompt: run, inputs: ['the wine -', 'it stone -'], ...settings })
    expect(idsOf(lines.map(line => JSON.parse(line)))).toEqual(idsOf(wanted))
    expect(await problemOf(generate.toFile({ model, input, output }))).toMatchObject({ code: 'file-exists' })
  })

  test('what nothing reads, and a text as a prompt', async () => {
    const misspelt = { model, inputs: ['x'], temprature: 1 } as never
    expect(await problemOf(generate(misspelt))).toMatchObject({ code: 'unknown-option', hint: 'did you mean temperature?' })
    expect(await problemOf(generate({ model, inputs: ['x'], prompt: { text: 'y' } }))).toMatchObject({ code: 'invalid-option' })
  })
})

describe('what a search has found', () => {
  const text = () => `the wine${found.result.prompt} -`

  test('stands in its template, around each text and each row', async () => {
    const wanted = await greedy(text())
    for (const prompt of [found, found.folder])
      for (const input of ['the wine', { text: 'the wine' }])
        expect(idsOf(await generate({ model, prompt, inputs: [input], ...settings }))).toEqual([wanted])
    const messages = [
      { role: 'user', content: 'the wine' },
      { role: 'assistant', content: 'of' },
    ]
    const said: string[] = []
    const onWarning = ({ code }: { code: string }) => void said.push(code)
    const inputs = [{ messages }, { messages }]
    const several = await generate({ model, prompt: found, inputs, ...settings, onWarning })
    expect(idsOf(several)).toEqual([wanted, wanted])
    expect(said).toEqual(['last-message'])
  })

  test('is served as a model of its own', async () => {
    await using server = await serve({ model, prompts: { words: found.folder }, port: 0, weights: 'fp32' })
    expect(server.models).toEqual([model.name, 'words'])
    const client = new OpenAI({ baseURL: server.url, apiKey: 'none', maxRetries: 0 })
    const request = { model: 'words', max_tokens: 4, temperature: 0 }
    const wanted = model.tokenizer.decode(await greedy(text()))
    expect((await client.completions.create({ ...request, prompt: 'the wine' })).choices[0]!.text.trim()).toBe(wanted.trim())
    const chat = await client.chat.completions.create({ ...request, messages: [{ role: 'user', content: 'the wine' }] })
    expect(chat.choices[0]!.message.content!.trim()).toBe(wanted.trim())
    await expect(client.completions.create({ ...request, prompt: [1, 2] as never })).rejects.toThrow('takes texts')
  })
})

describe('a run that is served', () => {
  test('takes the last message, a text and columns in its template, greedily, and says what it has taken', async () => {
    const notices: (string | undefined)[] = []
    await using server = await serve({
      ...{ model, prompts: { run }, port: 0, weights: 'fp32' as const },
      onRequest: ({ notice }) => notices.push(notice),
    })
    const client = new OpenAI({ baseURL: server.url, apiKey: 'none', maxRetries: 0 })
    const [wanted] = await generate({ model, prompt: run, inputs: [{ text: 'the wine' }], ...settings })
    const messages = [
      { role: 'system' as const, content: 'Be kind.' },
      { role: 'user' as const, content: 'the wine' },
    ]
    for (let i = 0; i < 2; i++) {
      const asked = client.chat.completions.create({ model: 'run', messages, max_tokens: 4 })
      const { data, response } = await asked.withResponse()
      expect(data.choices[0]!.message.content).toBe(wanted!.text)
      expect(response.headers.get('x-gradprompt-notice')).toContain('last message of the user')
    }
    const ofColumns = { model: 'run', columns: { text: 'the wine' }, max_tokens: 4 } as never
    const texts = [await client.completions.create({ model: 'run', prompt: 'the wine', max_tokens: 4 })]
    texts.push((await client.completions.create(ofColumns)) as never)
    expect(texts.map(({ choices }) => choices[0]!.text)).toEqual([wanted!.text, wanted!.text])
    // Each notice once: of the last message, and of the labels alone.
    expect(notices.map(notice => notice !== undefined)).toEqual([true, false, true, false])
    expect(notices[2]).toContain('"the", "of"')
    const list = (await client.models.list()).data
    expect(list.map(({ id, ...about }) => [id, (about as { weights?: string }).weights])).toEqual([
      [model.name, 'fp32'],
      ['run', 'fp32'],
    ])
    await expect(client.completions.create({ ...(ofColumns as object), model: model.name } as never)).rejects.toThrow(
      'no template',
    )
  })
})

describe('a stream', () => {
  test('gives the answers of generate, piece by piece', async () => {
    const inputs = ['the wine of', 'on the stone']
    const whole = await generate({ model, inputs, ...settings, maxNewTokens: 12 })
    const texts = ['', '']
    const ended: (readonly number[])[] = []
    for await (const { index, text, answer } of generate.stream({ model, inputs, ...settings, maxNewTokens: 12 })) {
      texts[index] += text
      if (answer !== undefined) ended[index] = answer.ids
    }
    expect(texts).toEqual(whole.map(({ text }) => text))
    expect(ended).toEqual(idsOf(whole))
  })

  test('ends with its loop, and with its signal', async () => {
    let pieces = 0
    for await (const { text } of generate.stream({ model, inputs: ['the wine of'], ...settings, maxNewTokens: 40 })) {
      pieces += text.length > 0 ? 1 : 0
      break
    }
    expect(pieces).toBe(1)
    const controller = new AbortController()
    const reading = async () => {
      const options = { model, inputs: ['the wine of'], ...settings, maxNewTokens: 40, signal: controller.signal }
      for await (const _ of generate.stream(options)) controller.abort()
    }
    expect(await problemOf(reading())).toMatchObject({ code: 'aborted', name: 'AbortError' })
    const stopped = generate({ model, inputs: ['the wine'], signal: AbortSignal.abort() })
    expect(await problemOf(stopped)).toMatchObject({ name: 'AbortError' })
  })

  test('says what is wrong from the loop', async () => {
    const reading = async () => {
      for await (const _ of generate.stream({ model, inputs: ['x'], maxNewTokens: 1_000_000 })) throw new Error('no piece')
    }
    expect(await problemOf(reading())).toMatchObject({ code: 'context-exceeded' })
  })
})
