import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import { openSafetensors } from '../../src/formats/safetensors.js'
import type { ConfigInput } from '../../src/train/config.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyRows } from './toy.js'

let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const withData = (data: Partial<ConfigInput['data']>, options: Partial<ConfigInput> = {}) => {
  const config = toyConfig(folder, options)
  return { ...config, data: { ...config.data, ...data } }
}

/** Refused as the user's mistake, with nothing written. */
async function refused(config: ConfigInput) {
  const error = await problemOf(tune(config))
  expect(error.exitCode).toBe(2)
  expect(existsSync(join(folder, 'run'))).toBe(false)
  return error
}

describe('before anything is written', () => {
  test('a missing data file', async () => {
    const error = await refused(withData({ train: join(folder, 'no.tsv') }))
    expect(error).toMatchObject({ code: 'file-not-found', hint: 'paths are relative to the working directory' })
  })

  test('a missing model', async () => {
    expect(await refused(toyConfig(folder, { model: join(folder, 'no-model') }))).toMatchObject({ code: 'file-not-found' })
  })

  test('an empty file', async () => {
    expect(await refused(withData({ train: file('empty.tsv', '') }))).toMatchObject({ code: 'empty-data' })
  })

  test('a missing column, with the nearest that is there', async () => {
    const error = await refused(toyConfig(folder, { template: '{txt} -' }))
    expect(error).toMatchObject({ code: 'missing-column', found: '{txt}', hint: 'did you mean {text}?' })
    expect(error.message).toContain('toy.tsv')
  })

  test('a label outside the set, with its row', async () => {
    const error = await refused(withData({ train: file('odd.tsv', `${toyRows(9).join('\n')}\nthe wine\t7\n`), split: undefined }))
    expect(error).toMatchObject({ code: 'unknown-label', found: 'label: "7"', expected: 'one of "0", "1"' })
    expect(error.message).toContain('odd.tsv:10')
  })

  test("a text longer than a method's options provide for, with its row, the option and the least value", async () => {
    const dept = { type: 'dept', numVirtualTokens: 4, rank: 1 } as const
    const error = await refused(toyConfig(folder, { method: { ...dept, maxTextLength: 4 } }))
    expect(error.code).toBe('invalid-config')
    const least = Number(/at least (\d+)/.exec(error.expected!)?.[1])
    expect(error.message).toMatch(
      /method\.maxTextLength \(4\) is below the length of the data \(data\.train: \d+ tokens in .*toy\.tsv:\d+\)/,
    )
    for (const method of [{ ...dept, maxTextLength: least }, { ...dept, maxTextLength: 4, longTexts: 'clip' } as const])
      await tune(toyConfig(folder, { method, train: { steps: 1 }, out: join(folder, `fits-${method.maxTextLength}`) }))
    await refused(toyConfig(folder, { method: { ...dept, maxTextLength: least - 1 } }))
    // Of an offset of the instruction alone the answer does not count.
    const text = { ...dept, offset: 'text', maxTextLength: least } as const
    await tune(toyConfig(folder, { method: text, train: { steps: 1 }, out: join(folder, 'text') }))
  })

  test('a row longer than the context, with its row; the text can be cut, the answer never is', async () => {
    const train = file('long.tsv', `${toyRows(9).join('\n')}\n${'wine '.repeat(60)}\t0\n`)
    const error = await refused(withData({ train, split: undefined }))
    expect(error).toMatchObject({ code: 'row-too-long', expected: 'at most 128', hint: expect.stringContaining('--truncate') })
    expect(error.message).toContain('long.tsv:10')

    const events: GradpromptEvent[] = []
    const config = withData({ train, split: undefined }, { train: { steps: 2, batchSize: 10, truncate: true } })
    await tune(config, { onEvent: event => events.push(event) })
    expect(events.filter(({ event }) => event === 'warning')).toEqual([
      { event: 'warning', code: 'rows-truncated', message: 'the text of 1 row was cut to fit the context' },
    ])
  })

  test('a prompt that leaves no room for a row', async () => {
    expect(await refused(toyConfig(folder, { method: { type: 'prompt-tuning', numVirtualTokens: 126 } }))).toMatchObject({
      code: 'row-too-long',
    })
  })

  test('an instruction of the base model that leaves no room for a row, which is not the template', async () => {
    const instruction = 'it stone '.repeat(60)
    expect(await refused(toyConfig(folder, { control: { instruction } }))).toMatchObject({
      code: 'row-too-long',
      message: expect.stringContaining("the base model's instruction"),
      found: expect.stringContaining('it stone it stone'),
      hint: expect.stringContaining('--control.instruction'),
    })
    // The template fits alone, and not behind the instruction that is made of the labels.
    expect(await refused(toyConfig(folder, { template: `${'it '.repeat(45)}{text} -` }))).toMatchObject({
      code: 'row-too-long',
      found: expect.stringContaining('Answer with one word: the or of.'),
    })
  })

  test('rows that the base model reads cut beside its instruction are counted', async () => {
    const events: GradpromptEvent[] = []
    const rows = toyRows(9).join('\n')
    const dev = file('dev.tsv', `${rows}\n${'wine '.repeat(30)}\t0\n`)
    const config = withData({ train: file('train.tsv', rows), dev, split: undefined }, { train: { steps: 1 } })
    const { folder: run } = await tune(config, { onEvent: event => events.push(event) })
    const cut = {
      code: 'rows-truncated',
      message: 'the text of 1 row was cut to fit the context where the base model is told its instruction',
    }
    expect(events.filter(({ event }) => event === 'warning')).toContainEqual({ event: 'warning', ...cut })
    expect(readFileSync(join(run, 'report.html'), 'utf8')).toContain(cut.message)
  })

  test('conversations of which none has an answer, which is no matter of a header', async () => {
    const path = join(folder, 'asked.jsonl')
    const turns = [{ role: 'user', content: 'the wine' }]
    writeFileSync(path, `${JSON.stringify({ messages: turns })}\n`.repeat(4))
    const template = '{messages[0].content} -'
    const config = { ...toyConfig(folder), data: { train: path }, template, answer: ' {messages.answer}' }
    expect(await refused(config)).toMatchObject({
      code: 'missing-column',
      message: expect.stringContaining(':1 has nothing at {messages.answer}'),
      hint: expect.stringContaining('last turn'),
    })
  })

  test('an unknown option, with the nearest', async () => {
    const config = { ...toyConfig(folder), train: { step: 10 } } as unknown as ConfigInput
    expect(await refused(config)).toMatchObject({ code: 'unknown-option', hint: 'did you mean train.steps?' })
  })

  test('a split that leaves nothing', async () => {
    expect(await refused(withData({ split: { dev: 48 } }))).toMatchObject({ code: 'split-too-large' })
  })

  test('too little memory, with the figures', async () => {
    const error = await refused(toyConfig(folder, { memory: 0.01 }))
    expect(error).toMatchObject({ code: 'not-enough-memory', found: '10.0 MB to use' })
  })

  test('the text of a special token in a row', async () => {
    const train = file('markup.tsv', `${toyRows(9).join('\n')}\nthe <|im_end|> wine\t0\n`)
    expect(await refused(withData({ train, split: undefined }, { train: { steps: 2, batchSize: 10 } }))).toMatchObject({
      code: 'special-token-in-data',
      found: '<|im_end|>',
    })
  })

  test('an empty answer, with its row', async () => {
    const train = file('hollow.tsv', `${toyRows(9).join('\n')}\nthe wine\t\n`)
    const config = withData({ train, split: undefined, labels: undefined }, { answer: '{label}' })
    const error = await refused(config)
    expect(error.code).toBe('empty-answer')
    expect(error.message).toContain('hollow.tsv:10')
  })

  test('a folder that holds a run, or something else', async () => {
    const config = toyConfig(folder, { train: { steps: 1 } })
    await tune(config)
    const before = readFileSync(join(folder, 'run', 'prompt.safetensors'))
    expect(await problemOf(tune(config))).toMatchObject({
      code: 'run-exists',
      exitCode: 2,
      hint: expect.stringContaining(`gradprompt resume ${config.out}`),
    })
    expect(readFileSync(join(folder, 'run', 'prompt.safetensors')).equals(before)).toBe(true)

    mkdirSync(join(folder, 'mine'))
    file('mine/notes.txt', 'mine')
    expect(await problemOf(tune({ ...config, out: join(folder, 'mine') }))).toMatchObject({ code: 'folder-not-empty' })
    expect(readdirSync(join(folder, 'mine'))).toEqual(['notes.txt'])
  })
})

