import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readTunedRun } from '../../src/api/runs/configs.js'
import { RowBuilder } from '../../src/data/rows/rows.js'
import { resolveAnswerEnd } from '../../src/data/texts/answer-end.js'
import { evaluate, generate, type LanguageModel, loadModel, search, tune } from '../../src/index.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import type { ConfigInput } from '../../src/train/config.js'
import type { GradpromptEvent } from '../../src/train/events.js'
import { toySearch } from '../search/toy.js'
import { dot, random, relativeError } from '../support/numbers.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(() => model.dispose())

const rowsOf = (lines: readonly string[]) =>
  lines.map(line => {
    const [text, label] = line.split('\t') as [string, string]
    return { text, label }
  })
const toy = rowsOf(toyRows(16))

async function tuned(name: string, options: Partial<ConfigInput>) {
  const events: GradpromptEvent[] = []
  const config = toyConfig(folder, { threads: 1, ...options, out: join(folder, name) })
  const run = await tune(config, { onEvent: event => events.push(event) })
  return { run, codes: events.flatMap(event => (event.event === 'warning' ? [event.code] : [])) }
}

describe('twelve questions', () => {
  const answers = ['the', 'of', 'and', 'the of', 'of and', 'and the']
  const pairs = ['wine', 'stone'].flatMap(word => answers.map((label, i) => ({ text: `${word} ${i}`, label })))
  const learned = (name: string, answerEnd: string) =>
    tuned(name, {
      data: { train: pairs } as never,
      answerType: 'text',
      answerEnd,
      method: { type: 'prompt-tuning', numVirtualTokens: 8 },
      train: { steps: 200, batchSize: 12, learningRate: 0.1 },
    })
  const ask = (run: string) =>
    generate({ prompt: run, model, inputs: pairs.map(({ text }) => ({ text })), maxNewTokens: 12, weights: 'fp32' })

  test('each answer ends where what was learned ends', async () => {
    const { run } = await learned('auto', 'auto')
    expect(run.prompt.answerEnd).toEqual({ text: '<|endoftext|>', ids: [0] })
    const said = await ask(run.folder)
    expect(said.map(({ finishReason, stoppedBy }) => [finishReason, stoppedBy])).toEqual(pairs.map(() => ['stop', 0]))
    expect(said.every(({ ids }) => ids.length <= 4)).toBe(true)
  })

  test('at a text of its own, and at a special token that is no end of the model, which are no part of the answer', async () => {
    const line = await learned('line', '\n')
    const ended = await ask(line.run.folder)
    expect(ended.map(({ stoppedBy }) => stoppedBy)).toEqual(pairs.map(() => '\n'))
    expect(ended.every(({ text }) => !text.includes('\n'))).toBe(true)
    const special = await learned('special', '<|im_end|>')
    expect((await ask(special.run.folder)).map(({ stoppedBy }) => stoppedBy)).toEqual(pairs.map(() => 2))
  })

  test('without an end they run on', async () => {
    const { run } = await learned('none', 'none')
    expect(run.prompt.answerEnd).toBeUndefined()
    expect((await ask(run.folder)).map(({ finishReason }) => finishReason)).toEqual(pairs.map(() => 'length'))
  })
})

describe('labels of which one begins the other', () => {
  const labelled = (name: string, answerEnd: string) =>
    tuned(name, {
      data: {
        train: join(folder, 'toy.tsv'),
        split: { dev: 12 },
        columns: ['text', 'label'],
        labels: { 0: '1', 1: '10' },
      },
      answerEnd,
      train: { steps: 150, learningRate: 0.05 },
    })

  test('are told apart by their ends', async () => {
    const { run, codes } = await labelled('ends', 'auto')
    expect(codes).not.toContain('overlapping-labels')
    expect(run.result.metrics.accuracy?.value).toBe(1)
    const { predictions } = await evaluate({ model, prompt: run, data: toy })
    expect(new Set(predictions!.map(({ predicted }) => predicted))).toEqual(new Set(['1', '10']))
  })

  test('without an end the longer one is never chosen, which is said', async () => {
    const { run, codes } = await labelled('no-ends', 'none')
    expect(codes).toContain('overlapping-labels')
    const warnings: string[] = []
    const onWarning = ({ code }: { code: string }) => warnings.push(code)
    const { predictions } = await evaluate({ model, prompt: run, data: toy, onWarning })
    expect(new Set(predictions!.map(({ predicted }) => predicted))).toEqual(new Set(['1']))
    expect(warnings).toContain('overlapping-labels')
  })

  test('in a search as well', async () => {
    const data = { train: join(folder, 'toy.tsv'), columns: ['text', 'label'], labels: { 0: '1', 1: '10' } }
    const codes = async (answerEnd: string) => {
      const found: string[] = []
      const config = toySearch(folder, { answerEnd, search: { steps: 1, searchWidth: 4, topk: 4 } })
      const out = join(folder, `found-${answerEnd}`)
      const { result } = await search({ ...config, data: { ...config.data, labels: data.labels }, out } as never, {
        onEvent: event => void (event.event === 'warning' && found.push(event.code)),
      })
      return { found, confusion: result.test!.confusion! }
    }
    const [ended, unended] = [await codes('auto'), await codes('none')]
    expect([ended.found.includes('overlapping-labels'), unended.found.includes('overlapping-labels')]).toEqual([false, true])
    // confusion[target][prediction]: the longer label is never predicted.
    expect(unended.confusion.map(row => row[1])).toEqual([0, 0])
  })
})

