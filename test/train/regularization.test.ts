import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { drawTemplate, readTask, taskRows } from '../../src/data/task.js'
import { meanCrossEntropy } from '../../src/losses/index.js'
import { lossTerm } from '../../src/losses/loss.js'
import { teacherDivergence } from '../../src/losses/teacher-divergence.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptTuning, promptTuningSchema } from '../../src/prompts/methods/prompt-tuning.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import type { GradpromptEvent, StepEvent } from '../../src/train/events.js'
import { createTeacher } from '../../src/train/regularisers/regularization.js'
import { eagerDisagreement, executionsOf } from '../prompts/support/watch.js'
import { dot, random, relativeError } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from './toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)
let count = 0
const config = (train: ConfigInput['train']) =>
  toyConfig(folder, { train: { steps: 12, batchSize: 4, ...train }, out: join(folder, `run-${count++}`) })
const promptBytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))

async function stepsOf(input: ConfigInput): Promise<StepEvent[]> {
  const events: GradpromptEvent[] = []
  await tune(input, { onEvent: event => events.push(event) })
  return events.filter(event => event.event === 'step')
}

/** Starts a run, stops it behind a step, and goes on with it. */
async function interrupted(input: ConfigInput, step: number): Promise<string> {
  const controller = new AbortController()
  const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === step && controller.abort()
  expect(await problemOf(tune(input, { signal: controller.signal, onEvent }))).toMatchObject({ code: 'aborted' })
  return (await resume(input.out!)).folder
}

