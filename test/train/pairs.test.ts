import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { type Loss, lossTerm } from '../../src/losses/loss.js'
import { mellowmax } from '../../src/losses/mellowmax.js'
import { sequenceDims, sequenceFeeds, sequenceInputs, sequenceLogProbabilities } from '../../src/losses/sequences.js'
import { LanguageModel } from '../../src/model/language-model.js'
import type { PromptMethod } from '../../src/prompts/method.js'
import { promptTuning, promptTuningSchema } from '../../src/prompts/methods/prompt-tuning.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { eagerDisagreement, executionsOf } from '../prompts/support/watch.js'
import { dot, random, relativeError } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from './toy.js'

/**
 * A loss over pairs of texts, of people's own: the better one is to gain more on what the prompt said of both before its first step. It
 * holds the interface to what losses over preferences need: sums over sequences, rows that stay together, numbers of a reference.
 */

interface PairOptions {
  readonly type: string
  readonly beta: number
}

const PAIRS = 1 << 16
const vector = (data: Float32Array) => ({ data, shape: [data.length] })

const pairs: Loss<PairOptions, readonly Float32Array[]> = {
  type: 'test-pairs',
  paper: 'a test',
  options: ({ beta = 1 }) => ({ beta: Number(beta) }),
  grouped: true,
  answers: (_, answer) => [answer, ' {worse}'],
  data:
    (_, { logProbabilities }) =>
    rows =>
      logProbabilities('start', rows),
  dims: { ...sequenceDims, E: [1, PAIRS] },
  inputs: () => ({
    ...sequenceInputs,
    reference: { shape: ['C'], dtype: 'float32' },
    sides: { shape: ['E', 'C'], dtype: 'float32' },
    weight: { shape: ['E'], dtype: 'float32' },
  }),
  compute({ beta }, read) {
    const { reference, sides, weight } = read.given
    const gained = tf.sub(sequenceLogProbabilities(read), reference!) // [C]
    const margin = tf.reshape(tf.matMul(sides as tf.Tensor2D, tf.expandDims(gained, 1) as tf.Tensor2D), [-1]) // [E]
    return {
      loss: tf.sum(tf.mul(tf.softplus(tf.neg(tf.mul(margin, beta))), weight!)),
      figures: { margin: tf.sum(tf.mul(margin, weight!)) },
    }
  },
  feed(_, reference, part) {
    const sides = new Float32Array(part.groups.length * part.sequences.length)
    for (const [pair, [better, worse]] of part.groups.entries()) {
      sides[pair * part.sequences.length + better!] = 1
      sides[pair * part.sequences.length + worse!] = -1
    }
    return {
      ...sequenceFeeds(part),
      reference: vector(Float32Array.from(part.sequences, i => reference[i]!.reduce((sum, x) => sum + x, 0))),
      sides: { data: sides, shape: [part.groups.length, part.sequences.length] },
      weight: vector(new Float32Array(part.groups.length).fill(1 / part.batch.groups)),
    }
  },
}

const { folder, remove } = temporaryFolder()
afterAll(remove)

const rows = [
  { ids: [78, 80, 31, 14], labels: [-100, -100, -100, 14] },
  { ids: [78, 80, 31, 9, 60], labels: [-100, -100, -100, 9, 60] },
  { ids: [9, 80, 7, 20, 66], labels: [-100, -100, -100, 20, 66] },
  { ids: [9, 80, 7, 66], labels: [-100, -100, -100, 66] },
]
const groups = [2, 2]
const prompt = (values = random(1, [3, 32], 0.5).data) => ({
  method: promptTuning as unknown as PromptMethod,
  config: promptTuningSchema.parse({ type: 'prompt-tuning', numVirtualTokens: 3 }),
  parameters: new Map([['prompt', values]]),
})

