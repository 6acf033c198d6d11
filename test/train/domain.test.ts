import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { domainPrior } from '../../src/losses/domain-prior.js'
import { lossTerm } from '../../src/losses/loss.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { meanParticle, particleRows } from '../../src/prompts/domain/domain.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import { type ConfigInput, parseConfig } from '../../src/train/config.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { random } from '../support/numbers.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from './toy.js'

/** A task's domain in a run: as what a prompt starts from, as a prior, and as what is kept of it. */

let folder: string
let remove: () => void
beforeAll(() => ({ folder, remove } = temporaryFolder()))
afterAll(() => remove())

let count = 0
const domain = { dimensions: 3, iterations: 50 }
function config(train: ConfigInput['train'] = {}, options: Partial<ConfigInput> = {}): ConfigInput {
  const given = { domain, threads: 1, ...options }
  return toyConfig(folder, {
    train: { steps: 4, batchSize: 4, checkpointEvery: 2, ...train },
    ...given,
    out: join(folder, `run-${count++}`),
  })
}
const startsThere = { type: 'prompt-tuning' as const, numVirtualTokens: 4, init: { type: 'domain' as const } }
const tensorsOf = async (run: string, file = 'prompt.safetensors') =>
  new Map((await readPrompt(join(run, file))).tensors.map(tensor => [tensor.name, tensor]))
const width = 32

describe('the prior', () => {
  test('has the gradient of finite differences, and pulls the mean of the rows alone; parts of a batch add up', async () => {
    const model = await LanguageModel.load(toyModel, { threads: 1 })
    const anchor = random(5, [width], 1).data
    const method = promptMethods.get('prompt-tuning')
    const options = { type: 'prompt-tuning', numVirtualTokens: 2, position: 'before-bos' } as const
    const rows = random(6, [2, width], 0.5).data
    const prompt = (data: Float32Array) => ({ method, config: options, parameters: new Map([['prompt', data]]) })
    const texts = [[5, 6, 7], [8, 9, 10, 11], [12, 13]].map(ids => ({ ids, labels: ids.map((id, i) => (i === ids.length - 1 ? id : -100)) })) // biome-ignore format: rows
    const gradient = (data: Float32Array, weight: number) => {
      const losses = weight === 0 ? undefined : [lossTerm(domainPrior, { type: 'domain-prior' }, { anchor, weight })]
      return model.promptGradient(prompt(data), texts, losses && { losses })
    }
    const found = await gradient(rows, 0.5)
    const mean = (d: number) => (rows[d]! + rows[width + d]!) / 2
    const distance = anchor.reduce((sum, x, d) => sum + (mean(d) - x) ** 2, 0)
    expect(found.loss).toBeCloseTo(0.5 * distance, 4)
    expect(found.figures.priorDistance).toBeCloseTo(distance, 4)
    for (const i of [0, 7, width + 7, 2 * width - 1]) {
      const loss = async (by: number) => (await gradient(rows.map((x, j) => (j === i ? x + by : x)), 0.5)).loss // biome-ignore format: a call
      expect(found.gradients.get('prompt')![i]).toBeCloseTo(((await loss(0.05)) - (await loss(-0.05))) / 0.1, 3)
      expect(found.gradients.get('prompt')![i]).toBeCloseTo((0.5 * 2 * (mean(i % width) - anchor[i % width]!)) / 2, 5)
    }
    await model.dispose()
    // So little memory that every row is a part of its own.
    const small = await LanguageModel.load(toyModel, { threads: 1 })
    small.memory.split = lengths => lengths.map((_, i) => [i, i + 1] as [number, number])
    const parts = await small.promptGradient(prompt(rows), texts, { losses: [lossTerm(domainPrior, { type: 'domain-prior' }, { anchor, weight: 0.5 })] }) // biome-ignore format: a call
    expect(parts.loss).toBeCloseTo(found.loss, 4)
    for (const [i, x] of parts.gradients.get('prompt')!.entries()) expect(x).toBeCloseTo(found.gradients.get('prompt')![i]!, 5)
    await small.dispose()
  })

  test('is said at every step, holds the prompt nearer, and goes on to the same bits', async () => {
    const train = { prior: { weight: 50 } }
    const events: GradpromptEvent[] = []
    const held = await tune(config(train), { onEvent: event => events.push(event) })
    const free = await tune(config())
    const steps = events.filter(event => event.event === 'step')
    expect(steps.at(-1)!.priorDistance as number).toBeLessThan(steps[0]!.priorDistance as number)
    const far = async (run: string) => {
      const tensors = await tensorsOf(run)
      const { data, shape } = tensors.get('domain')!
      const middle = meanParticle({ data, count: shape[0]! })
      const rows = tensors.get('prompt')!.data
      return Math.hypot(...middle.map((x, d) => x - [0, 1, 2, 3].reduce((sum, row) => sum + rows[row * width + d]! / 4, 0)))
    }
    expect(await far(held.folder)).toBeLessThan(await far(free.folder))
    const controller = new AbortController()
    const input = config(train)
    const stop = (event: GradpromptEvent) => event.event === 'step' && event.step === 2 && controller.abort()
    expect(await problemOf(tune(input, { signal: controller.signal, onEvent: stop }))).toMatchObject({ code: 'aborted' })
    const bytes = (run: string) => readFileSync(join(run, 'prompt.safetensors'))
    expect(bytes((await resume(input.out!)).folder).equals(bytes(held.folder))).toBe(true)
  })
})

