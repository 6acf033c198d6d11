import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resumeTune as resume, tune } from '../../../src/api/tune.js'
import { readTask } from '../../../src/data/task.js'
import type { ActivePrompt } from '../../../src/model/active-prompt.js'
import { frozenLayers } from '../../../src/model/forward.js'
import { LanguageModel } from '../../../src/model/language-model.js'
import { promptMethods } from '../../../src/prompts/methods/index.js'
import { numSoftTokens, softVocabulary } from '../../../src/prompts/soft-rows.js'
import { activePrompt } from '../../../src/sources/prompt.js'
import { readPrompt, writePrompt } from '../../../src/store/prompt-file.js'
import { learnedNumbers } from '../../../src/train/check-method.js'
import { type ConfigInput, parseConfig } from '../../../src/train/config.js'
import { prepareJob } from '../../../src/train/job.js'
import { dot, random, relativeError } from '../../support/numbers.js'
import { problemOf } from '../../support/problem.js'
import { testDevice } from '../../support/test-device.js'
import { isWhole } from '../../support/whole.js'
import { temporaryFolder } from '../../train/toy.js'
import { expectations, startingText } from './expectations.js'
import { eagerDisagreement, executionsOf } from './watch.js'

type Row = { readonly ids: readonly number[]; readonly labels: readonly number[] }

/** A row of a context and its answer. */
const row = (context: readonly number[], answer: readonly number[]): Row => ({
  ids: [...context, ...answer],
  labels: [...context.map(() => -100), ...answer],
})
const batches: Readonly<Record<string, readonly Row[]>> = {
  'one row': [row([78, 80, 31], [14])],
  'several lengths': [row([78, 80, 31, 7], [14, 60]), row([78, 80], [33, 5, 9]), row([9, 80, 31, 7, 20, 66, 67, 12, 5], [61])],
}

/** A row's context and its candidates, as they are scored. */
const scored = ({ ids, labels }: Row) => {
  const border = labels.findIndex(label => label !== -100)
  return { context: ids.slice(0, border), candidates: [{ ids: ids.slice(border) }] }
}

const { folder } = temporaryFolder()
/** Copying: the answer is the text's own letter, which only the text can tell. */
const letters = ['k', 'q', 'Z']
const copies = join(folder, 'copies.tsv')
writeFileSync(copies, letters.flatMap(letter => Array(4).fill(`${letter}\t${letter}\tada\n`)).join(''))

/**
 * What every soft-prompt method has to do: a method is covered by being registered. What the suite cannot know of a method stands in
 * expectations.ts.
 *
 * @param family a tiny checkpoint of test/fixtures/models
 * @param variants every variant of a method, or the first alone
 */
