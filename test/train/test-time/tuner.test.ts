import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tf } from '../../../kernels/tf.js'
import type { ScoringRow } from '../../../src/data/rows/rows.js'
import type { LabelSet } from '../../../src/data/texts/labels.js'
import { classScores, wordSlopes } from '../../../src/data/texts/verbalizer.js'
import { candidateLikelihoods, classesOf } from '../../../src/evaluate/score.js'
import { type ActiveLoss, lossTerm } from '../../../src/losses/loss.js'
import {
  entropy,
  entropyOfMean,
  logMean,
  logShares,
  negatedInformation,
  surestViews,
  viewEntropy,
} from '../../../src/losses/view-entropy.js'
import type { ActivePrompt } from '../../../src/model/active-prompt.js'
import { LanguageModel } from '../../../src/model/language-model.js'
import { promptMethods } from '../../../src/prompts/methods/index.js'
import { slopeGradient } from '../../../src/train/steps/class-gradient.js'
import { createOptimizer } from '../../../src/train/steps/optimizers.js'
import { TestTimeTuner } from '../../../src/train/test-time/tuner.js'
import { eagerDisagreement, executionsOf } from '../../prompts/support/watch.js'
import { dot, random } from '../../support/numbers.js'
import { problem } from '../../support/problem.js'
import { methodConfig } from '../../support/prompt-fixtures.js'
import { toyModel } from '../toy.js'

/** Tuning on views without labels: the published arithmetic, its gradient, and that nothing passes from one row to another. */

let model: LanguageModel
beforeAll(async () => {
  model = await LanguageModel.load(toyModel, { threads: 1 })
})
afterAll(() => model.dispose())

const logs = (shares: readonly (readonly number[])[]) => shares.map(own => own.map(Math.log))
const close = (found: number, wanted: number, digits = 12) => expect(found).toBeCloseTo(wanted, digits)

describe('entropies', () => {
  const published = logs([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5], [0.2, 0.8]]) // biome-ignore format: views

  test('are those of the worked example: views 1 and 4 are kept, and their mean has 0.6881', () => {
    for (const [i, wanted] of [0.3251, 0.673, Math.LN2, 0.5004].entries()) close(entropy(published[i]!), wanted, 4)
    const kept = surestViews(published, { keep: 0.5 })
    expect(kept).toEqual([0, 3])
    const mean = logMean(kept.map(i => published[i]!)).map(Math.exp)
    for (const [i, wanted] of [0.55, 0.45].entries()) close(mean[i]!, wanted)
    close(entropyOfMean(kept.map(i => published[i]!)).loss, 0.6881, 4)
  })

  test('of views that are alike are those of one, and a share of views below one keeps one', () => {
    const same = Array.from({ length: 5 }, () => published[1]!)
    close(entropyOfMean(same).loss, entropy(published[1]!))
    expect(surestViews(published, { keep: 0.01 })).toEqual([0])
    expect(surestViews(published.slice(1), { keep: 0.25 })).toEqual([2])
    // 0.7 * 10 is 7, whatever its last bit says.
    expect(
      surestViews(
        Array.from({ length: 10 }, () => published[0]!),
        { keep: 0.7 },
      ),
    ).toHaveLength(7)
    // Scores that are no distribution are made one, and what a row may not be has no share and no slope.
    const among = [[-1000, -1001, Number.NEGATIVE_INFINITY], [-7, -9, Number.NEGATIVE_INFINITY]] // biome-ignore format: views
    const { loss, slopes } = entropyOfMean(among)
    close(loss, entropyOfMean(among.map(([a, b]) => [a!, b!])).loss)
    expect(slopes.map(own => own[2])).toEqual([0, 0])
    expect(slopes.flat().every(Number.isFinite)).toBe(true)
  })

  test('are of the views most like the row itself, of which it is always one', () => {
    const views = logs([[0.6, 0.4], [0.02, 0.98], [0.65, 0.35], [0.03, 0.97]]) // biome-ignore format: views
    expect(surestViews(views, { keep: 0.5 })).toEqual([1, 3])
    expect(surestViews(views, { keep: 0.5, similar: 0.34 })).toEqual([2])
    expect(surestViews(views, { keep: 1, similar: 0.34 })).toEqual([0, 2])
  })

  test('of a batch: nothing is gained where all rows are of one class, most where they are sure and of different ones', () => {
    close(negatedInformation([[0, -50], [0, -50]]).loss, 0) // biome-ignore format: rows
    close(negatedInformation([[0, -50], [-50, 0]]).loss, -Math.log(2)) // biome-ignore format: rows
  })

  test.each([
    ['mean of views', entropyOfMean, (q: tf.Tensor2D) => entropyTensor(tf.mean(q, 0, true))],
    ['batch', negatedInformation, (q: tf.Tensor2D) => tf.sub(entropyTensor(q), entropyTensor(tf.mean(q, 0, true)))],
  ] as const)('%s: loss and slopes are those of TF.js', (_, own, formula) => {
    const scores = [[-3, -4.5, -3.2], [-1, -1.5, -7], [-2, -0.5, -0.6], [0.1, 0.2, 0.3]] // biome-ignore format: rows
    const { value, grad } = tf.valueAndGrad(x => formula(tf.softmax(x as tf.Tensor2D)) as tf.Scalar)(tf.tensor2d(scores))
    const { loss, slopes } = own(scores)
    close(loss, value.dataSync()[0]!, 6)
    for (const [i, wanted] of grad.dataSync().entries()) close(slopes.flat()[i]!, wanted, 6)
  })
})