describe('the start', () => {
  test.each([true, false])(
    'is particles as long as tokens, far from each other, centred or not (%s); what it was estimated from is said',
    async centred => {
      const events: GradpromptEvent[] = []
      const method = { ...startsThere, init: { type: 'domain' as const, ...(!centred && { centred }) } }
      const run = await tune(config({ steps: 0 }, { method }), { onEvent: event => events.push(event) })
      const tensors = await tensorsOf(run.folder)
      const { data, shape } = tensors.get('domain')!
      // Eight texts that differ, of 32 rows.
      expect(shape).toEqual([32, width])
      const rows = tensors.get('prompt')!.data
      const middle = meanParticle({ data, count: 32 })
      const particles = particleRows({ data, count: 32 }).map(row => row.map((x, d) => x - (centred ? middle[d]! : 0)))
      const lengths = [0, 1, 2, 3].map(i => Math.hypot(...rows.subarray(i * width, (i + 1) * width)))
      for (const length of lengths) expect(length).toBeCloseTo(lengths[0]!, 4)
      for (const i of [0, 1, 2, 3]) {
        const own = rows.subarray(i * width, (i + 1) * width)
        const cosines = particles.map(row => row.reduce((sum, x, d) => sum + x * own[d]!, 0) / (Math.hypot(...row) * lengths[0]!))
        expect(Math.max(...cosines)).toBeCloseTo(1, 5)
      }
      expect(events).toContainEqual(
        expect.objectContaining({ code: 'domain', message: expect.stringContaining('32 training inputs: 32 particles') }),
      )
    },
  )

  test('reads inputs without labels from a file that is named, and says so', async () => {
    const path = join(folder, 'unlabelled.tsv')
    const messages: string[] = []
    writeFileSync(path, 'text\tlabel\nof the stone at the wine\t\nit is on the of\t\n')
    const good = await tune(config({ steps: 0 }, { method: startsThere, domain: { ...domain, unlabelled: path } }), {
      onEvent: event => event.event === 'warning' && messages.push(event.message),
    })
    expect(messages.join('\n')).toContain('2 of ')
    expect(messages.join('\n')).toContain('transductive')
    const plain = await tune(config({ steps: 0 }, { method: startsThere }))
    expect((await tensorsOf(good.folder)).get('prompt')!.data).not.toEqual((await tensorsOf(plain.folder)).get('prompt')!.data)
  })
})

describe('a run that goes on', () => {
  test('has the domain of its first part, whatever became of the file that it was estimated from', async () => {
    const path = join(folder, 'changed.tsv')
    const given = { method: startsThere, domain: { ...domain, unlabelled: path } }
    writeFileSync(path, 'text\tlabel\nof the stone at the wine\t\nit is on the of\t\n')
    const whole = await tune(config({}, given))
    const controller = new AbortController()
    const input = config({}, given)
    const stop = (event: GradpromptEvent) => event.event === 'step' && event.step === 2 && controller.abort()
    expect(await problemOf(tune(input, { signal: controller.signal, onEvent: stop }))).toMatchObject({ code: 'aborted' })
    writeFileSync(path, 'text\tlabel\nin the\t\n')
    const events: GradpromptEvent[] = []
    const rest = await resume(input.out!, { onEvent: event => events.push(event) })
    expect(await tensorsOf(rest.folder)).toEqual(await tensorsOf(whole.folder))
    expect(events.filter(event => event.event === 'warning' && event.code === 'domain')).toEqual([])
  })
})

describe('options', () => {
  test('what needs a domain has one, with its defaults', () => {
    expect(parseConfig(config({}, { domain: undefined, method: startsThere })).domain).toMatchObject({
      iterations: 1000,
      particles: 64,
    })
    const held = parseConfig(config({ prior: {} }, { domain: undefined }))
    expect(held.domain).toMatchObject({ covariance: 'full' })
    expect(held.train.prior).toEqual({ weight: 0.01 })
    expect(parseConfig(held)).toEqual(held)
    expect(parseConfig(config({}, { domain: undefined })).domain).toBeUndefined()
  })

  test('a prior of a method without rows at the input, of a loss over classes and of private records is refused', async () => {
    const prior = { prior: { weight: 1 } }
    expect(problem(() => parseConfig(config(prior, { method: { type: 'prefix-tuning' } as never })))).toMatchObject({
      code: 'invalid-config',
    })
    const classes = { ...prior, loss: { type: 'class-cross-entropy' as const } }
    expect(await problemOf(tune(config(classes)))).toMatchObject({ code: 'invalid-config' })
    expect(await problemOf(tune(config({ privacy: { epsilon: 4, delta: 0.01 } })))).toMatchObject({
      code: 'breaks-privacy',
      found: 'domain',
    })
  })
})
