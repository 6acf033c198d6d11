import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tune } from '../../src/api/tune.js'
import { readTask } from '../../src/data/task.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import { prepareJob } from '../../src/train/job.js'
import { executionsOf } from '../prompts/support/watch.js'
import { difference } from '../support/numbers.js'
import { temporaryFolder, toyConfig, toyModel } from './toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)
let count = 0

const lpt = { type: 'lpt', numVirtualTokens: 4, insertionLayer: 1 } as const
const config = (train: ConfigInput['train'] = {}, method: ConfigInput['method'] = lpt) =>
  toyConfig(folder, { method, train: { steps: 16, batchSize: 8, ...train }, threads: 1, out: join(folder, `run-${count++}`) })

/** Names of the programs that a run has run to learn (scoring left out), in order. */
async function programsOf(input: ConfigInput): Promise<string[]> {
  const runs = await executionsOf(() => tune(input))
  return runs.map(({ spec }) => spec.name).filter(name => /gradient|layers/.test(name))
}

describe('rows below a late method', () => {
  let model: LanguageModel
  beforeAll(async () => {
    model = await LanguageModel.load(toyModel, { threads: 1 })
  })
  afterAll(() => model.dispose())

  const frozenOf = async (input: ConfigInput, of = model) => {
    const parsed = parseConfig(input)
    return (await prepareJob(parsed, await readTask(parsed), of)).frozen
  }

  test('are computed once a run', async () => {
    const names = await programsOf(config())
    // 32 training rows in blocks of 16.
    expect(names.filter(name => name === 'llama layers below')).toHaveLength(2)
    expect(names.filter(name => name === 'llama gradientFromFrozen')).toHaveLength(16)
    expect(names.filter(name => name === 'llama gradient')).toHaveLength(0)
  })

  test('give the prompt that computing them anew gives', async () => {
    const [kept, anew] = [await tune(config()), await tune(config({ frozenCache: 0 }))]
    const rows = ({ prompt }: typeof kept) => prompt.tensors.find(({ name }) => name === 'prompt')!.data
    expect(difference(rows(kept), rows(anew))).toBeLessThan(1e-4)
    const losses = ({ folder }: typeof kept) =>
      readFileSync(join(folder, 'events.jsonl'), 'utf8')
        .split('\n')
        .flatMap(line => (line.includes('"step"') && line.includes('"loss"') ? [JSON.parse(line).loss as number] : []))
    expect(difference(losses(kept), losses(anew))).toBeLessThan(1e-5)
  })

  test('have the same bits whatever batch asks for them', async () => {
    const [one, other] = [(await frozenOf(config()))!, (await frozenOf(config()))!]
    const places = [0, 17, 5, 31].map(row => ({ row, template: 0 }))
    const together = await one(places)
    for (const [i, place] of [...places.entries()].reverse()) expect((await other([place]))[0]).toEqual(together[i])
  })

  test('under several templates are kept apart', async () => {
    const frozen = (await frozenOf(config({ templates: ['{text}: '], steps: 40 })))!
    const [first, second] = await frozen([0, 1].map(template => ({ row: 3, template })))
    expect(first).not.toEqual(second)
  })

  test('are not kept where that does not pay or does not fit', async () => {
    expect(await frozenOf(config())).toBeDefined()
    expect(await frozenOf(config({ steps: 5 }))).toBeUndefined()
    expect(await frozenOf(config({ frozenCache: 0 }))).toBeUndefined()
    // 32 rows of at least two tokens of 32 numbers.
    expect(await frozenOf(config({ frozenCache: 4e-6 }))).toBeUndefined()
    expect(await frozenOf(config({}, { type: 'prompt-tuning' }))).toBeUndefined()
    const small = await LanguageModel.load(toyModel, { threads: 1, memory: model.memory.budget - model.memory.spare })
    try {
      expect(await frozenOf(config(), small)).toBeUndefined()
    } finally {
      await small.dispose()
    }
  })
})
