import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { exportPrompt } from '../../src/api/export.js'
import { generate } from '../../src/api/generation/generate.js'
import { predict } from '../../src/api/prediction/predict.js'
import { tune } from '../../src/api/tune.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { activePrompt } from '../../src/sources/prompt.js'
import type { ConfigInput } from '../../src/train/config.js'
import { batches } from '../../src/train/steps/batches.js'
import { difference } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** Prompts of people: what tells them apart, what is learned of nobody in particular, and one of them by itself. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

/** Two people who want the opposite of each other, and rows of nobody. */
const data = join(folder, 'people.jsonl')
const texts = ['the wine', 'the stone', 'on wine', 'on stone', 'at wine', 'at stone']
const rows = texts.flatMap((text, i) => [
  ...['ada', 'ben'].map((user, t) => ({ text, label: String((i + t) % 2), user })),
  { text, label: String(i % 2), user: i % 2 === 0 ? '' : null },
])
writeFileSync(data, rows.map(row => `${JSON.stringify(row)}\n`).join(''))

const config = (options: Partial<ConfigInput>): ConfigInput => ({
  ...toyConfig(folder, options),
  data: { train: data, dev: data, labels: { 0: 'the', 1: 'of' } },
})
const method = { type: 'personal' as const, numVirtualTokens: 3, users: ['ada', 'ben'], genericShare: 0.3 }
const train = { steps: 150, batchSize: 9, learningRate: 0.1, evaluateEvery: 150 }
const run = tune(config({ method, out: join(folder, 'people'), train }))

test('each person has what they want, nobody has what is wanted of nobody, and one of them is exported as rows', async () => {
  const { result, folder: path } = await run
  expect(result.parameters).toBe((3 + 1 + 2) * 32)
  const { metrics, results } = await evaluate({ prompt: path, data })
  expect(metrics.accuracy!.value).toBe(1)
  expect(results).toHaveLength(rows.length)

  expect(await problemOf(exportPrompt(path, { to: 'peft', out: join(folder, 'none') }))).toMatchObject({
    code: 'not-exportable',
    hint: expect.stringContaining('--prompt-task NAME exports one of them'),
  })
  const unknown = exportPrompt(path, { to: 'peft', out: join(folder, 'none'), promptTask: 'bem' })
  expect(await problemOf(unknown)).toMatchObject({ code: 'unknown-task', hint: 'did you mean ben?' })
  const out = join(folder, 'ben')
  await exportPrompt(path, { to: 'peft', out, promptTask: 'ben' })
  expect(JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8'))).toMatchObject({
    peft_type: 'PROMPT_TUNING',
    num_virtual_tokens: 4,
  })
  await using model = await LanguageModel.load(toyModel, { threads: 1 })
  const active = activePrompt((await run).prompt, model)
  const row = { context: [5, 6], candidates: [{ ids: [7] }, { ids: [8] }] }
  const [wanted, nobody] = await model.logLikelihoods(active, [{ ...row, task: 1 }, row])
  const exported = await evaluateOne(model, out, row)
  expect(difference(exported, wanted!)).toBeLessThan(1e-5)
  expect(difference(exported, nobody!)).toBeGreaterThan(1e-3)
})

async function evaluateOne(model: LanguageModel, adapter: string, row: Parameters<LanguageModel['logLikelihoods']>[1][number]) {
  const { openPrompt } = await import('../../src/sources/open.js')
  const prompt = await (await openPrompt(adapter, {})).active(model)
  const [scores] = await model.logLikelihoods(prompt, [row])
  return scores!
}

test('people of whom there are no rows, and rows of nobody, are told of', async () => {
  const events: string[] = []
  await tune(config({ method: { ...method, users: ['ada', 'ben', 'cleo'] }, out: join(folder, 'three'), train: { steps: 1 } }), {
    onEvent: event => {
      if (event.event === 'warning') events.push(`${event.code}: ${event.message}`)
    },
  })
  expect(events).toContain('tasks-without-rows: no training row has user: "cleo"; nothing of their own is learned')
  expect(events).toContain('rows-of-no-task: 6 of 18 training rows have nothing as user')
})

test('what is generated for a row is for the person whom it names, in memory, in a file and in predictions', async () => {
  const { folder: path } = await run
  const one = async (promptTask?: string) =>
    (await generate({ prompt: path, promptTask, inputs: [{ text: 'the wine' }], maxNewTokens: 1 }))[0]!.text.trim()
  const [ada, ben, nobody] = [await one('ada'), await one('ben'), await one()]
  // Of one text they want opposite answers; nobody wants the one of both that half of the rows say.
  expect(ada).not.toBe(ben)
  const asked = [
    { text: 'the wine', user: 'ben' },
    { text: 'the wine', user: 'ada' },
    { text: 'the wine', user: '' },
    { text: 'the wine' },
  ]
  const wanted = [ben, ada, nobody, nobody]
  const answers = await generate({ prompt: path, inputs: asked, maxNewTokens: 1 })
  expect(answers.map(({ text }) => text.trim())).toEqual(wanted)
  const fixed = await generate({ prompt: path, promptTask: 'ada', inputs: asked.slice(0, 1), maxNewTokens: 1 })
  expect(fixed[0]!.text.trim()).toBe(ada)
  const [input, output] = [join(folder, 'asked.jsonl'), join(folder, 'answered.jsonl')]
  writeFileSync(input, asked.map(row => `${JSON.stringify(row)}\n`).join(''))
  await generate.toFile({ prompt: path, input, output, maxNewTokens: 1 })
  const lines = readFileSync(output, 'utf8').trim().split('\n')
  expect(lines.map(line => JSON.parse(line).text.trim())).toEqual(wanted)
  const predictions: string[] = []
  for await (const { prediction } of predict({ prompt: path, data: asked, answerType: 'text', maxNewTokens: 1 }))
    predictions.push(prediction.trim())
  expect(predictions).toEqual(wanted)
  const stranger = generate({ prompt: path, inputs: [{ text: 'the wine', user: 'bem' }] })
  expect(await problemOf(stranger)).toMatchObject({ code: 'unknown-task', hint: 'did you mean ben?' })
})