describe('a teacher', () => {
  const rows = [
    { ids: [78, 80, 31, 14], labels: [-100, -100, -100, 14] },
    { ids: [78, 80, 31, 9, 60], labels: [-100, -100, -100, 9, 60] },
    { ids: [9, 80, 7, 20, 66], labels: [-100, -100, -100, -100, 66] },
  ]
  const prompt = (seed: number) => ({
    method: promptTuning as never,
    config: promptTuningSchema.parse({ type: 'prompt-tuning', numVirtualTokens: 3 }),
    parameters: new Map([['prompt', random(seed, [3, 32], 0.5).data]]),
  })
  let model: LanguageModel
  beforeAll(async () => {
    model = await LanguageModel.load(toyModel, { threads: 1 })
  })
  afterAll(() => model.dispose())

  const taughtBy = (said: readonly Float32Array[], weight = 0.7, temperature = 2) => [
    meanCrossEntropy,
    lossTerm(teacherDivergence, { type: 'teacher-divergence', temperature }, { weight, rows: said }),
  ]
  const teaching = async (of: Parameters<LanguageModel['labelLogProbabilities']>[0]) =>
    taughtBy(await createTeacher(model, of).logProbabilities(rows))

  test('adds its weight times the divergence that the logits say', async () => {
    const plain = await model.promptGradient(prompt(1), rows)
    const taught = await model.promptGradient(prompt(1), rows, { losses: await teaching(undefined) })
    const [own, frozen] = [
      await model.logits(
        rows.map(({ ids }) => ids),
        prompt(1),
      ),
      await model.logits(rows.map(({ ids }) => ids)),
    ]
    const divergences = rows.flatMap(({ labels }, i) =>
      labels.flatMap((label, j) => {
        if (label === -100) return []
        const at = (logits: Float32Array) => Array.from(logits.subarray((j - 1) * 96, j * 96), x => x / 2)
        const [p, q] = [logSoftmax(at(frozen[i]!)), logSoftmax(at(own[i]!))]
        return [p.reduce((sum, x, v) => sum + Math.exp(x) * (x - q[v]!), 0)]
      }),
    )
    const mean = divergences.reduce((a, b) => a + b, 0) / divergences.length
    expect(divergences).toHaveLength(4)
    expect(taught.figures.divergence).toBeCloseTo(mean, 4)
    expect(taught.loss - plain.loss).toBeCloseTo(0.7 * 4 * mean, 4)
    expect(plain.figures).toEqual({})
  })

  test('has a gradient that equals finite differences, and a program that equals its eager run', async () => {
    const lesson = await teaching(undefined)
    const runs = await executionsOf(async () => {
      const { gradients } = await model.promptGradient(prompt(1), rows, { losses: lesson })
      const gradient = gradients.get('prompt')!
      const plain = (await model.promptGradient(prompt(1), rows)).gradients.get('prompt')!
      expect(relativeError(gradient, plain)).toBeGreaterThan(0.05)
      for (const direction of [gradient, random(9, [96]).data]) {
        const along = async (h: number) => {
          const values = prompt(1)
            .parameters.get('prompt')!
            .map((x, i) => x + h * direction[i]!)
          return (
            await model.promptGradient({ ...prompt(1), parameters: new Map([['prompt', values]]) }, rows, { losses: lesson })
          ).loss
        }
        const h = 5e-3 / Math.sqrt(dot(direction, direction))
        const slope = ((await along(h)) - (await along(-h))) / (2 * h)
        expect(Math.abs(slope / dot(gradient, direction) - 1)).toBeLessThan(0.02)
      }
    })
    expect(runs[0]!.outputs.divergence).toHaveLength(1)
    expect(await eagerDisagreement(runs[0]!)).toBeLessThan(1e-5)
  })

  test('that says what the prompt says teaches nothing', async () => {
    const plain = await model.promptGradient(prompt(1), rows)
    const taught = await model.promptGradient(prompt(1), rows, { losses: await teaching(prompt(1)) })
    expect(Math.abs(taught.figures.divergence!)).toBeLessThan(1e-5)
    expect(relativeError(taught.gradients.get('prompt')!, plain.gradients.get('prompt')!)).toBeLessThan(1e-4)
  })

  test('is the same for a batch in parts', async () => {
    const small = await LanguageModel.load(toyModel, { threads: 1, memory: model.memory.estimate(6, 4, true) })
    const lesson = await teaching(prompt(2))
    const whole = await model.promptGradient(prompt(1), rows, { losses: lesson })
    const runs = await executionsOf(async () => {
      const parts = await small.promptGradient(prompt(1), rows, { losses: lesson })
      expect(parts.figures.divergence).toBeCloseTo(whole.figures.divergence!, 5)
      expect(relativeError(parts.gradients.get('prompt')!, whole.gradients.get('prompt')!)).toBeLessThan(1e-4)
    })
    await small.dispose()
    expect(runs.length).toBeGreaterThan(1)
  })

  test('says the same bits whether it remembers or not, and computes a row once if it does', async () => {
    const forgetful = createTeacher(model, undefined, { bytes: 96 * 4 })
    const teacher = createTeacher(model, undefined)
    const first = await teacher.logProbabilities(rows)
    expect(await forgetful.logProbabilities(rows)).toEqual(first)
    const again = await executionsOf(async () =>
      expect(await teacher.logProbabilities([...rows].reverse())).toEqual(first.reverse()),
    )
    expect(again).toHaveLength(0)
    // Room for the first row alone.
    expect(await executionsOf(() => forgetful.logProbabilities(rows))).toHaveLength(2)
  })

  test('that has not as many labels, or nothing to say a label from, is refused', async () => {
    const said = await createTeacher(model, undefined).logProbabilities(rows)
    const short = [said[0]!, ...said]
    expect(await problemOf(model.promptGradient(prompt(1), rows, { losses: taughtBy(short) }))).toMatchObject({
      code: 'shape-mismatch',
    })
    const first = { ids: [14, 3], labels: [14, -100] }
    expect(await problemOf(model.labelLogProbabilities(undefined, first))).toMatchObject({ code: 'unpredictable-label' })
  })
})

describe('train.regularization', () => {
  test('keeps the prompt nearer to the frozen model', async () => {
    const last = async (weight: number) => (await stepsOf(config({ steps: 40, regularization: { weight } }))).at(-1)!
    const [light, heavy] = [await last(0.001), await last(3)]
    expect(heavy.divergence!).toBeLessThan(0.5 * light.divergence!)
    expect((await stepsOf(config({})))[0]).not.toHaveProperty('divergence')
  })

  test('goes on to the same bits', async () => {
    const train = { regularization: { weight: 0.5, temperature: 2 }, checkpointEvery: 3, batchSize: 8 }
    const whole = (await tune(config(train))).folder
    expect(promptBytes(await interrupted(config(train), 7)).equals(promptBytes(whole))).toBe(true)
  })
})

