import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { readTask } from '../../src/data/task.js'
import { meanCrossEntropy } from '../../src/losses/index.js'
import type { LossTerm } from '../../src/losses/loss.js'
import type { Lesson } from '../../src/losses/teacher.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { sourceWeights } from '../../src/prompts/transfer.js'
import { activePrompt } from '../../src/sources/prompt.js'
import { writePrompt } from '../../src/store/prompt-file.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import type { StepEvent } from '../../src/train/events.js'
import { prepareJob } from '../../src/train/job.js'
import { lessons } from '../../src/train/regularisers/distillation.js'
import { eagerDisagreement, executionsOf } from '../prompts/support/watch.js'
import { dot, random, relativeError } from '../support/numbers.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from './toy.js'

const { folder, remove } = temporaryFolder()
const opened = LanguageModel.load(toyModel, { threads: 1 })
const source = tune(toyConfig(folder, { out: join(folder, 'source'), train: { steps: 40, keep: 'last' } }))
afterAll(async () => {
  await (await opened).dispose()
  remove()
})

/** What a batch brings of a teacher. */
const lessonOf = (term: LossTerm | undefined) => term!.data as Lesson

const plainly = { weight: 1, temperature: 1, hidden: 0, scale: 'none', alone: false } as const

const rows = [
  { ids: [78, 80, 31, 14], labels: [-100, -100, -100, 14] },
  { ids: [78, 80, 31, 9, 60], labels: [-100, -100, -100, 9, 60] },
]

test('the prompt that a run starts from is what it is first held to', async () => {
  const { folder: from } = await source
  const init = { type: 'runs' as const, from: [from] }
  const config = parseConfig(toyConfig(folder, { method: { type: 'prompt-tuning', numVirtualTokens: 4, init } }))
  const model = await opened
  const { prompt } = await prepareJob(config, await readTask(config), model)
  const teach = await lessons({ distillation: { from: 'source-prompt', ...plainly, weight: 2 } }, prompt, model)
  const first = await model.promptGradient(prompt, rows, { losses: [meanCrossEntropy, ...(await teach(rows))] })
  expect(Math.abs(first.figures.divergence!)).toBeLessThan(1e-5)
  const values = prompt.parameters.get('prompt')!
  values.set(values.map(x => x + 0.3))
  // The teacher stays where the prompt was.
  const later = await model.promptGradient(prompt, rows, { losses: [meanCrossEntropy, ...(await teach([...rows]))] })
  expect(later.figures.divergence).toBeGreaterThan(1e-3)
})

test('another run teaches, also against the labels', async () => {
  // It has learned the opposite answers.
  const opposite = toyConfig(folder, { out: join(folder, 'opposite'), train: { steps: 40, keep: 'last' } })
  const { folder: from } = await tune({ ...opposite, data: { ...opposite.data, labels: { 0: 'of', 1: 'the' } } })
  const model = await opened
  const config = parseConfig(toyConfig(folder))
  const task = await readTask(config)
  const { rows: builder } = await prepareJob(config, task, model)
  const own = task.train.slice(0, 8).map((record, i) => builder.training(record, i))
  const divergence = async (train: ConfigInput['train'], out: string) => {
    const { prompt } = await tune(
      toyConfig(folder, { train: { steps: 30, keep: 'last', ...train }, out: join(folder, out), seed: 3 }),
    )
    const student = activePrompt(prompt, model)
    const teach = await lessons({ distillation: { from, ...plainly } }, student, model)
    return (await model.promptGradient(student, own, { losses: [meanCrossEntropy, ...(await teach(own))] })).figures.divergence!
  }
  const alone = await divergence({}, 'labels')
  const taught = await divergence({ distillation: { from, weight: 10 } }, 'taught')
  expect(alone).toBeGreaterThan(1)
  expect(taught).toBeLessThan(alone / 2)
})

test('both teachers together have the gradient that they have one by one', async () => {
  const { folder: from } = await source
  const model = await opened
  const config = parseConfig(toyConfig(folder))
  const { prompt } = await prepareJob(config, await readTask(config), model)
  const gradient = async (options: Parameters<typeof lessons>[0]) => {
    const teach = await lessons(options, prompt, model)
    const { gradients } = await model.promptGradient(prompt, rows, { losses: [meanCrossEntropy, ...(await teach(rows))] })
    return gradients.get('prompt')!
  }
  const regularization = { weight: 0.5, temperature: 2 }
  const distillation = { from, ...plainly, weight: 1.5, temperature: 2 }
  const [plain, frozen, other, both] = [
    await gradient({}),
    await gradient({ regularization }),
    await gradient({ distillation }),
    await gradient({ regularization, distillation }),
  ]
  const sum = plain.map((x, i) => frozen[i]! + other[i]! - x)
  expect(relativeError(both, sum)).toBeLessThan(1e-4)
  expect(relativeError(both, plain)).toBeGreaterThan(0.05)
})

