import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { contextDistillation } from '../../src/losses/context-distillation.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { topOf } from '../../src/train/study/context-teacher.js'
import { problemOf } from '../support/problem.js'
import { Compared } from '../support/programs.js'
import { temporaryFolder, toyConfig, toyModel } from './toy.js'

/** Learning what a text in the context comes to: the teacher is the same model with the text before the row. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

const context = 'the stone and the wine are at the door; on it there was'
type Step = GradpromptEvent & { event: 'step' }

async function steps(name: string, method: object, options: object = {}, stopAt?: number) {
  const seen: Step[] = []
  const controller = new AbortController()
  const onEvent = (event: GradpromptEvent) => {
    if (event.event === 'step') seen.push(event)
    if (event.event === 'step' && event.step === stopAt) controller.abort()
  }
  const config = toyConfig(folder, {
    method: { type: 'prefix-tuning', ...method } as never,
    train: { steps: 8, batchSize: 4, learningRate: 0.02, loss: { type: 'context-distillation', context, ...options } },
    out: join(folder, name),
    threads: 1,
  })
  const running = tune(config, { onEvent, signal: controller.signal })
  if (stopAt === undefined) await running
  else expect(await problemOf(running)).toMatchObject({ code: 'aborted' })
  return { seen, folder: config.out! }
}

test('the keys and values of the whole text say what the text does; fewer learn to, and the first stays as it is', async () => {
  await using model = await LanguageModel.load(toyModel, { threads: 1 })
  const all = model.tokenizer.encode(context, { addSpecialTokens: true }).length
  const init = { type: 'text', text: context }
  const whole = await steps('whole', { numVirtualTokens: all, init })
  expect(Math.abs(whole.seen[0]!.divergence as number)).toBeLessThan(1e-4)
  // The loss is the teacher's own cross entropy over the tokens that were kept.
  expect(whole.seen[0]!.loss).toBeGreaterThan(0.1)

  const part = await steps('part', { numVirtualTokens: 4, init, frozenTokens: 1 })
  const divergences = part.seen.map(({ divergence }) => divergence as number)
  expect(divergences[0]).toBeGreaterThan(1e-3)
  expect(divergences.at(-1)).toBeLessThan(0.7 * divergences[0]!)
  const learned = new Map((await readPrompt(join(part.folder, 'prompt.safetensors'))).tensors.map(one => [one.name, one.data]))
  const start = new Map((await readPrompt(join(part.folder, 'start.safetensors'))).tensors.map(one => [one.name, one.data]))
  expect(learned.get('prefix.frozen')).toEqual(start.get('prefix.frozen'))
  expect(learned.get('prefix')).not.toEqual(start.get('prefix'))

  // A run that was stopped hears the same teacher, to the bit.
  const stopped = await steps('stopped', { numVirtualTokens: 4, init, frozenTokens: 1 }, {}, 3)
  expect(readFileSync(join(stopped.folder, 'reference.jsonl'), 'utf8')).toMatch(/"top20:/)
  await resume(stopped.folder)
  const bytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))
  expect(bytes(stopped.folder).equals(bytes(part.folder))).toBe(true)
})

test('a text that does not fit is refused', async () => {
  const config = toyConfig(folder, {
    train: { steps: 1, loss: { type: 'context-distillation', context: 'the stone '.repeat(2000) } },
    out: join(folder, 'long'),
  })
  expect(await problemOf(tune(config))).toMatchObject({ code: 'text-too-long' })
  expect(existsSync(config.out!)).toBe(false)
})

test('the likeliest tokens come first, and equal ones by their ids', () => {
  const said = Float32Array.of(...[0.1, 0.2, 0.6, 0.1].map(Math.log), ...[0.25, 0.25, 0.25, 0.25].map(Math.log))
  expect([...topOf(said, 4, 2)].map(value => Number(value.toFixed(6)))).toEqual([2, 1, 0, 1, 0.6, 0.2, 0.25, 0.25])
  // Of a vocabulary that is smaller, what is missing weighs nothing.
  expect([...topOf(Float32Array.of(0), 1, 3)]).toEqual([0, 0, 0, 1, 0, 0])
})

test('the loss is the cross entropy over the kept tokens, whose mass stays below 1', async () => {
  const options = { type: 'context-distillation', context: 'x', topK: 2 } as const
  const said = [{ ids: Int32Array.of(0, 2, 1, 0), probabilities: Float32Array.of(0.5, 0.25, 0.75, 0.125) }]
  const part = {
    model: undefined as never,
    sequences: [0],
    groups: [],
    targets: [0, 1].map(label => ({ sequence: 0, label, read: label })),
    targetCount: 2,
    readCount: 2,
    batch: { labels: 2, sequences: 1, groups: 0 },
  }
  const feeds = contextDistillation.feed!(options, said, part) as Record<string, never>
  const given = Object.fromEntries(
    Object.entries(feeds).map(([name, value]) => [
      name,
      ArrayBuffer.isView(value) ? { data: value as never, shape: [(value as Float32Array).length] } : value,
    ]),
  )
  const compared = new Compared({
    name: 'context-distillation',
    inputs: {
      ...contextDistillation.inputs!(options, undefined as never),
      logits: { shape: ['Q', 3], dtype: 'float32' },
      cotangent: { shape: [], dtype: 'float32' },
    },
    dims: { Q: [1, 100], N: [1, 100] },
    compute: ({ logits, ...inputs }) =>
      contextDistillation.compute(options, {
        logits: logits!,
        hidden: undefined as never,
        targets: undefined as never,
        given: inputs,
      }).loss,
    differentiable: ['logits'],
  })
  const logits = [1, 0, -1, 0.5, 2, 0]
  const inputs = {
    ...given,
    logits: { data: Float32Array.from(logits), shape: [2, 3] },
    cotangent: { data: Float32Array.of(1), shape: [] },
  }
  const logQ = [logits.slice(0, 3), logits.slice(3)].map(row => {
    const sum = Math.log(row.reduce((total, x) => total + Math.exp(x), 0))
    return row.map(x => x - sum)
  })
  const wanted = -(0.5 * logQ[0]![0]! + 0.25 * logQ[0]![2]! + 0.75 * logQ[1]![1]! + 0.125 * logQ[1]![0]!) / 2
  const found = await compared.compiled(inputs)
  expect((found.output!.data as Float32Array)[0]).toBeCloseTo(wanted, 5)
  expect(await compared.disagreement(inputs, 1e-3)).toBeLessThan(1e-5)
  expect(await compared.finiteDifferenceError(inputs)).toBeLessThan(0.02)
  await compared.dispose()
})