describe('an average', () => {
  test('is what a run scores and keeps', async () => {
    const train = { keep: 'last' as const, evaluateEvery: 6 }
    const plain = await tune(config(train))
    const late = await tune(config({ ...train, average: { mean: 1, deviation: 1e-3 } }))
    expect(late.prompt.tensors).toEqual(plain.prompt.tensors)
    expect(late.result.metrics).toEqual(plain.result.metrics)
    const wide = await tune(config({ ...train, average: { mean: 0.5, deviation: 1 } }))
    expect(wide.prompt.tensors).not.toEqual(plain.prompt.tensors)
    expect(wide.result.metrics).not.toEqual(plain.result.metrics)
  })

  test('goes on to the same bits, also to more steps', async () => {
    const train = { average: {}, checkpointEvery: 3, evaluateEvery: 4 }
    const [a, b] = [(await tune(config(train))).folder, await interrupted(config(train), 8)]
    expect(promptBytes(b).equals(promptBytes(a))).toBe(true)
    await resume(a, { steps: 18 })
    const controller = new AbortController()
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === 14 && controller.abort()
    await problemOf(resume(b, { steps: 18, signal: controller.signal, onEvent }))
    await resume(b)
    expect(promptBytes(b).equals(promptBytes(a))).toBe(true)
  })
})

describe('train.templates', () => {
  test('a row draws one by seed and epoch, all of them equally often', () => {
    const draws = (seed: number, epoch: number) => Array.from({ length: 300 }, (_, row) => drawTemplate(3, { seed, epoch, row }))
    const counts = [0, 1, 2].map(one => draws(13, 0).filter(drawn => drawn === one).length)
    for (const drawn of counts) expect(Math.abs(drawn - 100)).toBeLessThan(30)
    expect(draws(13, 0)).toEqual(draws(13, 0))
    expect(draws(13, 1)).not.toEqual(draws(13, 0))
    expect(draws(14, 0)).not.toEqual(draws(13, 0))
  })

  test('are learned from, scored with the first alone, and go on to the same bits', async () => {
    const train = { templates: ['{text} .'], checkpointEvery: 3, regularization: {}, evaluateEvery: 6 }
    const whole = await tune(config(train))
    expect(whole.prompt.template).toBe('{text} -')
    expect(promptBytes(await interrupted(config(train), 7)).equals(promptBytes(whole.folder))).toBe(true)
    expect(
      promptBytes((await tune(config({ ...train, templates: ['{text} -'] }))).folder).equals(promptBytes(whole.folder)),
    ).toBe(false)
    const plain = await tune(config({ regularization: {}, checkpointEvery: 3, evaluateEvery: 6 }))
    const same = await tune(config({ ...train, templates: ['{text} -'] }))
    // A template twice is the template.
    expect(promptBytes(same.folder).equals(promptBytes(plain.folder))).toBe(true)
    // Dev rows are asked as the result's own template asks them.
    const parsed = parseConfig(config(train))
    const task = await readTask(parsed)
    const dev = join(folder, 'scored.jsonl')
    writeFileSync(dev, task.dev.map(record => `${JSON.stringify(record)}\n`).join(''))
    expect((await evaluate({ prompt: whole.folder, data: dev })).metrics.logLikelihood?.value).toBeCloseTo(
      whole.result.metrics.logLikelihood!.value,
      4,
    )
    // The base model's scores have nothing to do with them.
    expect(whole.result.control).toEqual(plain.result.control)
  })

  test('are checked with the training rows', async () => {
    expect(await problemOf(tune(config({ templates: ['{body} -'] })))).toMatchObject({
      code: 'missing-column',
      found: '{body}',
    })
    const parsed = parseConfig(config({ templates: ['{text} - {text} - {text} -'] }))
    const model = await LanguageModel.load(toyModel)
    const limits = { tokenizer: model.tokenizer, contextLength: 14, numVirtualTokens: 4 }
    const task = await readTask(parsed)
    expect(() => taskRows(parsed, task, limits)).toThrow(/longer than the model's context/)
    const { template: _, ...train } = { template: 0, ...parsed.train, templates: undefined }
    expect(taskRows({ ...parsed, train } as typeof parsed, task, limits).builders).toHaveLength(1)
    await model.dispose()
  })

  test('end before the answer', () => {
    const path = join(folder, 'toy.tsv')
    writeFileSync(path, 'a\tb\n')
    const ends = [{ role: 'assistant' as const, content: 'so' }]
    expect(() => parseConfig(config({ templates: ['{text}', ends] }))).toThrow(
      'the last message of train.templates.1 is the assistant',
    )
  })
})

function logSoftmax(logits: number[]): number[] {
  const level = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0))
  return logits.map(x => x - level)
}
