import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { tune } from '../../src/api/tune.js'
import { type ActivePrompt, whileLearning } from '../../src/model/active-prompt.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { readPrompt } from '../../src/store/prompt-file.js'
import { random } from '../support/numbers.js'
import { problemOf } from '../support/problem.js'
import { disposeModels, methodConfig, tinyModel } from '../support/prompt-fixtures.js'
import { temporaryFolder } from '../train/toy.js'

afterAll(disposeModels)
const { folder } = temporaryFolder()

const placeholder = 41
const rows = [
  { context: [9, 80, 31, 7, 20], candidates: [{ ids: [14, 60] }, { ids: [33] }] },
  { context: [78, 80, 12], candidates: [{ ids: [5, 9, 61] }] },
]

/** Soft thoughts with given numbers in the map: what the placeholders are is known here. */
async function thoughts(options: object = {}, map?: (width: number) => Float32Array, family = 'llama-gqa') {
  const model = await tinyModel(family)
  const config = methodConfig({ type: 'softcot', numVirtualTokens: 3, ...options })
  const method = promptMethods.get('softcot')!
  const shapes = method.parameters(config, model.config)
  const width = model.config.hiddenSize
  const count = shapes.find(({ name }) => name === 'placeholders')!.shape[0]!
  const prompt: ActivePrompt = {
    method,
    config,
    parameters: new Map([
      ['map', map?.(width) ?? random(3, [width * width], 0.3).data],
      ['placeholders', await model.embeddingRows(Array(count).fill(placeholder))],
    ]),
  }
  return { model, prompt, width }
}

/** The same rows with tokens in front of the last ones of their contexts. */
const withTokens = (count: number, beforeLast: number) =>
  rows.map(({ context, candidates }) => {
    const cut = Math.max(0, context.length - beforeLast)
    return { context: [...context.slice(0, cut), ...Array(count).fill(placeholder), ...context.slice(cut)], candidates }
  })

const close = (found: readonly number[][], wanted: readonly number[][], digits = 4) => {
  for (const [i, own] of wanted.entries()) for (const [j, x] of own.entries()) expect(found[i]![j]!).toBeCloseTo(x, digits)
}