/** The mean entropy of distributions, [N, C] -> []. */
const entropyTensor = (q: tf.Tensor2D) => tf.neg(tf.mean(tf.sum(tf.mul(q, tf.log(q)), 1)))

test.each(['mean', 'sum', 'max'] as const)('slopes of words under %s are finite differences of the classes', aggregate => {
  const words = { a: ['a', 'b', 'c'], d: ['d'], e: ['e', 'f'] }
  const labels = { candidates: Object.keys(words), verbalizer: { aggregate, words } } as unknown as LabelSet
  const scores = [-1, -2, -3, -1.5, -2, -2.5]
  const learned = Float32Array.of(0.3, -0.2, 0.5, 0, 1, -1)
  for (const weights of aggregate === 'mean' ? [undefined, learned] : [undefined]) {
    const at = (moved: readonly number[]) => dot(classScores(labels, moved, weights), [0.5, -1, 2])
    const slopes = wordSlopes(labels, scores, [0.5, -1, 2], weights)
    for (const [i, slope] of slopes.entries()) {
      const along = (h: number) => at(scores.map((x, j) => (i === j ? x + h : x)))
      close(slope, (along(1e-5) - along(-1e-5)) / 2e-5, 6)
    }
  }
})

const labels = { candidates: ['a', 'b', 'c'] } as unknown as LabelSet
const candidates = [{ label: 'a', ids: [14] }, { label: 'b', ids: [60, 3] }, { label: 'c', ids: [33] }] // biome-ignore format: classes
const row = (index: number, ...context: number[]): ScoringRow => ({ index, context, candidates, target: -1, truncated: false })
const views = [row(0, 78, 80, 31, 7), row(0, 78, 31, 7), row(0, 78, 80, 7), row(0, 78, 80, 31)]
const other = [row(1, 78, 9, 11), row(1, 78, 9), row(1, 78, 11)]

function promptOf(type: string): ActivePrompt {
  const config = methodConfig({ type, numVirtualTokens: 3 } as { type: string })
  const method = promptMethods.get(type)
  const shapes = method.parameters(config, model.config)
  return { method, config, parameters: new Map(shapes.map(({ name, shape }, i) => [name, random(i + 1, shape, 0.5).data])) }
}

const active: ActiveLoss = lossTerm(viewEntropy, { type: 'view-entropy' })
const options = { labels, keep: 0.5, similar: 1, steps: 1, learningRate: 5e-3 }

