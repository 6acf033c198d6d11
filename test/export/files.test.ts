import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { transpileModule } from 'typescript-5'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { learnedRun } from '../../scripts/check/exported-prompts.js'
import { exportPrompt } from '../../src/api/export.js'
import { writeFolder } from '../../src/export/folder.js'
import { readme } from '../../src/export/readme.js'
import type { SelfTest } from '../../src/export/self-test.js'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { openPrompt } from '../../src/sources/open.js'
import { readPeftAdapter } from '../../src/sources/peft-adapter.js'
import { problemOf } from '../support/problem.js'
import { toyModel } from '../train/toy.js'

let folder: string
let model: LanguageModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-files-'))
  model = await LanguageModel.load(toyModel)
})
afterAll(async () => {
  await model.dispose()
  rmSync(folder, { recursive: true, force: true })
})

const exported = async (to: string, type = 'prompt-tuning') => {
  const run = await learnedRun(model, toyModel, type)
  const out = join(folder, `${to}-${type}`)
  await exportPrompt(run, { to, out, model })
  return { run, out }
}

test('rows are the same in all three files, and the client stands beside them', async () => {
  const { run, out } = await exported('embeds')
  const { data } = run.prompt.tensors[0]!
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  expect(readFileSync(join(out, 'prompt.f32')).equals(bytes)).toBe(true)
  const numpy = readFileSync(join(out, 'prompt.npy'))
  expect(numpy.subarray(0, 8)).toEqual(Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0]))
  expect((10 + numpy.readUInt16LE(8)) % 64).toBe(0)
  expect(numpy.subarray(10).toString('latin1')).toContain("'shape': (5, 32)")
  expect(numpy.subarray(10 + numpy.readUInt16LE(8)).equals(bytes)).toBe(true)
  const file = await openSafetensors(join(out, 'prompt_embeds.safetensors'))
  expect(await file.read('prompt')).toEqual(data)
  await file.close()
  expect(readdirSync(out)).toContain('client.py')
})

test('keys and values give the logits of the rows that they come from, as an adapter read again', async () => {
  const { out } = await exported('kv')
  const adapter = await readPeftAdapter(join(out, 'peft'), model.checkpoint)
  expect(adapter.method.type).toBe('prefix-tuning')
  // What is pasted must name the folder that stands there, not the one that it was written in.
  expect(readFileSync(join(out, 'peft', 'README.md'), 'utf8')).toContain(`adapter = ${JSON.stringify(join(out, 'peft'))} `)
  const { cases } = JSON.parse(readFileSync(join(out, 'self-test.json'), 'utf8')) as SelfTest
  for (const { ids, top } of cases) {
    const [logits] = await model.logits([[...ids]], adapter)
    for (const { id, logit } of top) expect(Math.abs(logits!.subarray(-96)[id]! - logit)).toBeLessThan(1e-4)
  }
  const file = await openSafetensors(join(out, 'past_key_values.safetensors'))
  expect(file.tensors.get('key.2')!.shape).toEqual([1, 2, 5, 8])
  expect(file.metadata.get('tokens')).toBe('5')
  await file.close()
})

test.each(['prompt-tuning', 'dept', 'adept'])(
  'the native container of %s is taken where a prompt is: its file and its folder',
  async type => {
    const { run, out } = await exported('gradprompt', type)
    for (const given of [out, join(out, 'prompt.safetensors')]) {
      const opened = await openPrompt(given)
      expect(opened.file).toMatchObject({ method: run.prompt.method, template: run.prompt.template, labels: run.prompt.labels })
      const active = await opened.active(model)
      expect(active!.parameters.get('prompt')).toEqual(run.prompt.tensors[0]!.data)
    }
    const file = await openSafetensors(join(out, 'prompt.safetensors'))
    expect(file.metadata.get('embeddingHash')).toMatch(/^[0-9a-f]{64}$/)
    await file.close()
  },
)