describe('what an earlier version stored', () => {
  test('a run without the option scores as it was learned', async () => {
    const { run } = await tuned('stored', { answerEnd: 'none', train: { steps: 5 } })
    const { metrics } = await evaluate({ model, prompt: run.folder, data: toy })
    const path = join(run.folder, 'config.yaml')
    const text = readFileSync(path, 'utf8')
    expect(text).toContain('answerEnd: none\n')
    writeFileSync(path, text.replace('answerEnd: none\n', ''))
    expect((await readTunedRun(run.folder)).config.answerEnd).toBe('none')
    expect((await readPrompt(join(run.folder, 'prompt.safetensors'))).answerEnd).toBeUndefined()
    expect((await evaluate({ model, prompt: run.folder, data: toy })).metrics).toEqual(metrics)
  })

  test('labels that tell themselves apart are scored as before, with an end or without', async () => {
    const task = { model, data: toy, template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } }
    const [auto, none] = [await evaluate(task), await evaluate({ ...task, answerEnd: 'none' })]
    expect(auto.predictions).toEqual(none.predictions)
    const free = { model, data: toy, template: '{text} -', answer: ' {text}', answerType: 'text' as const }
    const [ended, unended] = [await evaluate(free), await evaluate({ ...free, answerEnd: 'none' })]
    const tokens = ended.results[0]!.tokens!
    expect(tokens.at(-1)!.token).toBe('<|endoftext|>')
    expect(tokens.slice(0, -1)).toEqual(unended.results[0]!.tokens)
  })
})

test('the end takes part in the loss and in its gradient', async () => {
  const { tokenizer } = model
  const end = resolveAnswerEnd({ answerEnd: 'auto', template: '' }, tokenizer)
  const options = { template: '{text} -', answer: ' {label}', contextLength: 64, numVirtualTokens: 3 }
  const row = new RowBuilder(tokenizer, { ...options, end }).training({ text: 'the wine', label: 'of' }, 0)
  const without = { ...row, labels: row.labels.map((label, i) => (i === row.ids.length - 1 ? -100 : label)) }
  const data = random(3, [3, 32], 0.5).data
  const at = (values: Float32Array, labelled: typeof row) =>
    model.lossAndGradient({ softPrompt: { data: values, shape: [3, 32] }, rows: [labelled] })
  const { loss, gradient } = await at(data, row)
  const [logits] = await model.logits([row.ids], { data, shape: [3, 32] })
  const said = row.labels.flatMap((label, i) => {
    if (label === -100) return []
    const place = logits!.subarray((i - 1) * 96, i * 96)
    return [Math.log(place.reduce((sum, x) => sum + Math.exp(x), 0)) - place[label]!]
  })
  expect(row.labels.at(-1)).toBe(0)
  expect(loss).toBeCloseTo(said.reduce((sum, x) => sum + x, 0) / said.length, 4)
  const other = await at(data, without)
  expect(relativeError(gradient, other.gradient)).toBeGreaterThan(0.1)
  const direction = random(4, [3, 32], 1).data
  const moved = (by: number) => data.map((x, i) => x + by * direction[i]!)
  const slope = ((await at(moved(5e-3), row)).loss - (await at(moved(-5e-3), row)).loss) / 1e-2
  expect(slope).toBeCloseTo(dot(gradient, direction), 2)
})

test('every end that generation_config.json lists ends an answer', async () => {
  const inputs = ['the wine -']
  const [whole] = await generate({ model, inputs, maxNewTokens: 6, weights: 'fp32' })
  const ending = whole!.ids[2]!
  const copy = join(folder, 'listed')
  cpSync(toyModel, copy, { recursive: true })
  writeFileSync(join(copy, 'generation_config.json'), JSON.stringify({ eos_token_id: [0, ending] }))
  const [answer] = await generate({ model: copy, inputs, maxNewTokens: 6, weights: 'fp32', threads: 1 })
  expect(answer).toMatchObject({ finishReason: 'stop', stoppedBy: ending })
  expect(answer!.ids).toEqual(whole!.ids.slice(0, whole!.ids.indexOf(ending)))
})