test('each task of a prompt has its own teacher', async () => {
  const { folder: first } = await source
  const second = (await tune(toyConfig(folder, { out: join(folder, 'second'), seed: 5, train: { steps: 3 } }))).folder
  const data = join(folder, 'tasks.tsv')
  writeFileSync(data, `${['the wine\t0\ta', 'the stone\t1\tb'].flatMap(line => Array(6).fill(line)).join('\n')}\n`)
  const input = (from: string[]): ConfigInput => ({
    ...toyConfig(folder, {
      method: { type: 'mpt', numVirtualTokens: 4, tasks: ['a', 'b'] },
      out: join(folder, 'both'),
      train: { steps: 3, distillation: { from, weight: 1 } },
    }),
    data: { train: data, columns: ['text', 'label', 'task'], labels: { 0: 'the', 1: 'of' } },
  })
  const model = await opened
  const config = parseConfig(input([first, second]))
  const { prompt } = await prepareJob(config, await readTask(config), model)
  const said = async (from: string | string[]) => {
    const teach = await lessons({ distillation: { from, ...plainly } }, prompt, model)
    return lessonOf((await teach(rows.map((row, task) => ({ ...row, task }))))[0]).rows
  }
  const [a, b, each] = [await said(first), await said(second), await said([first, second])]
  expect(each).toEqual([a[0], b[1]])
  expect(a[1]).not.toEqual(b[1])
  expect((await tune(input([first, second]))).result.steps).toBe(3)
  expect(await problemOf(tune({ ...input([first, second, first]), out: join(folder, 'three') }))).toMatchObject({
    code: 'invalid-config',
    expected: '1, or 2: one for each of method.tasks, in their order',
  })
})

test('a run that was stopped goes on to the same bits', async () => {
  const { folder: from } = await source
  const input = (out: string) =>
    toyConfig(folder, { train: { steps: 6, checkpointEvery: 2, distillation: { from } }, out: join(folder, out) })
  const whole = await tune(input('whole'))
  const controller = new AbortController()
  const onEvent = (event: { event: string }) => event.event === 'step' && (event as StepEvent).step === 3 && controller.abort()
  expect(await problemOf(tune(input('cut'), { signal: controller.signal, onEvent }))).toMatchObject({ code: 'aborted' })
  const again = await resume(join(folder, 'cut'))
  const bytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))
  expect(bytes(again.folder).equals(bytes(whole.folder))).toBe(true)
})

test('what contradicts itself or does not fit is refused', async () => {
  const parse = (train: ConfigInput['train']) => problem(() => parseConfig(toyConfig(folder, { train: { steps: 2, ...train } })))
  expect(parse({ distillation: { from: 'source-prompt' } }).message).toContain('needs method.init.type: runs')
  expect(parse({ regularization: { temperature: 2 }, distillation: { from: 'a', temperature: 3 } }).message).toContain(
    'train.regularization.temperature (2) and train.distillation.temperature (3) differ',
  )
  const missing = tune(toyConfig(folder, { train: { steps: 2, distillation: { from: 'nowhere' } }, out: join(folder, 'no') }))
  expect(await problemOf(missing)).toMatchObject({
    code: 'file-not-found',
    message: expect.stringContaining('train.distillation.from'),
  })
})

