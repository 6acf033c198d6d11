import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readTask } from '../../../src/data/task.js'
import { losses } from '../../../src/losses/index.js'
import type { ActivePrompt } from '../../../src/model/active-prompt.js'
import { LanguageModel } from '../../../src/model/language-model.js'
import { promptMethods } from '../../../src/prompts/methods/index.js'
import { type ConfigInput, parseConfig } from '../../../src/train/config.js'
import { prepareJob } from '../../../src/train/job.js'
import { expectations } from '../../prompts/support/expectations.js'
import { eagerDisagreement, executionsOf } from '../../prompts/support/watch.js'
import { dot, random, relativeError } from '../../support/numbers.js'
import { temporaryFolder, toyModel } from '../toy.js'
import { pairRows, rowsFile } from './data.js'

/** Every loss over preferences with one method, and every method with one of them: what a step computes. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

const preferenceLosses = losses.keys().filter(type => losses.get(type).preferences !== undefined)
const cases = [
  ...preferenceLosses.map(type => ({ loss: type, method: 'prompt-tuning' })),
  ...[...promptMethods.keys()].filter(type => type !== 'prompt-tuning').map(type => ({ loss: 'dpo', method: type })),
]
/** What each is worth where nothing has been gained. */
const atTheStart: Readonly<Record<string, number>> = {
  ...{ dpo: Math.LN2, cdpo: Math.LN2, robust: Math.LN2, hinge: 1, apo: 1, kto: 0.5, ipo: 25 },
}

test('every loss over preferences is in the table of what it starts at, but for the one without a reference', () =>
  expect(preferenceLosses.filter(type => losses.get(type).reference!({ type } as never) !== null).sort()).toEqual(
    Object.keys(atTheStart).sort(),
  ))

describe.each(cases)('$loss with $method', ({ loss, method }) => {
  let model: LanguageModel
  beforeAll(async () => {
    model = await LanguageModel.load(toyModel, { threads: 1 })
  })
  afterAll(() => model.dispose())
  const [expectation] = Object.values(expectations[method]!)

  test('starts at its value, has a gradient, the same in parts, compiled and eager', async () => {
    const config = parseConfig({
      model: toyModel,
      // One method tells people apart.
      data: {
        train: rowsFile(
          folder,
          pairRows(6).map(row => ({ ...row, user: 'ada' })),
        ),
      },
      template: expectation!.template ?? '{text}-',
      answer: ' {chosen}',
      method: { type: method, ...expectation!.options } as ConfigInput['method'],
      train: { batchSize: 3, steps: 4, loss: { type: loss } as NonNullable<ConfigInput['train']>['loss'] },
    })
    const task = await readTask(config)
    const { prompt, builders, losses: termsOf } = await prepareJob(config, task, model)
    const rows = [0, 1, 2].flatMap(i => builders.map(one => one.training(task.train[i]!, i)))
    const groups = rows.length === 6 ? [2, 2, 2] : undefined
    const terms = await termsOf(rows)
    const first = await model.promptGradient(prompt, rows, { losses: terms, groups })
    if (atTheStart[loss] !== undefined) {
      expect(Math.abs(first.loss / atTheStart[loss] - 1)).toBeLessThan(1e-4)
      expect(Math.abs(first.figures.chosenReward!)).toBeLessThan(1e-4)
      expect(Math.abs(first.figures.rejectedReward!)).toBeLessThan(1e-4)
    }
    const moved = shifted(prompt, (values, i) => {
      const noise = random(i + 1, [values.length], 0.1).data
      return values.map((x, j) => x + noise[j]!)
    })
    const whole = await model.promptGradient(moved, rows, { losses: terms, groups })
    for (const [name, gradient] of whole.gradients) {
      const length = Math.sqrt(dot(gradient, gradient))
      const step = 5e-3 * Math.min(1, 1 / length)
      const along = async (h: number) =>
        (
          await model.promptGradient(
            shifted(moved, (values, _, of) => (of === name ? values.map((x, i) => x + (h * gradient[i]!) / length) : values)),
            rows,
            { losses: terms, groups },
          )
        ).loss
      const slope = ((await along(step)) - (await along(-step))) / (2 * step)
      expect(Math.abs(slope - length), name).toBeLessThan(0.02 * length + 1e-3)
    }
    const small = await LanguageModel.load(toyModel, { threads: 1, memory: model.memory.estimate(12, 4, true) })
    try {
      const runs = await executionsOf(async () => {
        const parts = await small.promptGradient(moved, rows, { losses: terms, groups })
        expect(parts.loss).toBeCloseTo(whole.loss, 4)
        for (const [name, value] of Object.entries(whole.figures)) expect(parts.figures[name], name).toBeCloseTo(value, 4)
        for (const [name, gradient] of whole.gradients)
          expect(relativeError(parts.gradients.get(name)!, gradient), name).toBeLessThan(1e-3)
      })
      expect(runs.length).toBeGreaterThan(1)
      if (losses.get(loss).grouped)
        for (const { inputs } of runs)
          expect((inputs['loss0:chosen'] as { readonly shape: readonly number[] }).shape).toEqual([1, 2])
      expect(await eagerDisagreement(runs[0]!)).toBeLessThan(1e-3)
    } finally {
      await small.dispose()
    }
  })
})

const shifted = (
  prompt: ActivePrompt,
  change: (values: Float32Array, i: number, name: string) => Float32Array,
): ActivePrompt => ({
  ...prompt,
  parameters: new Map([...prompt.parameters].map(([name, values], i) => [name, change(values, i, name)])),
})
