import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { classLoss } from '../../src/losses/class-cross-entropy.js'
import { losses } from '../../src/losses/index.js'
import type { ActivePrompt } from '../../src/model/active-prompt.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import type { ConfigInput } from '../../src/train/config.js'
import { classGradient } from '../../src/train/steps/class-gradient.js'
import { dot, random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { methodConfig } from '../support/prompt-fixtures.js'
import { temporaryFolder, toyConfig, toyModel } from './toy.js'

/** A loss over the classes of a row, whose answers may stand under different prompts. */

const { folder, remove } = temporaryFolder()
afterAll(remove)
let model: LanguageModel
beforeAll(async () => {
  model = await LanguageModel.load(toyModel, { threads: 1 })
})
afterAll(() => model.dispose())

const active = {
  loss: losses.get('class-cross-entropy'),
  options: { type: 'class-cross-entropy', labelSmoothing: 0 } as { type: string },
}

/** A prompt of a method somewhere in the open. */
function prompt(type: string, options: object = {}): ActivePrompt {
  const config = methodConfig({ type, numVirtualTokens: 3, ...options } as { type: string })
  const method = promptMethods.get(type)
  const shapes = method.parameters(config, model.config)
  const values = shapes.map(({ name, shape, frozen }, i) => {
    const drawn = random(i + 1, shape, 0.5).data
    return [name, frozen ? Float32Array.of(0.5, 0.5) : drawn] as const
  })
  return { method, config, parameters: new Map(values) }
}

const rows = [
  { index: 0, context: [78, 80, 31, 7], target: 1, candidates: [{ label: 'a', ids: [14] }, { label: 'b', ids: [60, 3] }, { label: 'c', ids: [33] }] },
  { index: 1, context: [78, 9], target: 0, candidates: [{ label: 'a', ids: [14] }, { label: 'b', ids: [60, 3] }, { label: 'c', ids: [33] }] },
] // biome-ignore format: a row a line
const withTasks = rows.map(row => ({
  ...row,
  candidates: row.candidates.map(one => ({ ...one, task: one.label === 'a' ? 0 : 1 })),
}))

test('is the cross entropy of the right class, and its slopes are q - t', () => {
  const { loss, slopes } = classLoss([Math.log(0.5), Math.log(0.3), Math.log(0.2)], 1)
  expect(loss).toBeCloseTo(-Math.log(0.3), 12)
  for (const [i, slope] of [0.5, -0.7, 0.2].entries()) expect(slopes[i]).toBeCloseTo(slope, 12)
  // Scores of likelihoods that are no distribution are made one.
  expect(classLoss([-1000, -1001], 0).loss).toBeCloseTo(Math.log(1 + Math.exp(-1)), 9)
  const smooth = classLoss([0, 0], 0, 0.2)
  expect(smooth.loss).toBeCloseTo(Math.log(2), 12)
  expect(smooth.slopes[0]).toBeCloseTo(0.5 - 0.9, 12)
})

describe.each([
  ['one prompt', 'prompt-tuning', rows],
  ['two prompts', 'lapt', withTasks],
] as const)('%s', (_, type, given) => {
  test('the gradient equals finite differences of the mean loss', async () => {
    const at = prompt(type, type === 'lapt' ? { known: ['a'] } : {})
    const lossOf = async (one: ActivePrompt) => {
      const scores = await model.logLikelihoods(one, given)
      return given.reduce((sum, { target }, i) => sum + classLoss(scores[i]!, target).loss / given.length, 0)
    }
    const { loss, gradients, figures } = await classGradient(model, at, given as never, active, { recompute: false })
    expect(loss).toBeCloseTo(await lossOf(at), 5)
    expect(figures.batchAccuracy).toBeGreaterThanOrEqual(0)
    for (const [name, gradient] of gradients) {
      const length = Math.sqrt(dot(gradient, gradient))
      expect(length, name).toBeGreaterThan(0.01)
      const step = 5e-3 / Math.max(1, length)
      const along = (h: number) =>
        lossOf({ ...at, parameters: new Map([...at.parameters].map(([key, x]) => [key, key === name ? x.map((v, i) => v + (h * gradient[i]!) / length) : x])) }) // biome-ignore format: one call
      const slope = ((await along(step)) - (await along(-step))) / (2 * step)
      expect(Math.abs(slope - length), name).toBeLessThan(0.01 * length + 1e-3)
    }
  })
})

test('a candidate of a task is scored under that task alone', async () => {
  const both = prompt('lapt', { known: ['a'] })
  const alone = (name: string): ActivePrompt => ({
    method: promptMethods.get('prompt-tuning'),
    config: methodConfig({ type: 'prompt-tuning', numVirtualTokens: 3 } as { type: string }),
    parameters: new Map([['prompt', both.parameters.get(name)!]]),
  })
  const found = await model.logLikelihoods(both, withTasks)
  const [known, foreign] = [await model.logLikelihoods(alone('known'), rows), await model.logLikelihoods(alone('foreign'), rows)]
  for (const [i, scores] of found.entries()) {
    expect(scores[0]).toBeCloseTo(known[i]![0]!, 5)
    expect(scores[1]).toBeCloseTo(foreign[i]![1]!, 5)
    expect(scores[2]).toBeCloseTo(foreign[i]![2]!, 5)
  }
})

describe('a run', () => {
  const config = (options: Partial<ConfigInput> = {}) =>
    toyConfig(folder, {
      method: { type: 'lapt', numVirtualTokens: 4, known: ['the'] },
      train: { steps: 12, batchSize: 4, checkpointEvery: 4, loss: { type: 'class-cross-entropy' } },
      threads: 1,
      ...options,
    })

  test('learns, is scored among all labels, and goes on to the same bits', async () => {
    const losses: number[] = []
    const whole = await tune(
      { ...config(), out: join(folder, 'whole') },
      { onEvent: event => event.event === 'step' && losses.push(event.loss) },
    )
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 2)
    expect(whole.result.metrics.accuracy!.value).toBe(1)
    const controller = new AbortController()
    const stopped = tune(
      { ...config(), out: join(folder, 'stopped') },
      { signal: controller.signal, onEvent: event => event.event === 'step' && event.step === 6 && controller.abort() },
    )
    expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
    await resume(join(folder, 'stopped'))
    const bytes = (run: string) => readFileSync(join(folder, run, 'prompt.safetensors'))
    expect(bytes('stopped').equals(bytes('whole'))).toBe(true)
  })

  test('free text, several words for a class, and a teacher are refused before a folder is made', async () => {
    const out = join(folder, 'refused')
    const of = (options: Partial<ConfigInput>) => problemOf(tune({ ...config(options), out }))
    const loss = { type: 'class-cross-entropy' } as const
    const texts = join(folder, 'texts.tsv')
    writeFileSync(texts, 'the wine\tthe\n'.repeat(4))
    const data = { train: texts, columns: ['text', 'label'] }
    expect(await of({ data, answerType: 'text', train: { loss, steps: 1 } })).toMatchObject({ code: 'invalid-config' })
    const words = { ...config().data, labels: { 0: ['the', 'on'], 1: 'of' } }
    expect(await of({ data: words as never })).toMatchObject({ code: 'invalid-config' })
    expect(await of({ train: { loss, steps: 1, regularization: {} } })).toMatchObject({ code: 'invalid-config' })
  })
})
