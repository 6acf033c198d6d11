import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetReadObjects } from 'hyparquet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { generate, type LanguageModel, labelNext, loadModel, predict, tune } from '../../src/index.js'
import { command } from '../cli/command.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)
const at = (name: string) => join(folder, name)

const words = ['wine', 'stone']
const rows = Array.from({ length: 24 }, (_, id) => ({
  id,
  input: { body: `it ${words[id % 2]}` },
  answers: [['the', 'of'][id % 2]],
}))
const texts = rows.map(({ input }) => input.body)

let model: LanguageModel
let run: Awaited<ReturnType<typeof tune>>
let wanted: string[]
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  writeFileSync(at('rows.jsonl'), rows.map(row => `${JSON.stringify(row)}\n`).join(''))
  writeFileSync(at('rows.json'), JSON.stringify(rows))
  const { data: _, ...config } = toyConfig(folder, { train: { steps: 4 } })
  run = await tune({
    ...config,
    model,
    data: { train: at('rows.jsonl'), split: { dev: 6 } },
    template: '{input.body} -',
    answer: ' {answers[0]}',
  })
  wanted = []
  for await (const { prediction } of predict({ model, prompt: run, data: rows })) wanted.push(prediction)
})
afterAll(() => model.dispose())

describe('a template with paths', () => {
  test('predicts into every format, and a row keeps the columns that it has', async () => {
    const own = ['id', 'input', 'answers']
    for (const source of ['rows.jsonl', 'rows.json']) {
      const into = async (ending: string) => {
        const output = at(`${source}.${ending}`)
        await predict.toFile({ model, prompt: run, data: at(source), output })
        return output
      }
      const [header, first] = readFileSync(await into('csv'), 'utf8').split('\n')
      expect(header).toBe('id,input,answers,prediction,probability,margin,p:of,p:the')
      expect(first).toMatch(/^0,"\{""body"":""it wine""\}","\[""the""\]",/)
      const file = readFileSync(await into('parquet'))
      const table = await parquetReadObjects({ file: file.buffer.slice(file.byteOffset, file.byteOffset + file.length) })
      expect(table.map(({ prediction }) => prediction)).toEqual(wanted)
      expect(Object.keys(table[0]!).slice(0, 4)).toEqual([...own, 'prediction'])
      const lines = readFileSync(await into('jsonl'), 'utf8')
        .trim()
        .split('\n')
      expect(Object.keys(JSON.parse(lines[0]!)).slice(0, 4)).toEqual([...own, 'prediction'])
      expect(lines.map(line => JSON.parse(line))).toMatchObject(rows)
    }
  })

  test('predicts of a Parquet file with the values that it holds, also integers of 64 bits', async () => {
    const output = at('typed.jsonl')
    await predict.toFile({
      model,
      prompt: run,
      template: '{text} -',
      force: true,
      data: 'test/fixtures/data/nested.parquet',
      output,
    })
    const [first, second] = readFileSync(output, 'utf8').split('\n')
    expect(first).toContain('"ids":[9007199254740993,3],"meta":{"id":9007199254740995,"tags":["x"]},')
    expect(second).toContain('"ids":[-1152921504606846977],"meta":{"id":4,"tags":[]},')
  })

  test('is filled by rows and columns that are nested as its data are', async () => {
    const options = { model, prompt: run, maxNewTokens: 2 }
    const answers = (await generate({ ...options, inputs: texts })).map(({ text }) => text)
    const nested = await generate({ ...options, inputs: rows })
    expect(nested.map(({ text }) => text)).toEqual(answers)
    for (const name of ['rows.jsonl', 'rows.json']) {
      const output = at(`answers-of-${name}.jsonl`)
      await generate.toFile({ ...options, input: at(name), output })
      const written = readFileSync(output, 'utf8').trim().split('\n')
      expect(written.map(line => JSON.parse(line).text)).toEqual(answers)
    }
    const other = rows.map(({ input }) => JSON.stringify({ ticket: { text: input.body } }))
    writeFileSync(at('other.jsonl'), `${other.join('\n')}\n`)
    const output = at('renamed.jsonl')
    await generate.toFile({ ...options, input: at('other.jsonl'), columns: { 'input.body': 'ticket.text' }, output })
    const written = readFileSync(output, 'utf8').trim().split('\n')
    expect(written.map(line => JSON.parse(line).text)).toEqual(answers)
    const asked = ['generate', '--model', toyModel, '--threads', '1', '--prompt', run.folder, '--quiet']
    const { stdout } = await command([...asked, '--columns', '{"input": {"body": "it stone"}}'])
    expect(stdout.trim()).toBe(answers[1]!.trim())
    // The same as a TEXT is a text.
    const { stderr } = await command([...asked.slice(0, -1), '{"input": {"body": "it stone"}}'])
    expect(stderr).toContain('warning[object-as-text]')
  })

  test('names rows worth a label by their own columns', async () => {
    const pool = rows.map(({ id, input }) => `${JSON.stringify({ id, input: { body: `${input.body} ${id}` }, answers: [] })}\n`)
    writeFileSync(at('pool.jsonl'), pool.join(''))
    const { rows: chosen, columns } = await labelNext({ model, prompt: run, data: at('pool.jsonl'), count: 2 })
    expect(columns).toEqual(['id', 'input', 'answers'])
    expect(Object.keys(chosen[0]!.row)).toEqual(['id', 'input', 'answers'])
  })
})