test('a person who is not known is refused, and so are names that are given twice', async () => {
  const strangers = join(folder, 'strangers.jsonl')
  writeFileSync(strangers, `${JSON.stringify({ text: 'the wine', label: '0', user: 'bem' })}\n`)
  const { folder: path } = await run
  expect(await problemOf(evaluate({ prompt: path, data: strangers }))).toMatchObject({
    code: 'unknown-task',
    hint: 'did you mean ben?',
  })
  const refused = (options: object) => problemOf(tune(config({ method: { ...method, ...options }, out: join(folder, 'none') })))
  expect(await refused({ users: ['ada', 'ada'] })).toMatchObject({ code: 'invalid-config' })
  expect(await refused({ users: [] })).toMatchObject({ message: expect.stringContaining('method.users is empty') })
  expect(await refused({ userColumn: 'users' })).toMatchObject({ code: 'no-task-rows', found: 'no column users' })
  expect(await refused({ clusters: 3 })).toMatchObject({ message: expect.stringContaining('beyond the number of people (2)') })
})

test('people start alike, as nobody does; kinds of people have shares that sum to one', async () => {
  await using model = await LanguageModel.load(toyModel, { threads: 1 })
  const personal = promptMethods.get('personal')
  const context = {
    model: model.config,
    tokenizer: model.tokenizer,
    embeddingRows: (ids: readonly number[]) => model.embeddingRows(ids),
    keysAndValues: (given: Float32Array) => model.keysAndValues(given),
    seed: 1,
    labelWords: [],
    learnedPrompts: () => Promise.resolve([]),
    exampleRows: () => [],
  }
  const row = { context: [5, 6], candidates: [{ ids: [7] }, { ids: [8] }] }
  const scores = async (options: object, change?: (parameters: Map<string, Float32Array>) => void) => {
    const chosen = { type: 'personal', numVirtualTokens: 2, users: ['ada', 'ben'], userTokens: 1, genericShare: 0.5, ...options }
    const full = { init: { type: 'vocabulary' }, shared: 'learned', userColumn: 'user', ...chosen }
    const parameters = await personal.initialise(full, context as never)
    change?.(parameters)
    return model.logLikelihoods({ method: personal, config: full, parameters }, [row, { ...row, task: 0 }, { ...row, task: 1 }])
  }
  const [nobody, ada, ben] = await scores({})
  expect([ada, ben]).toEqual([nobody, nobody])
  // Both are even mixtures; who is moved to the first kind alone has its offset, and nobody has none.
  const even = await scores({ clusters: 2 })
  expect(even[1]).toEqual(even[2])
  const first = (parameters: Map<string, Float32Array>) => {
    parameters.get('offsets')!.fill(0.5, 0, 32)
    parameters.get('mixture')!.set([30, -30], 0)
  }
  const moved = await scores({ clusters: 2 }, first)
  expect(moved[0]).toEqual(even[0])
  expect(difference(moved[1]!, even[1]!)).toBeGreaterThan(1e-3)
  const alone = await scores({}, parameters => parameters.get('offsets')!.fill(0.5, 0, 32))
  expect(difference(moved[1]!, alone[1]!)).toBeLessThan(1e-5)
})

test('so many rows of a step are learned as of nobody, the same ones when it is done again', () => {
  const records = Array.from({ length: 40 }, (_, i) => ({ text: String(i) }))
  const builder = { training: (_: unknown, index: number) => ({ index, task: 0 }), scoring: () => ({}) }
  const drawn = (genericShare: number | undefined) => {
    const options = { train: { batchSize: 40, bucket: false, accumulate: 1 }, seed: 5 }
    const made = batches(records, {
      config: options,
      rows: builder,
      builders: [builder, builder],
      answers: 2,
      genericShare,
    } as never)
    return Array.from({ length: 50 }, (_, step) => made.training(step))
  }
  const steps = drawn(0.3)
  expect(steps).toEqual(drawn(0.3))
  // Both answers of a record are of the same person.
  for (const step of steps) for (let i = 0; i < step.length; i += 2) expect(step[i]!.task).toBe(step[i + 1]!.task)
  const share = steps.flat().filter(({ task }) => task === undefined).length / (50 * 80)
  expect(share).toBeGreaterThan(0.26)
  expect(share).toBeLessThan(0.34)
  expect(
    drawn(undefined)
      .flat()
      .every(({ task }) => task === 0),
  ).toBe(true)
})