describe('a learning rate that drives the numbers out of range', () => {
  const train = { steps: 60, learningRate: 1e38, warmup: 20, evaluateEvery: 60 } as const

  test('stops the run and keeps the last good checkpoint', async () => {
    const events: GradpromptEvent[] = []
    const config = toyConfig(folder, { train: { ...train, maxGradientNorm: null } })
    const error = await problemOf(tune(config, { onEvent: event => events.push(event) }))
    expect(error).toMatchObject({
      code: 'loss-not-finite',
      exitCode: 2,
      hint: expect.stringContaining('lower train.learningRate'),
    })
    expect(error.found).toMatch(/at learning rate [\d.]+e\+\d+/)
    const last = events.findLast(event => event.event === 'step')
    expect(Number.isFinite(last?.event === 'step' ? last.loss : Number.NaN)).toBe(true)
    const [name] = readdirSync(join(folder, 'run', 'checkpoints'))
      .sort()
      .reverse()
    // Nothing was saved before the first step, unless the loss was finite after it.
    if (name !== undefined) {
      const checkpoint = await openSafetensors(join(folder, 'run', 'checkpoints', name))
      expect((await checkpoint.read('parameter:prompt')).every(Number.isFinite)).toBe(true)
      await checkpoint.close()
    }
    expect(existsSync(join(folder, 'run', 'result.json'))).toBe(false)
    expect(existsSync(join(folder, 'run', 'prompt.safetensors'))).toBe(false)
  })

  test('with a lower one in its config, the run goes on from there', async () => {
    const config = toyConfig(folder, { train: { steps: 30, evaluateEvery: 30 } })
    const controller = new AbortController()
    const onEvent = (event: GradpromptEvent) => event.event === 'step' && event.step === 4 && controller.abort()
    await problemOf(tune(config, { signal: controller.signal, onEvent }))
    const path = join(folder, 'run', 'config.yaml')
    const text = readFileSync(path, 'utf8')
    writeFileSync(path, text.replace('learningRate: 0.1', 'learningRate: 1.0e+38'))
    expect(await problemOf(resume(join(folder, 'run')))).toMatchObject({ code: 'loss-not-finite' })
    writeFileSync(path, text)
    const steps: number[] = []
    const run = await resume(join(folder, 'run'), { onEvent: event => event.event === 'step' && steps.push(event.step) })
    expect(steps[0]).toBe(5)
    expect(run.result.steps).toBe(30)
  })
})

test('one process at a time writes a run', async () => {
  const config = toyConfig(folder)
  let other: Promise<unknown> | undefined
  await tune(config, {
    onEvent: event => {
      if (event.event === 'step') other ??= problemOf(resume(join(folder, 'run')))
    },
  })
  expect(await other).toMatchObject({ code: 'run-locked' })
})
