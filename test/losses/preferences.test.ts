import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { losses } from '../../src/losses/index.js'
import { kto, mismatched } from '../../src/losses/kto.js'
import type { LossPart } from '../../src/losses/loss.js'
import { preferenceLosses } from '../../src/losses/preferences.js'
import type { InputSpec } from '../../src/program/program.js'
import { integers, relativeError, type Values } from '../support/numbers.js'
import { problem } from '../support/problem.js'
import { Compared } from '../support/programs.js'

/** Losses over preferences by their numbers: those of torch, and those that are known in closed form. */

interface Fixture {
  readonly lengths: readonly number[]
  readonly vocabulary: number
  readonly logits: readonly number[]
  readonly targets: readonly number[]
  readonly reference: readonly number[]
  readonly liked: readonly boolean[]
  readonly moved: number
  readonly cases: readonly {
    readonly options: { readonly type: string }
    readonly loss: number
    readonly gradient: readonly number[]
  }[]
}
const fixture = JSON.parse(readFileSync('test/fixtures/train/preferences.json', 'utf8')) as Fixture

/** A part of whole answers with logits of their own at every token. */
const partOf = (lengths: readonly number[]): LossPart => {
  const count = lengths.reduce((a, b) => a + b, 0)
  return {
    model: undefined as never,
    sequences: lengths.map((_, i) => i),
    groups: lengths.flatMap((_, i) => (i % 2 === 0 ? [[i, i + 1]] : [])),
    targets: lengths
      .flatMap((length, sequence) => Array.from({ length }, (_, label) => ({ sequence, label })))
      .map((target, read) => ({ ...target, read })),
    targetCount: count,
    readCount: count,
    batch: { labels: count, sequences: lengths.length, groups: lengths.length / 2 },
  }
}

const opened: Compared[] = []
afterAll(async () => {
  for (const one of opened) await one.dispose()
})

/** A loss over given logits, to be run eagerly and compiled. */
function subject(options: { readonly type: string }, given: Omit<Fixture, 'cases'>) {
  const loss = losses.get(options.type)
  const { lengths, logits, targets, vocabulary, reference, liked, moved } = given
  const part = partOf(lengths)
  const said = reference.map(value => Float32Array.of(value))
  const data = options.type === 'kto' ? { reference: said, liked, moved } : said
  const specs = loss.inputs!(options, undefined as never) as Record<string, InputSpec>
  const feeds = loss.feed!(options, data, part)
  const values = Object.entries(feeds).filter(([name]) => name in specs)
  const own = values.map(([name, value]): [string, Values] => [
    name,
    ArrayBuffer.isView(value) ? { data: value, shape: [value.length] } : (value as Values),
  ])
  const compared = new Compared({
    name: options.type,
    inputs: {
      ...specs,
      logits: { shape: ['Q', vocabulary], dtype: 'float32' },
      row: { shape: ['N'], dtype: 'int32' },
      target: { shape: ['N'], dtype: 'int32' },
      cotangent: { shape: [], dtype: 'float32' },
    },
    dims: { ...loss.dims, Q: [1, 1000], N: [1, 1000] },
    compute: ({ logits, row, target, ...inputs }) =>
      loss.compute(options, {
        logits: logits!,
        hidden: undefined as never,
        targets: { row: row!, target: target!, weight: undefined as never, rowWeight: undefined as never },
        given: inputs,
      }).loss,
    differentiable: ['logits'],
  })
  opened.push(compared)
  const inputs = {
    ...Object.fromEntries(own),
    logits: { data: Float32Array.from(logits), shape: [targets.length, vocabulary] },
    row: integers(targets.map((_, i) => i)),
    target: integers(targets),
    cotangent: { data: Float32Array.of(1), shape: [] },
  }
  return { compared, inputs }
}