describe('soft thoughts', () => {
  test('none of them is the model alone, to the bit', async () => {
    const { model, prompt } = await thoughts({ numVirtualTokens: 0, trainTokens: 4 })
    expect(await model.logLikelihoods(prompt, rows)).toEqual(await model.logLikelihoods(undefined, rows))
  })

  test.each([
    { family: 'llama-gqa', beforeLast: 1 },
    { family: 'llama-gqa', beforeLast: 2 },
    // More than one of the contexts has: the placeholders stand before all of it.
    { family: 'gpt2', beforeLast: 4 },
  ])('a map of zero is the model that reads placeholders: $family, before the last $beforeLast', async given => {
    const { model, prompt } = await thoughts(
      { beforeLast: given.beforeLast },
      width => new Float32Array(width * width),
      given.family,
    )
    const found = await model.logLikelihoods(prompt, rows)
    close(found, await model.logLikelihoods(undefined, withTokens(3, given.beforeLast)))
    const without = await model.logLikelihoods(undefined, rows)
    expect(Math.abs(found[0]![0]! - without[0]![0]!)).toBeGreaterThan(1e-3)
  })

  test('are what the model makes of placeholders behind the question, through the map', async () => {
    const { model, prompt, width } = await thoughts({ beforeLast: 2 })
    const map = prompt.parameters.get('map')!
    const [row] = withTokens(3, 2)
    const first = rows[0]!.context.length - 2
    // The last hidden states of a text of its own, by the model's inspection.
    const text = row!.context.slice(0, first + 3)
    const [pass] = await model.forward([text], { hiddenStates: true })
    const last = pass!.hiddenStates!.at(-1)!
    const embedded = await model.embeddingRows([placeholder, placeholder, placeholder])
    const made = embedded.slice()
    for (let i = 0; i < 3; i++) {
      const own = last.subarray((first + i) * width, (first + i + 1) * width)
      const size = Math.sqrt(own.reduce((sum, x) => sum + x * x, 0) / width)
      for (let to = 0; to < width; to++)
        for (let from = 0; from < width; from++) made[i * width + to]! += (own[from]! / size) * map[from * width + to]!
    }
    // As the soft tokens of a template they take the placeholders' places in a second reading.
    const soft: ActivePrompt = {
      method: promptMethods.get('soft-template')!,
      config: { type: 'soft-template', softTokens: [{ text: '{soft:3}', ids: [-1, -1, -1] }] } as { type: string },
      parameters: new Map([['softTokens', made]]),
    }
    const { vocabSize } = model.config
    const context = row!.context.map((id, i) => (i >= first && i < first + 3 ? vocabSize + i - first : id))
    close(await model.logLikelihoods(prompt, [rows[0]!]), await model.logLikelihoods(soft, [{ ...row!, context }]))
  })

  test('have gradients in the map alone', async () => {
    const { model, prompt } = await thoughts()
    const labelled = rows
      .map(({ context, candidates }) => ({ context, ids: candidates[0]!.ids }))
      .map(({ context, ids }) => ({
        ids: [...context, ...ids],
        labels: [...context.map(() => -100), ...ids],
      }))
    const { gradients } = await model.promptGradient(prompt, labelled)
    expect([...gradients.keys()]).toEqual(['map'])
    expect(gradients.get('map')!.some(x => Math.abs(x) > 1e-4)).toBe(true)
  })

  test('are as many while they are learned as method.trainTokens says, and in use as method.numVirtualTokens', async () => {
    const data = join(folder, 'letters.tsv')
    writeFileSync(data, ['k', 'q', 'Z'].map(letter => `${letter}a\t${letter}\n`).join(''))
    const losses = async (options: object) => {
      const found: number[] = []
      const run = await tune(
        {
          model: 'test/fixtures/models/llama-gqa',
          data: { train: data, columns: ['text', 'label'] },
          template: '{text}-',
          answer: '{label}',
          answerType: 'text',
          method: { type: 'softcot', placeholder: 'x', ...options },
          train: { steps: 1, batchSize: 3 },
          out: join(folder, JSON.stringify(options)),
        },
        { onEvent: event => event.event === 'step' && found.push(event.loss) },
      )
      return { loss: found[0]!, prompt: await readPrompt(join(run.folder, 'prompt.safetensors')) }
    }
    const [few, many, apart] = [
      await losses({ numVirtualTokens: 2 }),
      await losses({ numVirtualTokens: 5 }),
      await losses({ numVirtualTokens: 2, trainTokens: 5 }),
    ]
    expect(apart.loss).toBe(many.loss)
    expect(apart.loss).not.toBe(few.loss)
    expect(apart.prompt.numVirtualTokens).toBe(2)
    const { prompt } = await thoughts({ numVirtualTokens: 2, trainTokens: 5 })
    expect(whileLearning(prompt).config).toMatchObject({ numVirtualTokens: 5 })
  })

  test('of which there are none to learn are refused', async () => {
    const data = join(folder, 'some.tsv')
    writeFileSync(data, 'k\tk\nq\tq\n')
    const run = tune({
      model: 'test/fixtures/models/llama-gqa',
      data: { train: data, columns: ['text', 'label'] },
      template: '{text}-',
      answer: '{label}',
      method: { type: 'softcot', numVirtualTokens: 0 },
    })
    expect(await problemOf(run)).toMatchObject({ code: 'invalid-config' })
  })

  test('stand in front of texts that are shorter than method.beforeLast, and that is said', async () => {
    const data = join(folder, 'short.tsv')
    writeFileSync(data, 'abc xyz the of\tk\nq\tq\n')
    const told = async (beforeLast: number) => {
      const codes: string[] = []
      await tune(
        {
          model: 'test/fixtures/models/llama-gqa',
          data: { train: data, columns: ['text', 'label'] },
          template: '{text}',
          answer: '{label}',
          answerType: 'text',
          method: { type: 'softcot', numVirtualTokens: 1, placeholder: 'x', beforeLast },
          train: { steps: 0 },
          out: join(folder, `short-${beforeLast}`),
        },
        { onEvent: event => event.event === 'warning' && event.code === 'short-texts' && codes.push(event.message) },
      )
      return codes.map(message => message.slice(0, 'n of n rows'.length))
    }
    expect([await told(1), await told(3)]).toEqual([[], ['1 of 2 rows']])
  })
})