export function conformance(family: string, variants: 'every' | 'first'): void {
  const cases = [...promptMethods.keys()].flatMap(type =>
    Object.entries(expectations[type] ?? {})
      .slice(0, variants === 'first' ? 1 : undefined)
      .map(([variant, expectation], i) => ({ family, type, variant, expectation, isFirst: i === 0 })),
  )

  test.each([...promptMethods.keys()])('%s stands in the table of expectations', type => {
    expect(Object.keys(expectations[type] ?? {})).not.toHaveLength(0)
  })

  describe.each(cases)('$type ($variant) on $family', ({ type, variant, expectation, isFirst }) => {
    const name = `${family}-${type}-${variant.replaceAll(' ', '-')}`
    const path = `test/fixtures/models/${family}`
    const config = (train: ConfigInput['train'] = {}, options: object = {}): ConfigInput => ({
      model: path,
      data: {
        train: copies,
        columns: ['text', 'label', 'user'],
        labels: Object.fromEntries(letters.map(letter => [letter, letter])),
      },
      template: expectation.template ?? '{text}-',
      answer: '{label}',
      answerEnd: 'none',
      method: { type, ...expectation.options, ...options } as ConfigInput['method'],
      train: { batchSize: 6, steps: 8, ...train },
      threads: 1,
    })

    let model: LanguageModel
    /** As it is before the first step. */
    let fresh: ActivePrompt
    /** Somewhere beyond: no parameter is zero, and none without a gradient. */
    let moved: ActivePrompt
    beforeAll(async () => {
      model = await LanguageModel.load(path, { threads: 1, device: testDevice })
      const parsed = parseConfig(config())
      const { prompt } = await prepareJob(parsed, await readTask(parsed), model)
      fresh = prompt
      moved = withParameters(prompt, (values, i) => {
        const noise = random(i + 1, [values.length], 0.1).data
        return values.map((x, j) => x + noise[j]!)
      })
    })
    afterAll(() => model.dispose())

    const likelihoods = async (prompt: ActivePrompt | undefined, rows: Parameters<LanguageModel['logLikelihoods']>[1]) =>
      (await model.logLikelihoods(prompt, rows)).flat()

    /** Rows with the template's soft tokens behind their first token, or with the words that these start from. */
    const withSoft = (rows: readonly Row[], asWords = false) =>
      rows.map(({ ids, labels }): Row => {
        const { placeholders = [], firstId = 0 } = softVocabulary(fresh.config, model.config) ?? {}
        const soft = placeholders.flatMap(one => one.ids).map((id, i) => (asWords ? id : firstId + i))
        const among = (list: readonly number[], own: readonly number[]) => [...list.slice(0, 1), ...own, ...list.slice(1)]
        return {
          ids: among(ids, soft),
          labels: among(
            labels,
            soft.map(() => -100),
          ),
        }
      })
    const several = () => withSoft(batches['several lengths']!)

    test('has as many parameters as published', () => {
      const shapes = fresh.method.parameters(fresh.config, model.config)
      const numbers = shapes.map(({ shape }) => shape.reduce((a, b) => a * b, 1))
      expect(numbers).toEqual(shapes.map(({ name }) => fresh.parameters.get(name)?.length))
      expect(learnedNumbers(shapes)).toBe(expectation.parameters(model.config))
    })

    if (expectation.starts !== 'own')
      test('starts where its definition says', async () => {
        const virtual = fresh.method.placement(fresh.config, model.config).numVirtualTokens > 0
        const ahead = expectation.starts === 'text' && virtual ? model.tokenizer.encode(startingText) : []
        const words = withSoft(batches['several lengths']!, true)
        const plain = words.map(scored).map(({ context, candidates }) => ({ context: [...ahead, ...context], candidates }))
        expect(worst(await likelihoods(fresh, several().map(scored)), await likelihoods(undefined, plain))).toBeLessThan(1e-5)
      })

    // Variants of a method differ from its first in what they compute, not in how batches are made: `npm run test:whole` tries all with all.
    const isThorough = isFirst || isWhole
    const differentiated = Object.entries(batches).slice(isThorough ? 0 : -1)
    test.each(differentiated)('its gradient equals finite differences: %s', async (_, own) => {
      const rows = withSoft(own)
      const { gradients } = await model.promptGradient(moved, rows)
      /**
       * The error of the derivative along a direction. The step is long enough for the change of the loss to stand out from float32's
       * rounding, and short enough for the bends of ReLU and of a rational function.
       */
      const errorAlong = async (parameter: string, direction: Float32Array, gradient: Float32Array) => {
        const step = 5e-3 * Math.min(1, 1 / Math.sqrt(dot(gradient, gradient)))
        const along = async (h: number) => {
          const shifted = withParameters(moved, (values, _, of) =>
            of === parameter ? values.map((x, i) => x + h * direction[i]!) : values,
          )
          return (await model.promptGradient(shifted, rows)).loss
        }
        return Math.abs(((await along(step)) - (await along(-step))) / (2 * step) - dot(gradient, direction))
      }
      for (const [parameter, gradient] of gradients) {
        const length = Math.sqrt(dot(gradient, gradient))
        expect(length, `the length of ${parameter}'s gradient`).toBeGreaterThan(0.01)
        const tolerance = 0.01 * length + 3e-4
        // Along the gradient itself, then at single entries, the steepest among them.
        const unit = gradient.map(x => x / length)
        expect(await errorAlong(parameter, unit, gradient), parameter).toBeLessThan(tolerance)
        const steepest = gradient.reduce((best, x, i) => (Math.abs(x) > Math.abs(gradient[best]!) ? i : best), 0)
        for (const entry of new Set([steepest, 0, gradient.length >> 1, gradient.length - 1])) {
          const direction = gradient.map((_, i) => (i === entry ? 1 : 0))
          expect(await errorAlong(parameter, direction, gradient), `${parameter}[${entry}]`).toBeLessThan(tolerance)
        }
      }
    })

    if (isThorough)
      test('a batch in parts has the same loss and gradient', async () => {
        const whole = await model.promptGradient(moved, several())
        // Room for one of its rows at a time.
        const budget = model.memory.estimate(12 + numSoftTokens(moved.config), 3, true)
        const small = await LanguageModel.load(path, { threads: 1, memory: budget })
        try {
          const runs = await executionsOf(async () => {
            const { loss, gradients } = await small.promptGradient(moved, several())
            expect(Math.abs(loss - whole.loss)).toBeLessThan(1e-5)
            for (const [parameter, gradient] of gradients)
              expect(relativeError(gradient, whole.gradients.get(parameter)!), parameter).toBeLessThan(1e-4)
          })
          expect(runs.length).toBeGreaterThan(1)
        } finally {
          await small.dispose()
        }
      })

    test('the layers above what is kept of frozen ones have the same loss and gradient', async () => {
      const whole = await model.promptGradient(moved, several())
      const frozen = frozenLayers(moved, model.config) > 0 ? await model.frozenRows(moved, several()) : undefined
      const again = await model.promptGradient(moved, several(), { frozen })
      expect(Math.abs(again.loss - whole.loss)).toBeLessThan(1e-5)
      for (const [parameter, gradient] of again.gradients)
        expect(relativeError(gradient, whole.gradients.get(parameter)!), parameter).toBeLessThan(1e-5)
    })

    test('its programs equal their eager runs', async () => {
      const children = { context: [78, 80, 31], candidates: [{ ids: [14, 9, 5] }, { ids: [60] }] }
      const runs = await executionsOf(async () => {
        await model.promptGradient(moved, several())
        await model.logLikelihoods(moved, [scored(several()[0]!), children])
        await model.logLikelihoods(moved, [scored(withSoft(batches['one row']!)[0]!)])
        await model.logits([several()[0]!.ids, several()[2]!.ids], moved)
      })
      expect(runs.length).toBeGreaterThanOrEqual(4)
      for (const run of runs) expect(await eagerDisagreement(run), run.spec.name).toBeLessThan(2e-5)
    })

    test('evaluates the function that it trains', async () => {
      const rows = several().map(scored)
      const together = await likelihoods(moved, rows)
      const alone = await Promise.all(rows.map(async one => (await likelihoods(moved, [one]))[0]!))
      expect(worst(alone, together)).toBeLessThan(1e-5)
      // Beside other rows, as one of several candidates, and with what no row before had in common.
      const companions = [
        { context: [9], candidates: [{ ids: [30] }] },
        { context: [78, 80, 31, 7, 50, 51, 52, 53, 54, 55, 56, 57], candidates: [{ ids: [58, 59, 60, 61, 62] }, { ids: [1] }] },
      ]
      for (const [i, one] of rows.entries()) {
        const beside = (await model.logLikelihoods(moved, [...companions, one]))[2]![0]!
        const chosen = (
          await model.logLikelihoods(moved, [{ ...one, candidates: [{ ids: [3, 4, 5] }, ...one.candidates] }])
        )[0]![1]!
        expect(worst([beside, chosen], [together[i]!, together[i]!])).toBeLessThan(1e-5)
      }
      const { loss } = await model.promptGradient(moved, several())
      const tokens = several()
        .flatMap(({ labels }) => labels)
        .filter(label => label !== -100).length
      expect(Math.abs(together.reduce((a, b) => a + b, 0) + loss * tokens)).toBeLessThan(1e-4)
    })

    // Runs are the same code whatever the family: one has them all, of each method's first variant, and `npm run test:whole` of every one.
    if (variants === 'first' || !isThorough) return
    describe('a run', () => {
      const out = join(folder, name)
      const { steps = 160, learningRate = 0.1, options, below = 0.1 } = expectation.copying ?? {}

      test('learns to copy, and saves what it has learned to the bit', async () => {
        const losses: number[] = []
        const run = await tune(
          { ...config({ steps, learningRate }, options), out },
          { onEvent: event => event.event === 'step' && losses.push(event.loss) },
        )
        expect(losses[0]).toBeGreaterThan(2)
        expect(losses.at(-1)).toBeLessThan(below)
        const file = join(out, 'prompt.safetensors')
        const stored = await readPrompt(file)
        const again = join(folder, `${name}-again.safetensors`)
        await writePrompt(again, stored)
        expect(readFileSync(again).equals(readFileSync(file))).toBe(true)
        const [kept, read] = [activePrompt(run.prompt, model), activePrompt(stored, model)]
        expect(read.config).toEqual(kept.config)
        expect(new Map(read.parameters)).toEqual(new Map(kept.parameters))
        const rows = several().map(scored)
        expect(await likelihoods(read, rows)).toEqual(await likelihoods(kept, rows))
      })

      test('that was stopped goes on to the same bits', async () => {
        const input = config({ steps: 6, learningRate, checkpointEvery: 2 })
        const whole = await tune({ ...input, out: `${out}-whole` })
        const controller = new AbortController()
        const stopped = tune(
          { ...input, out: `${out}-stopped` },
          { signal: controller.signal, onEvent: event => event.event === 'step' && event.step === 3 && controller.abort() },
        )
        expect(await problemOf(stopped)).toMatchObject({ code: 'aborted' })
        await resume(`${out}-stopped`)
        const bytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))
        expect(bytes(`${out}-stopped`).equals(bytes(whole.folder))).toBe(true)
      })
    })
  })
}

const withParameters = (
  prompt: ActivePrompt,
  change: (values: Float32Array, i: number, name: string) => Float32Array,
): ActivePrompt => ({
  ...prompt,
  parameters: new Map([...prompt.parameters].map(([name, values], i) => [name, change(values, i, name)])),
})

const worst = (found: readonly number[], wanted: readonly number[]) =>
  Math.max(...wanted.map((x, i) => Math.abs(found[i]! - x) / Math.max(1, Math.abs(x))))