describe.each(['prompt-tuning', 'prefix-tuning'])('a prompt of %s', type => {
  test('has the gradient of finite differences', async () => {
    const prompt = promptOf(type)
    const scored = async (at: ActivePrompt) =>
      (await candidateLikelihoods(model, at, views, {})).map((words, i) => classesOf(views[i]!, words, labels, {}).logLikelihoods)
    const { slopes } = entropyOfMean(await scored(prompt))
    let gradients = new Map<string, Float32Array>()
    const runs = await executionsOf(async () => {
      gradients = (await slopeGradient(model, prompt, views, slopes, active, { recompute: false })).gradients
    })
    expect(runs.length).toBeGreaterThan(0)
    // The eager run takes seconds, and other methods differ in what their own tests hold against it.
    if (type === 'prompt-tuning') expect(await eagerDisagreement(runs[0]!), runs[0]!.spec.name).toBeLessThan(2e-5)
    for (const [name, gradient] of gradients) {
      const length = Math.sqrt(dot(gradient, gradient))
      expect(length, name).toBeGreaterThan(1e-4)
      const along = async (h: number) => {
        const moved = prompt.parameters.get(name)!.map((x, i) => x + (h * gradient[i]!) / length)
        return entropyOfMean(await scored({ ...prompt, parameters: new Map([...prompt.parameters, [name, moved]]) })).loss
      }
      const step = 2e-2
      const slope = ((await along(step)) - (await along(-step))) / (2 * step)
      expect(Math.abs(slope - length), name).toBeLessThan(0.02 * length + 1e-4)
    }
  })
})

test('each row begins from the prompt as it was learned, whatever was tuned before it', async () => {
  const prompt = promptOf('prompt-tuning')
  const start = [...prompt.parameters].map(([name, values]) => [name, values.slice()])
  const tuner = new TestTimeTuner(model, prompt, { ...options, steps: 2 })
  const first = await tuner.onViews(views)
  const second = await tuner.onViews(other)
  expect(await tuner.onViews(views)).toEqual(first)
  expect(await new TestTimeTuner(model, prompt, { ...options, steps: 2 }).onViews(other)).toEqual(second)
  expect([...prompt.parameters]).toEqual(start)
  expect(first.kept).toEqual(surestViews(first.views, options))
  expect(first.losses[1]).toBeLessThan(first.losses[0]!)
})

test('a step is one of a fresh AdamW along the gradient of the surest views', async () => {
  const prompt = promptOf('prompt-tuning')
  const { before, after, kept, views: shares } = await new TestTimeTuner(model, prompt, options).onViews(views)
  const chosen = kept.map(i => views[i]!)
  const scores = (await candidateLikelihoods(model, prompt, chosen, {})).map(
    (words, i) => classesOf(chosen[i]!, words, labels, {}).logLikelihoods,
  )
  const { gradients } = await slopeGradient(model, prompt, chosen, entropyOfMean(scores).slopes, active, { recompute: false })
  const moved = new Map([...prompt.parameters].map(([name, values]) => [name, values.slice()]))
  createOptimizer({ type: 'adamw' }, prompt.method.parameters(prompt.config, model.config)).step(moved, gradients, 5e-3)
  const [wanted] = await model.logLikelihoods({ ...prompt, parameters: moved }, [views[0]!])
  for (const [i, value] of wanted!.entries()) close(after.logLikelihoods[i]!, value, 4)
  const [plain] = await model.logLikelihoods(prompt, [views[0]!])
  for (const [i, value] of plain!.entries()) close(before.logLikelihoods[i]!, value, 4)
  for (const [i, share] of logShares(before.logLikelihoods).entries()) close(shares[0]![i]!, share)
  expect(Math.max(...wanted!.map((value, i) => Math.abs(value - plain![i]!)))).toBeGreaterThan(1e-3)
})

test('a batch is tuned on together, and comes to the same in any order of batches', async () => {
  const rows = [views[0]!, other[0]!, row(2, 78, 44)]
  const tuner = new TestTimeTuner(model, promptOf('prompt-tuning'), { ...options, steps: 3, learningRate: 1e-2 })
  const first = await tuner.onBatch(rows)
  await tuner.onBatch(rows.slice(1))
  expect(await tuner.onBatch(rows)).toEqual(first)
  const { losses } = first[0]!
  expect(losses[2]).toBeLessThan(losses[0]!)
  expect(first).toHaveLength(3)
})

test('a prompt of which nothing is learned is refused', async () => {
  const { method, ...prompt } = promptOf('prompt-tuning')
  const frozen = { ...method, parameters: (...given: Parameters<typeof method.parameters>) => method.parameters(...given).map(one => ({ ...one, frozen: true })) } // biome-ignore format: a method
  const { code } = problem(() => new TestTimeTuner(model, { ...prompt, method: frozen }, options))
  expect(code).toBe('nothing-to-tune')
})