describe('hidden states', () => {
  const taught = async () => {
    const { prompt: source0 } = await source
    const model = await opened
    const teacher = activePrompt(source0, model)
    const parameters = new Map([['prompt', random(4, [4, 32], 0.5).data]])
    return { model, teacher, student: { ...teacher, parameters } }
  }

  test('of a teacher add the mean squared difference to the loss, and its gradient', async () => {
    const { model, teacher, student } = await taught()
    const distillation = { from: (await source).folder, ...plainly, hidden: 0.7 }
    const terms = await (await lessons({ distillation }, student, model))(rows)
    expect(terms).toHaveLength(2)
    const losses = [meanCrossEntropy, ...terms]
    const without = await model.promptGradient(student, rows, { losses: losses.slice(0, 2) })
    const together = await model.promptGradient(student, rows, { losses })
    const differences: number[] = []
    for (const row of rows) {
      const [wanted, own] = [await model.labelStates(teacher, row), await model.labelStates(student, row)]
      expect(wanted.logProbabilities).toEqual(await model.labelLogProbabilities(teacher, row))
      differences.push(...wanted.hidden.map((x, i) => (x - own.hidden[i]!) ** 2))
    }
    const mean = differences.reduce((a, b) => a + b, 0) / differences.length
    expect(mean).toBeGreaterThan(0.1)
    expect(together.loss - without.loss).toBeCloseTo(0.7 * mean, 4)
    expect(together.figures.divergence).toBeCloseTo(without.figures.divergence!, 6)

    const gradient = together.gradients.get('prompt')!
    const length = Math.sqrt(dot(gradient, gradient))
    const along = async (h: number) => {
      const moved = student.parameters.get('prompt')!.map((x, i) => x + (h * gradient[i]!) / length)
      return (await model.promptGradient({ ...student, parameters: new Map([['prompt', moved]]) }, rows, { losses })).loss
    }
    const step = 2e-3
    expect(Math.abs(((await along(step)) - (await along(-step))) / (2 * step) / length - 1)).toBeLessThan(0.01)
    const runs = await executionsOf(async () => {
      await model.promptGradient(student, rows, { losses })
      await model.labelStates(student, rows[0]!)
    })
    for (const run of runs) expect(await eagerDisagreement(run), run.spec.name).toBeLessThan(2e-5)
  })

  test('of the prompt that a run starts from differ by nothing at first', async () => {
    const { model, teacher } = await taught()
    const teach = await lessons({ distillation: { from: 'source-prompt', ...plainly, hidden: 2 } }, teacher, model)
    const [plain, held] = [
      await model.promptGradient(teacher, rows),
      await model.promptGradient(teacher, rows, { losses: [meanCrossEntropy, ...(await teach(rows))] }),
    ]
    expect(held.loss - plain.loss).toBeLessThan(1e-5)
  })

  test('are an option of a run', async () => {
    const train = { steps: 3, distillation: { from: (await source).folder, hidden: 0.9, scale: 'neurons' as const } }
    expect((await tune(toyConfig(folder, { train, out: join(folder, 'hidden') }))).result.steps).toBe(3)
  })
})

test("a teacher counts as much as its prompt's neurons overlap with the task's", async () => {
  const { folder: from } = await source
  const model = await opened
  const config = parseConfig(toyConfig(folder))
  const { prompt } = await prepareJob(config, await readTask(config), model)
  const examples = () => [{ ids: [5, 6, 7, 8], kinds: ['template', 'input', 'input', 'label'] as const }]
  const weights = async (scale: 'none' | 'neurons') => {
    const distillation = { from, ...plainly, weight: 3, hidden: 2, scale }
    const [divergence, difference] = await (await lessons({ distillation }, prompt, model, { exampleRows: examples }))(rows)
    return { weight: lessonOf(divergence).weight, hidden: lessonOf(difference).weight }
  }
  expect(await weights('none')).toEqual({ weight: 3, hidden: 2 })
  const { weight, hidden } = await weights('neurons')
  const [near] = await sourceWeights('panda', [activePrompt((await source).prompt, model).parameters.get('prompt')!], {
    model: model.config,
    embeddingRows: ids => model.embeddingRows(ids),
    keysAndValues: rows => model.keysAndValues(rows),
    exampleRows: examples,
  })
  expect(near).toBeGreaterThan(0.1)
  expect(near).toBeLessThan(0.99)
  expect(weight).toBeCloseTo(3 * near!, 6)
  expect(hidden).toBeCloseTo(2 * near!, 6)
  const lpt = parseConfig(toyConfig(folder, { method: { type: 'lpt', numVirtualTokens: 4 } }))
  const { prompt: late } = await prepareJob(lpt, await readTask(lpt), model)
  const refused = problemOf(lessons({ distillation: { from: 'source-prompt', ...plainly, scale: 'neurons' } }, late, model))
  expect(await refused).toMatchObject({ code: 'invalid-config', found: 'train.distillation.from: lpt' })
})

test('a teacher of another model is refused before the model is loaded', async () => {
  const { prompt } = await source
  const path = join(folder, 'other.safetensors')
  await writePrompt(path, { ...prompt, model: { name: 'another', hash: 'f'.repeat(64) } })
  const load = vi.spyOn(LanguageModel, 'load')
  try {
    for (const [from, code] of [
      [path, 'model-mismatch'],
      [join(folder, 'nowhere'), 'file-not-found'],
    ] as const)
      expect(
        await problemOf(tune(toyConfig(folder, { train: { distillation: { from } }, out: join(folder, 'no') }))),
      ).toMatchObject({
        code,
      })
    expect(load).not.toHaveBeenCalled()
  } finally {
    load.mockRestore()
  }
})