describe('a loss over pairs', () => {
  let model: LanguageModel
  let losses: ReturnType<typeof lossTerm>[]
  const sums = async (of: Parameters<LanguageModel['labelLogProbabilities']>[0]) => {
    const logits = await model.logits(
      rows.map(({ ids }) => ids),
      of,
    )
    return rows.map(({ ids, labels }, i) =>
      labels.reduce((sum, label, j) => {
        if (label === -100) return sum
        const at = logits[i]!.subarray((j - 1) * 96, j * 96)
        const level = Math.log(at.reduce((total, x) => total + Math.exp(x), 0))
        return sum + at[ids[j]!]! - level
      }, 0),
    )
  }
  beforeAll(async () => {
    model = await LanguageModel.load(toyModel, { threads: 1 })
    const reference = await sums(prompt(random(2, [3, 32], 0.5).data))
    losses = [
      lossTerm(
        pairs,
        { type: 'test-pairs', beta: 0.5 },
        reference.map(x => Float32Array.of(x)),
      ),
    ]
  })
  afterAll(() => model.dispose())

  test('is what the log-probabilities of the sequences say', async () => {
    const [own, reference] = [await sums(prompt()), await sums(prompt(random(2, [3, 32], 0.5).data))]
    const margins = [0, 2].map(i => own[i]! - reference[i]! - (own[i + 1]! - reference[i + 1]!))
    const { loss, figures } = await model.promptGradient(prompt(), rows, { losses, groups })
    expect(loss).toBeCloseTo(margins.reduce((sum, x) => sum + Math.log(1 + Math.exp(-0.5 * x)), 0) / 2, 4)
    expect(figures.margin).toBeCloseTo((margins[0]! + margins[1]!) / 2, 4)
  })

  test('has a gradient that equals finite differences, and a program that equals its eager run', async () => {
    const runs = await executionsOf(async () => {
      const { gradients } = await model.promptGradient(prompt(), rows, { losses, groups })
      const gradient = gradients.get('prompt')!
      for (const direction of [gradient, random(9, [96]).data]) {
        const h = 1e-2 / Math.sqrt(dot(direction, direction))
        const along = async (by: number) => {
          const moved = prompt()
            .parameters.get('prompt')!
            .map((x, i) => x + by * direction[i]!)
          return (await model.promptGradient(prompt(moved), rows, { losses, groups })).loss
        }
        const slope = ((await along(h)) - (await along(-h))) / (2 * h)
        expect(Math.abs(slope / dot(gradient, direction) - 1)).toBeLessThan(0.02)
      }
    })
    expect(await eagerDisagreement(runs[0]!)).toBeLessThan(1e-4)
  })

  test('is the same in parts, which never part a pair', async () => {
    const whole = await model.promptGradient(prompt(), rows, { losses, groups })
    const small = await LanguageModel.load(toyModel, { threads: 1, memory: model.memory.estimate(5, 3, true) })
    const runs = await executionsOf(async () => {
      const parts = await small.promptGradient(prompt(), rows, { losses, groups })
      expect(parts.loss).toBeCloseTo(whole.loss, 5)
      expect(parts.figures.margin).toBeCloseTo(whole.figures.margin!, 5)
      expect(relativeError(parts.gradients.get('prompt')!, whole.gradients.get('prompt')!)).toBeLessThan(1e-4)
    })
    await small.dispose()
    expect(runs.map(({ inputs }) => (inputs['loss0:sides'] as { readonly shape: readonly number[] }).shape)).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  test('refuses rows that are in no groups, groups that are not of the rows, and a dimension that the rows have', async () => {
    const taken = lossTerm({ ...pairs, dims: { Q: [1, 4] } }, { type: 'test-pairs', beta: 1 })
    expect(await problemOf(model.promptGradient(prompt(), rows, { losses: [taken], groups }))).toMatchObject({
      code: 'invalid-loss',
    })
    expect(await problemOf(model.promptGradient(prompt(), rows, { losses }))).toMatchObject({ code: 'not-grouped' })
    expect(await problemOf(model.promptGradient(prompt(), rows, { losses, groups: [2] }))).toMatchObject({
      code: 'invalid-groups',
    })
  })
})

/** Each record has the better and the worse answer. */
function pairConfig(name: string, loss: NonNullable<ConfigInput['train']>['loss'], steps = 30): ConfigInput {
  const data = join(folder, 'pairs.tsv')
  const words = ['the', 'of']
  const lines = toyRows(24).map((line, i) => `${line.split('\t')[0]}\t${words[i % 2]}\t${words[(i + 1) % 2]}`)
  writeFileSync(data, `${lines.join('\n')}\n`)
  return {
    ...toyConfig(folder, { out: join(folder, name), train: { steps, batchSize: 4, loss, checkpointEvery: 5, keep: 'last' } }),
    data: { train: data, columns: ['text', 'better', 'worse'] },
    answer: ' {better}',
  }
}

describe('train.loss', () => {
  test("may be of people's own and over pairs: the margin grows from where the reference stands", async () => {
    const steps: (GradpromptEvent & { event: 'step' })[] = []
    const loss = { type: pairs as unknown as Loss, beta: 1 }
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && steps.push(event)
    await tune(pairConfig('own', loss), { onEvent })
    const margin = (step: object) => (step as { margin: number }).margin
    expect(steps[0]!.loss).toBeCloseTo(Math.LN2, 4)
    expect(margin(steps[0]!)).toBeCloseTo(0, 4)
    expect(steps.at(-1)!.loss).toBeLessThan(0.5)
    expect(margin(steps.at(-1)!)).toBeGreaterThan(0.5)
  })

  test('goes on to the same bits', async () => {
    const loss = { type: pairs as unknown as Loss, beta: 1 }
    const whole = await tune(pairConfig('whole', loss, 12))
    const controller = new AbortController()
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === 7 && controller.abort()
    const half = pairConfig('half', loss, 12)
    await problemOf(tune(half, { onEvent, signal: controller.signal }))
    expect((await resume(half.out!)).prompt.tensors).toEqual(whole.prompt.tensors)
  })

  test('mellowmax is what the logits of each answer say, and is learned', async () => {
    const model = await LanguageModel.load(toyModel, { threads: 1 })
    const logits = await model.logits(
      rows.map(({ ids }) => ids),
      prompt(),
    )
    const wanted = rows.map(({ ids, labels }, i) => {
      const own = labels.flatMap((label, j) => (label === -100 ? [] : [logits[i]![(j - 1) * 96 + ids[j]!]!]))
      return Math.log(own.reduce((sum, x) => sum + Math.exp(-2 * x), 0) / own.length) / 2
    })
    const term = lossTerm(mellowmax, { type: 'mellowmax', alpha: 2 })
    const { loss, gradients } = await model.promptGradient(prompt(), rows, { losses: [term] })
    expect(loss).toBeCloseTo(wanted.reduce((a, b) => a + b, 0) / 4, 4)
    const gradient = gradients.get('prompt')!
    const h = 5e-3 / Math.sqrt(dot(gradient, gradient))
    const along = async (by: number) => {
      const moved = prompt()
        .parameters.get('prompt')!
        .map((x, i) => x + by * gradient[i]!)
      return (await model.promptGradient(prompt(moved), rows, { losses: [term] })).loss
    }
    const slope = ((await along(h)) - (await along(-h))) / (2 * h)
    expect(Math.abs(slope / dot(gradient, gradient) - 1)).toBeLessThan(0.02)
    await model.dispose()
    const steps: number[] = []
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && steps.push(event.loss)
    await tune(pairConfig('mellow', { type: 'mellowmax' }, 20), { onEvent })
    expect(steps.at(-1)!).toBeLessThan(steps[0]! - 0.1)
  })

  test('that is not known, or stands beside label smoothing, is refused', () => {
    const parse = (train: object) => () => parseConfig({ ...pairConfig('none', undefined), train })
    expect(parse({ loss: { type: 'mellomax' } })).toThrow(/train\.loss\.type/)
    expect(parse({ loss: { type: 'cross-entropy' }, labelSmoothing: 0.1 })).toThrow(/labelSmoothing/)
    expect(parseConfig({ ...pairConfig('none', undefined), train: { loss: { type: 'cross-entropy' } } }).train.loss).toEqual({
      type: 'cross-entropy',
      labelSmoothing: 0,
    })
  })
})