describe('losses over preferences', () => {
  test('the fixture has each of them', () => {
    const there = new Set(fixture.cases.map(({ options }) => options.type))
    expect([...preferenceLosses.map(([{ type }]) => type), 'kto'].filter(type => !there.has(type))).toEqual([])
    expect(losses.keys().filter(type => losses.get(type).preferences !== undefined)).toHaveLength(there.size)
  })

  test.each(fixture.cases)(
    "$options has torch's value and gradient, compiled as well as eagerly",
    async ({ options, loss, gradient }) => {
      const { compared, inputs } = subject(options, fixture)
      const found = await compared.compiled(inputs)
      expect(Math.abs((found.output!.data as Float32Array)[0]! - loss)).toBeLessThan(1e-5)
      expect(relativeError(found['grad.logits']!.data as Float32Array, gradient)).toBeLessThan(1e-4)
      expect(await compared.disagreement(inputs, 1e-3)).toBeLessThan(1e-5)
      expect(await compared.finiteDifferenceError(inputs)).toBeLessThan(0.02)
    },
  )

  /** Two tokens with logits that make the log-probability of the first one number. */
  const saying = (values: readonly number[]) => values.flatMap(value => [value - Math.log1p(-Math.exp(value)), 0])
  const pair = (said: readonly [number, number], reference: readonly [number, number]) => ({
    lengths: [1, 1],
    vocabulary: 2,
    logits: saying(said),
    targets: [0, 0],
    reference,
    liked: [true, false],
    moved: 0,
  })
  const lossOf = async (
    options: { readonly type: string; readonly [option: string]: unknown },
    given: ReturnType<typeof pair>,
  ) => {
    const { compared, inputs } = subject(options, given)
    return ((await compared.eager(inputs)).output!.data as Float32Array)[0]!
  }
  const dpo = { type: 'dpo', beta: 0.1, sft: 0 }

  test('-10 and -15 under references of -12 and -14 are a margin of 0.3, and a loss of 0.554355', async () => {
    expect(await lossOf(dpo, pair([-10, -15], [-12, -14]))).toBeCloseTo(0.554355, 5)
    // The other way round the margin has the other sign.
    expect(await lossOf(dpo, pair([-15, -10], [-14, -12]))).toBeCloseTo(Math.log1p(Math.exp(0.3)), 5)
  })

  test.each<[{ readonly type: string; readonly [option: string]: unknown }, number]>([
    [dpo, Math.LN2],
    [{ ...dpo, type: 'cdpo', labelSmoothing: 0.2 }, Math.LN2],
    [{ ...dpo, type: 'robust', labelSmoothing: 0.2 }, Math.LN2],
    [{ ...dpo, type: 'hinge' }, 1],
    [{ ...dpo, type: 'ipo', beta: 0.5 }, 1],
    [{ ...dpo, type: 'apo', variant: 'zero' }, 1],
    [{ type: 'kto', beta: 0.1, likedWeight: 1, dislikedWeight: 1 }, 0.5],
  ])('$0.type of what the reference says is $1', async (options, wanted) => {
    expect(await lossOf(options, pair([-3, -5], [-3, -5]))).toBeCloseTo(wanted, 5)
  })

  test('cdpo and robust without smoothing are dpo', async () => {
    const given = pair([-10, -15], [-12, -14])
    for (const type of ['cdpo', 'robust'])
      expect(await lossOf({ ...dpo, type, labelSmoothing: 0 }, given)).toBeCloseTo(await lossOf(dpo, given), 6)
  })

  test('at the reference the slope of dpo is -beta / 2 for each nat of the chosen side', async () => {
    const [step, at] = [0.05, -3]
    const slope = (await lossOf(dpo, pair([at + step, -5], [at, -5]))) - (await lossOf(dpo, pair([at - step, -5], [at, -5])))
    expect(slope / (2 * step)).toBeCloseTo(-0.05, 4)
  })

  test('a group that is no pair is refused', () => {
    const part = { ...partOf([1, 1, 1, 1]), groups: [[0, 1, 2]] }
    const said = [0, 0, 0, 0].map(value => Float32Array.of(value))
    expect(problem(() => losses.get('dpo').feed!(dpo, said, part))).toMatchObject({ code: 'invalid-groups' })
  })
})

describe('kto', () => {
  const row = (context: readonly number[], answer: readonly number[]) => ({
    ids: [...context, ...answer],
    labels: [...context.map(() => -100), ...answer],
  })
  const rows = [row([1, 2], [3]), row([4], [5, 6, 7]), row([8, 9], [10])]

  test('takes the answers of the next records, cut to the longest row', () => {
    expect(mismatched(rows, 1).map(({ ids }) => ids)).toEqual([
      [1, 2, 5, 6],
      [4, 10],
      [8, 9, 3],
    ])
    // Of pairs, those of the next pair, not the other side of the same.
    const pairs = [row([1], [2]), row([1], [3]), row([4], [5]), row([4], [6])]
    expect(mismatched(pairs, 2).map(({ ids }) => ids)).toEqual([
      [1, 5],
      [1, 6],
      [4, 2],
      [4, 3],
    ])
    expect(problem(() => mismatched(rows.slice(0, 1), 1))).toMatchObject({ code: 'batch-too-small' })
  })

  test('moves by the mean gain of these, at least 0, and refuses rows without a thumb', async () => {
    const context = (now: number) => ({
      model: undefined as never,
      answers: 1,
      topTokens: undefined as never,
      logProbabilities: (under: string, of: readonly { labels: readonly number[] }[]) =>
        Promise.resolve(
          of.map(({ labels }) => new Float32Array(labels.filter(x => x !== -100).length).fill(under === 'now' ? now : -2)),
        ),
    })
    const options = { type: 'kto', beta: 0.1, likedWeight: 1, dislikedWeight: 1, reference: 'start' } as const
    const liked = rows.map((one, i) => ({ ...one, liked: i === 0 }))
    const moved = async (now: number) => (await kto.data!(options, context(now))(liked)).moved
    expect(await moved(-1.5)).toBeCloseTo((0.5 * (2 + 1 + 1)) / 3, 6)
    expect(await moved(-3)).toBe(0)
    await expect(kto.data!(options, context(-1))(rows)).rejects.toMatchObject({ code: 'missing-thumb' })
  })
})
