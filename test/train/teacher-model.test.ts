import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { writeRequantized } from '../../scripts/study/requantized.js'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { meanCrossEntropy } from '../../src/losses/index.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import type { StepEvent } from '../../src/train/events.js'
import { lessons } from '../../src/train/regularisers/distillation.js'
import { teacherModel } from '../../src/train/study/teacher-model.js'
import { difference, dot, random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { methodConfig } from '../support/prompt-fixtures.js'
import { temporaryFolder } from './toy.js'

/** A prompt on rounded weights, held to what the same model says at full precision. */

const { folder, remove } = temporaryFolder()
const source = 'test/fixtures/models/llama-gguf'
const file = (type: string) => join(folder, `${type}.gguf`)
const taught = { weight: 1, temperature: 1, hidden: 0, scale: 'none', alone: true } as const
const rows = [
  { ids: [9, 5, 6, 30, 41, 12], labels: [-100, 5, 6, 30, 41, 12] },
  { ids: [17, 5, 8], labels: [-100, -100, 8] },
]
let eight: LanguageModel
let whole: LanguageModel
let prompt: ActivePrompt

beforeAll(async () => {
  await writeRequantized(source, file('Q8_0'), 'Q8_0')
  // What the integers stand for, in float32: a quantiser that changes nothing.
  await writeRequantized(file('Q8_0'), file('F32'), 'F32')
  await writeRequantized(source, file('Q4_0'), 'Q4_0')
  eight = await LanguageModel.load(file('Q8_0'), { threads: 1, keepWeights: 'compact' })
  whole = await LanguageModel.load(file('F32'), { threads: 1, keepWeights: 'fp32' })
  const config = methodConfig({ type: 'prompt-tuning', numVirtualTokens: 3 })
  const method = promptMethods.get('prompt-tuning')!
  prompt = { method, config, parameters: new Map([['prompt', random(7, [3 * eight.config.hiddenSize], 0.5).data]]) }
})
afterAll(async () => {
  await Promise.all([eight, whole].map(model => model?.dispose()))
  remove()
})

/** The divergence from a teacher, and its gradient. */
async function divergence(student: LanguageModel, teacher: string, under: ActivePrompt = prompt) {
  await using other = teacherModel(teacher, student)
  const teach = await lessons({ distillation: { ...taught, model: teacher } }, under, student, { other })
  return student.promptGradient(under, rows, { losses: await teach(rows) })
}

test('the weights are integers of 8 bits where they are matrices', () => {
  const dtypes = [...eight.weights.tensors.values()].filter(({ shape }) => shape.length === 2).map(({ dtype }) => dtype)
  expect(new Set(dtypes)).toContain('int8')
})

test('a quantiser that changes nothing changes neither loss nor gradient', async () => {
  const losses = [meanCrossEntropy]
  expect(await eight.promptGradient(prompt, rows, { losses })).toEqual(await whole.promptGradient(prompt, rows, { losses }))
  const [own, theirs] = [await divergence(eight, file('Q4_0')), await divergence(whole, file('Q4_0'))]
  expect(own.loss).toBeGreaterThan(1e-3)
  expect(own).toEqual(theirs)
})

test('of a model and itself the divergence is nothing', async () => {
  await using other = teacherModel(file('F32'), eight)
  const [row] = rows
  const teacher = await (await other!.open()).labelLogProbabilities(undefined, row!)
  const student = await eight.labelLogProbabilities(undefined, row!)
  expect(difference(teacher, student)).toBe(0)
  // Under a prompt it is not.
  expect((await divergence(eight, file('F32'))).loss).toBeGreaterThan(0)
})

test('the divergence is that from the other model, token by token', async () => {
  await using other = teacherModel(file('Q4_0'), eight)
  const theirs = await other!.open()
  let [sum, labels] = [0, 0]
  const { vocabSize } = eight.config
  for (const row of rows) {
    const [teacher, student] = [
      await theirs.labelLogProbabilities(undefined, row),
      await eight.labelLogProbabilities(prompt, row),
    ]
    for (const [i, wanted] of teacher.entries()) sum += Math.exp(wanted) * (wanted - student[i]!)
    labels += teacher.length / vocabSize
  }
  const { loss } = await divergence(eight, file('Q4_0'))
  expect(loss).toBeCloseTo(sum / labels, 4)
  expect(Math.abs(loss - (await divergence(eight, file('F32'))).loss)).toBeGreaterThan(1e-3)
})

test('the gradient on integers of 8 bits equals finite differences', async () => {
  const values = prompt.parameters.get('prompt')!
  const { gradients } = await divergence(eight, file('F32'))
  const gradient = gradients.get('prompt')!
  const length = Math.sqrt(dot(gradient, gradient))
  expect(length).toBeGreaterThan(0.01)
  const directions = [
    gradient.map(x => x / length),
    ...[0, 17, values.length - 1].map(at => gradient.map((_, i) => (i === at ? 1 : 0))),
  ]
  for (const direction of directions) {
    const step = 5e-3
    const along = async (h: number) => {
      const shifted = new Map([['prompt', values.map((x, i) => x + h * direction[i]!)]])
      return (await divergence(eight, file('F32'), { ...prompt, parameters: shifted })).loss
    }
    const found = ((await along(step)) - (await along(-step))) / (2 * step)
    expect(Math.abs(found - dot(gradient, direction))).toBeLessThan(0.01 * length + 3e-4)
  }
})

const text = join(folder, 'text.tsv')
const config = (distillation: object, train: object = {}) => ({
  model: file('Q4_0'),
  data: { train: text, dev: text, columns: ['before', 'text'] },
  template: '{before}',
  answer: '{text}',
  answerType: 'text' as const,
  answerEnd: 'none',
  method: { type: 'prompt-tuning' as const, numVirtualTokens: 3 },
  train: { steps: 4, batchSize: 2, learningRate: 0.05, distillation, ...train },
  threads: 1,
})
writeFileSync(text, 'a\tin the of\nb\tof in\nin\tthe to of a\n')

test('a run on rounded weights says what full precision comes to beside it, and goes on to the same bits', async () => {
  const losses: StepEvent[] = []
  const input = config({ model: file('F32'), alone: true }, { checkpointEvery: 1, keep: 'last' })
  const hear = { onEvent: (event: { event: string }) => event.event === 'step' && losses.push(event as StepEvent) }
  const run = await tune({ ...input, out: join(folder, 'run') }, hear)
  for (const { loss, divergence: own } of losses as (StepEvent & { divergence: number })[]) expect(loss).toBeCloseTo(own, 5)
  expect(losses.at(-1)!.loss).toBeLessThan(losses[0]!.loss)
  const { control, metrics } = run.result
  const plainly = await tune({
    ...config({ model: file('F32') }),
    model: file('F32'),
    train: { steps: 0 },
    out: join(folder, 'whole'),
  })
  expect(control.teacher!.metrics).toEqual(plainly.result.control.plain.metrics)
  expect(control.plain.metrics).not.toEqual(control.teacher!.metrics)
  expect(metrics).toHaveProperty('perplexity')
  // The page has it beside the others, as the terminal does.
  const page = readFileSync(join(run.folder, 'report.html'), 'utf8')
  expect(page).toContain('the teacher&#39;s model, no prompt')
  const controller = new AbortController()
  const stopped = tune(
    { ...input, out: join(folder, 'stopped') },
    { signal: controller.signal, onEvent: event => event.event === 'step' && event.step === 2 && controller.abort() },
  )
  expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
  const again = await resume(join(folder, 'stopped'))
  expect(again.prompt.tensors).toEqual(run.prompt.tensors)
  expect(again.result.control).toEqual(control)
})

test.each([
  [{}, 'invalid-config'],
  [{ model: 'test/fixtures/models/llama-sentencepiece', alone: true }, 'model-mismatch'],
  [{ model: file('F32'), scale: 'neurons' }, 'invalid-config'],
])('%j is refused: %s', async (distillation, code) => {
  expect(await problemOf(tune(config(distillation)))).toMatchObject({ code })
})

test('a model that cuts texts into other tokens is refused', async () => {
  const other = join(folder, 'other-tokens')
  cpSync('test/fixtures/models/llama-gqa', other, { recursive: true })
  const path = join(other, 'tokenizer.json')
  const tokenizer = JSON.parse(readFileSync(path, 'utf8'))
  const { vocab } = tokenizer.model
  const [a, e] = [vocab.a, vocab.e]
  Object.assign(vocab, { a: e, e: a })
  writeFileSync(path, JSON.stringify(tokenizer))
  const problem = await problemOf(tune(config({ model: other, alone: true })))
  expect(problem).toMatchObject({ code: 'model-mismatch', found: expect.stringContaining('as the tokens') })
})

test('a loss beside a teacher that is alone is refused', async () => {
  const loss = { type: 'mellowmax' as const }
  expect(await problemOf(tune(config({ model: file('F32'), alone: true }, { loss })))).toMatchObject({ code: 'invalid-config' })
})