test('the module fills the template and asks an endpoint', async () => {
  const { out } = await exported('js')
  const source = readFileSync(join(out, 'prompt.ts'), 'utf8')
  const path = join(folder, 'prompt.mjs')
  writeFileSync(path, transpileModule(source, { compilerOptions: { module: 99, target: 99 } }).outputText)
  const client = (await import(pathToFileURL(path).href)) as {
    fill(values: object): string
    ask(values: object, options: object): Promise<string>
    classify(values: object, options: object): Promise<string | undefined>
  }
  expect(client.fill({ text: 'on {wine}' })).toBe('on {wine} -')
  expect(() => client.fill({})).toThrow('no value for {text}')
  const asked: { url: string | undefined; body: Record<string, unknown> }[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      asked.push({ url: request.url, body: JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown> })
      response.setHeader('Content-Type', 'application/json')
      response.end(JSON.stringify({ choices: [{ text: ' of it' }] }))
    })
  })
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
  try {
    const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/`
    expect(await client.classify({ text: 'x' }, { baseUrl, promptTokens: true, model: 'm' })).toBe('of')
    expect(asked).toMatchObject([{ url: '/v1/completions', body: { model: 'm', temperature: 0, max_tokens: 16 } }])
    expect(asked[0]!.body.prompt).toBe('<|soft_0|><|soft_1|><|soft_2|><|soft_3|><|soft_4|>x -')
  } finally {
    server.close()
  }
})

test('a disk that fills up is said to be full, and leaves nothing', async () => {
  const out = join(folder, 'full')
  const full = writeFolder(out, () => Promise.reject(Object.assign(new Error('write'), { code: 'ENOSPC', syscall: 'write' })))
  expect(await problemOf(full)).toMatchObject({ code: 'disk-full' })
  expect(readdirSync(folder).filter(name => name.includes('full'))).toEqual([])
})

test('what a killed process left beside a folder goes when the folder is made; what a living one writes stays', async () => {
  // No system has processes of so large a number; the other one is that of this test.
  const [left, living] = [join(folder, '.again.2000000000.tmp'), join(folder, `.again.${process.ppid}.tmp`)]
  for (const place of [left, living]) mkdirSync(place)
  writeFileSync(join(left, 'half'), 'a file')
  await writeFolder(join(folder, 'again'), async place => writeFileSync(join(place, 'whole'), ''))
  expect(readdirSync(folder).filter(name => name.includes('again'))).toEqual([`.again.${process.ppid}.tmp`, 'again'])
})

test('vectors come to the words nearest to them, and the page says what these cost', async () => {
  const run = await learnedRun(model, toyModel, 'prompt-tuning')
  const out = join(folder, 'words')
  const ids = [5, 9, 12, 30, 41]
  const exact = {
    ...run,
    prompt: { ...run.prompt, tensors: [{ ...run.prompt.tensors[0]!, data: await model.embeddingRows(ids) }] },
  }
  await exportPrompt(exact, { to: 'text', out, model })
  // Vectors that are rows of the table are their own nearest ones.
  const words = readFileSync(join(out, 'prompt.txt'), 'utf8')
  expect(words).toBe(model.tokenizer.decode(ids).trimStart())
  const page = readFileSync(join(out, 'README.md'), 'utf8')
  expect(page).toContain('mean cosine 1.000')
  const figures = [...page.matchAll(/(-?[\d.]+) nats per token/g)].map(([, value]) => Number(value))
  expect(figures).toHaveLength(4)
  expect(figures[3]).toBeCloseTo(figures[0]! - figures[1]!, 2)
  expect(JSON.parse(readFileSync(join(out, 'prompt.json'), 'utf8'))).toMatchObject({
    prompt: words,
    template: `${words}{text} -`,
  })
  const chat = { ...run, prompt: { ...run.prompt, template: [{ role: 'user' as const, content: '{text}' }] } }
  expect(await problemOf(exportPrompt(chat, { to: 'text', out: join(folder, 'chat-words'), model }))).toMatchObject({
    code: 'not-exportable',
    message: expect.stringContaining('in front of a chat'),
  })
  const prefix = await learnedRun(model, toyModel, 'prefix-tuning')
  expect(await problemOf(exportPrompt(prefix, { to: 'text', out: join(folder, 'no-words'), model }))).toMatchObject({
    code: 'not-exportable',
    hint: expect.not.stringContaining('text'),
  })
})

test('every README says how to load the files, the template, the labels and how an answer ends', async () => {
  mkdirSync(join(folder, 'readmes'), { recursive: true })
  const run = await learnedRun(model, toyModel, 'prompt-tuning')
  for (const to of ['hf', 'kv', 'embeds', 'js', 'gradprompt']) {
    const out = join(folder, 'readmes', to)
    await exportPrompt(run, { to, out, model })
    const text = readFileSync(join(out, 'README.md'), 'utf8')
    expect(text).toMatch(/```(python|sh|ts)\n/)
    expect(text).toContain('Template: `"{text} -"`')
    expect(text).toContain('`"0"` is `"the"`')
    expect(text).toContain('End of an answer:')
    if (to === 'js') expect(text).toContain('ask({ "text": "…" }, endpoint)')
    if (to === 'gradprompt') expect(text).toContain(`predict prompt.safetensors rows.csv --model ${toyModel}`)
  }
  const prompt = { ...run.prompt, answerEnd: { text: '##', ids: model.tokenizer.encode('##', { addSpecialTokens: false }) } }
  const ended = readme({ prompt, model, baseModel: 'base' }, { title: 'x', usage: 'y' })
  expect(ended).toContain('`"##"`, which was learned behind every answer: have generation stop at this text')
})
