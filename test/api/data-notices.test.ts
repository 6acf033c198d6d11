import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { reject } from '../../src/api/foreign/reject.js'
import {
  type DataNotice,
  evaluate,
  generate,
  type LanguageModel,
  loadModel,
  predict,
  prefer,
  probe,
  tune,
} from '../../src/index.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** What had to be guessed about a file is said by every call that reads one, and a column that is not there is no empty text. */

const { folder, remove } = temporaryFolder()
afterAll(remove)
const at = (name: string) => join(folder, name)
const write = (name: string, text: string) => {
  writeFileSync(at(name), text)
  return at(name)
}
const texts = ['the wine', 'the stone', 'it wine', 'on stone']
const rows = texts.map((text, i) => `${text};${i % 2}\n`).join('')
const data = write('rows.csv', `text;label\n${rows}`)

let model: LanguageModel
const run = at('run')
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
  await tune({ ...toyConfig(folder, { train: { steps: 4 }, threads: 1 }), out: run })
})
afterAll(() => model.dispose())

const heard = async (act: (onWarning: (notice: DataNotice) => void) => Promise<unknown>) => {
  const codes: string[] = []
  await act(({ code }) => codes.push(code))
  return codes
}

const rejecting = {
  run,
  words: write('words.txt', 'hand\ndoor\nin\nat\nstone\n'),
  ...{ labels: 3, texts: 1, maxNewTokens: 3, groups: 2, steps: 1, batchSize: 4, threads: 1 },
}

describe('a delimiter that had to be recognised', () => {
  test.each<[string, (onWarning: (notice: DataNotice) => void) => Promise<unknown>]>([
    ['evaluate', onWarning => evaluate({ model, prompt: run, data, onWarning })],
    ['evaluate by generation', onWarning => evaluate({ model, prompt: run, data, generate: true, maxNewTokens: 2, onWarning })],
    ['predict', onWarning => predict.toFile({ model, prompt: run, data, output: at('predicted.csv'), onWarning })],
    ['generate', onWarning => generate.toFile({ model, prompt: run, input: data, output: at('answers.jsonl'), maxNewTokens: 2, onWarning })], // biome-ignore format: a line each
    ['probe', onWarning => probe({ model, run, data, limit: 3, onWarning }).catch(() => 'the context of the model is short')],
    ['reject', onWarning => reject({ ...rejecting, foreign: [data], out: at('rejecting'), onEvent: event => event.event === 'warning' && onWarning(event) })], // biome-ignore format: a line each
  ])('%s says it', async (_, act) => {
    expect(await heard(act)).toContain('delimiter')
  })

  test('prefer says it, and which column it asks about, where that is not said', async () => {
    const options = { prompts: ['the wine', 'in it'], model: toyModel, maxNewTokens: 2, threads: 1, journal: at('journal.jsonl') }
    const codes = await heard(async onWarning => (await prefer({ ...options, data, onWarning }))[Symbol.asyncDispose]())
    expect(codes).toEqual(['delimiter', 'first-column'])
    const template = '{prompt} {input.body}'
    const nested = write('nested.jsonl', '{"input":{"body":"it"}}\n{"input":{"body":""}}\n')
    const open = (onWarning: (notice: DataNotice) => void) => prefer({ ...options, data: nested, template, onWarning })
    const others = await heard(async onWarning => (await open(onWarning))[Symbol.asyncDispose]())
    expect(others).toEqual(['empty-texts', 'other-questions'])
  })
})

describe('rows that ask nothing', () => {
  test('are counted by what scores or answers them, and labels that no row has are named', async () => {
    const gaps = write('gaps.csv', 'text,label\nthe wine,0\n,0\n" ",0\n')
    const of = async (act: (onWarning: (notice: DataNotice) => void) => Promise<unknown>) => {
      const told: DataNotice[] = []
      await act(notice => told.push(notice))
      return told.filter(({ code }) => code === 'empty-texts').map(({ message }) => message)
    }
    const found = expect.stringMatching(/^\{text\} is empty in 2 of 3 rows in .*gaps\.csv:3, .*gaps\.csv:4\)$/)
    expect(await of(onWarning => evaluate({ model, prompt: run, data: gaps, onWarning }))).toEqual([found])
    const output = at('gaps-answered.csv')
    expect(await of(onWarning => predict.toFile({ model, prompt: run, data: gaps, output, onWarning }))).toEqual([found])
    expect(await heard(onWarning => evaluate({ model, prompt: run, data: gaps, onWarning }))).toContain('absent-labels')
  })
})

describe('texts that do not fit the context', () => {
  test('are counted where they are cut: under the prompt, beside the instruction of the base model, and where rows are answered', async () => {
    const long = write('long.csv', `text,label\nthe wine,0\n${'wine '.repeat(30)},0\n${'stone '.repeat(80)},1\n`)
    const of = async (act: (onWarning: (notice: DataNotice) => void) => Promise<unknown>) => {
      const told: DataNotice[] = []
      await act(notice => told.push(notice))
      return told.filter(({ code }) => code === 'rows-truncated').map(({ message }) => message)
    }
    const scored = { model, prompt: run, data: long, truncate: true, control: true }
    expect(await of(onWarning => evaluate({ ...scored, onWarning }))).toEqual([
      'the text of 1 row was cut to fit the context',
      'the text of 2 rows was cut to fit the context (base model)',
    ])
    const output = at('long-answered.csv')
    const answered = { model, prompt: run, data: long, truncate: true, output }
    expect(await of(onWarning => predict.toFile({ ...answered, onWarning }))).toEqual([
      'the text of 1 row was cut to fit the context',
    ])
  })
})

describe('foreign rows', () => {
  test('of a file without the column are refused before anything is written, and found by its name', async () => {
    const headless = write('headless.tsv', 'in hand\t0\nat it\t1\n')
    const out = at('measured')
    const of = (given: object) => reject({ ...rejecting, ...given, out })
    for (const given of [{ foreign: [headless] }, { foreign: [headless], columns: { label: 'x' } }])
      expect(await problemOf(of(given))).toMatchObject({ code: expect.stringMatching(/missing-column|invalid-option/) })
    const { measured } = await of({ foreign: [headless], columns: ['text', 'label'] })
    expect(measured[0]!.rows).toEqual({ known: 4, foreign: 2 })
  })

  test('a probe over data without the column is refused', async () => {
    const other = write('other.csv', 'a,b\n1,2\n3,4\n5,6\n')
    const named = at('named')
    const { data: _, ...config } = toyConfig(folder, { train: { steps: 1 } })
    await tune({ ...config, model, data: { train: data }, out: named })
    expect(await problemOf(probe({ model, run: named, data: other, limit: 3 }))).toMatchObject({ code: 'missing-column' })
  })
})
