import { describe, expect, test } from 'vitest'
import { evaluate } from '../../../src/api/evaluation/evaluate.js'
import { generate } from '../../../src/api/generation/generate.js'
import { contrasted } from '../../../src/generate/engine/contrast.js'
import type { ActivePrompt } from '../../../src/model/active-prompt.js'
import { activeRows } from '../../../src/sources/prompt.js'
import { random } from '../../support/numbers.js'
import { problemOf } from '../../support/problem.js'
import { count, failure, open, tiny } from '../support/engines.js'

/** Answers that are chosen under one prompt against another. */

const prompts = async () => {
  const model = await tiny
  const rows = (seed: number) =>
    activeRows({ data: random(seed, [3, model.config.hiddenSize]).data, shape: [3, model.config.hiddenSize] }, model)
  return { good: rows(1), bad: rows(2) }
}

/** Greedy tokens by running the whole text under both prompts anew for every one, up to where two scores tie. */
async function slowly(ids: readonly number[], length: number, strength: number, good?: ActivePrompt, bad?: ActivePrompt) {
  const model = await tiny
  const { vocabSize } = model.config
  const all = [...ids]
  while (all.length < ids.length + length) {
    const [own, other] = await Promise.all(
      [good, bad].map(async prompt => (await model.logits([all], prompt))[0]!.subarray(-vocabSize)),
    )
    const peak = Math.max(...own!)
    const scores = [...own!].map((z, id) => ({
      id,
      score: z - peak < Math.log(0.1) ? Number.NEGATIVE_INFINITY : (1 + strength) * z - strength * other![id]!,
    }))
    const [first, second] = scores.sort((a, b) => b.score - a.score)
    if (first!.score - second!.score < 1e-4) break
    all.push(first!.id)
  }
  return all.slice(ids.length)
}

test('scores are (1 + g) z - g z among tokens of a tenth of the likeliest one', () => {
  const own = Float32Array.of(3, 2, 3 + Math.log(0.1) - 0.01, 2.9)
  const found = contrasted(own, Float32Array.of(3, 0, 0, 3), 0.5)
  expect([...found].map(x => Math.round(x * 1e4) / 1e4)).toEqual([3, 3, Number.NEGATIVE_INFINITY, 2.85])
  // Where both say the same nothing changes but what is implausible.
  expect([...contrasted(own, own, 2)].map(x => Math.round(x * 1e4) / 1e4)).toEqual([3, 2, Number.NEGATIVE_INFINITY, 2.9])
})

describe('an engine', () => {
  test('answers as the slow way does, many at once, beside answers without a contrast', async () => {
    const { good, bad } = await prompts()
    const model = await tiny
    const engine = await open(model, { prompts: { good, bad }, batchSize: 5 })
    const cases = [
      { ids: count(9), prompt: 'good', contrast: { against: 'bad', strength: 0.5 } },
      { ids: count(41, 5), prompt: 'good', contrast: { against: 'bad', strength: 1.5 } },
      { ids: count(70, 3), prompt: 'bad', contrast: { strength: 1 } },
      { ids: count(9), prompt: 'good' },
      { ids: count(12), contrast: { against: 'bad', strength: 1 } },
      { ids: count(9), prompt: 'good', contrast: { against: 'bad', strength: 0 } },
    ]
    const answers = await Promise.all(cases.map(each => engine.generate({ ...each, maxNewTokens: 12 })))
    const byName = (name: string | undefined) => ({ good, bad })[name as 'good']
    for (const [i, { ids, prompt, contrast }] of cases.entries()) {
      const expected = await slowly(ids, 12, contrast?.strength ?? 0, byName(prompt), byName(contrast?.against))
      expect(answers[i]!.ids.slice(0, expected.length)).toEqual(expected)
      expect(answers[i]).toMatchObject({ finishReason: 'length', promptTokens: ids.length })
    }
    expect(answers[0]!.ids).not.toEqual(answers[3]!.ids)
    expect(answers[5]!.ids).toEqual(answers[3]!.ids)
    expect(engine.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
    await engine.dispose()
  })

  test('answers the same to many that begin alike, whose beginning is decoded from together', async () => {
    const { good, bad } = await prompts()
    const beginning = count(130, 11)
    const contrast = { against: 'bad', strength: 1 }
    const asked = [1, 2, 3, 4, 5].map(id => ({ ids: [...beginning, id], prompt: 'good', contrast, maxNewTokens: 4 }))
    const engine = await open(await tiny, { prompts: { good, bad } })
    // The second round finds the beginnings of the first.
    for (let round = 0; round < 2; round++) {
      const answers = await Promise.all(asked.map(each => engine.generate(each)))
      for (const [i, { ids }] of asked.entries()) {
        const expected = await slowly(ids, 4, 1, good, bad)
        expect(answers[i]!.ids.slice(0, expected.length)).toEqual(expected)
      }
    }
    await engine.dispose()
  })

  test('samples by its seed, is limited to choices, and ends, in a place for one', async () => {
    const { good, bad } = await prompts()
    const engine = await open(await tiny, { prompts: { good, bad }, batchSize: 1 })
    const contrast = { against: 'bad', strength: 1 }
    const drawn = () =>
      engine.generate({
        ids: count(9),
        prompt: 'good',
        contrast,
        temperature: 1,
        seed: 3,
        maxNewTokens: 8,
        logProbabilities: true,
      })
    const [one, two] = await Promise.all([drawn(), drawn()])
    expect(one).toEqual(two)
    // None is less likely than a tenth of the likeliest, of which there are ten at most.
    for (const value of one.logProbabilities!) expect(value).toBeGreaterThan(-20)
    const choices = [
      [5, 6, 7],
      [5, 9],
    ].map(ids => ({ text: String(ids), ids }))
    const chosen = await engine.generate({ ids: count(9), prompt: 'good', contrast, choices, maxNewTokens: 4 })
    expect(choices.map(({ ids }) => ids)).toContainEqual(chosen.ids)
    const whole = await engine.generate({ ids: count(9), prompt: 'good', contrast, maxNewTokens: 8 })
    const end = whole.ids[4]!
    const ended = await engine.generate({ ids: count(9), prompt: 'good', contrast, maxNewTokens: 8, stopTokenIds: [end] })
    expect(ended).toMatchObject({ ids: whole.ids.slice(0, whole.ids.indexOf(end)), finishReason: 'stop', stoppedBy: end })
    const control = new AbortController()
    const stopped = engine.generate({
      ids: count(9),
      prompt: 'good',
      contrast,
      maxNewTokens: 300,
      signal: control.signal,
      onText: () => control.abort(),
    })
    expect((await stopped).finishReason).toBe('aborted')
    expect(engine.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
    await engine.dispose()
  })

  test('ends with the error of either side', async () => {
    const { good } = await prompts()
    const unreal = {
      ...good,
      parameters: new Map([['prompt', new Float32Array(good.parameters.get('prompt')!.length).fill(Number.NaN)]]),
    }
    const engine = await open(await tiny, { prompts: { good, unreal } })
    const request = { ids: count(9), prompt: 'good', maxNewTokens: 3 }
    const [failed, other] = await Promise.all([
      failure(engine.generate({ ...request, contrast: { against: 'unreal', strength: 1 } })),
      engine.generate(request),
    ])
    expect(failed.code).toBe('not-finite')
    expect(other.ids).toHaveLength(3)
    const wrong = (contrast: object, more = {}) => failure(engine.generate({ ...request, ...more, contrast: contrast as never }))
    expect(await wrong({ strength: -1 })).toMatchObject({ code: 'invalid-option', found: '-1' })
    expect(await wrong({ strength: 1, against: 'other' })).toMatchObject({ code: 'unknown-prompt' })
    expect(await wrong({ strength: 1 }, { continuation: { ids: [1], scored: 1 } })).toMatchObject({ code: 'invalid-option' })
    expect(engine.state).toMatchObject({ waiting: 0, running: 0, blocks: 0 })
    await engine.dispose()
  })
})

test('evaluations of generated answers take it as well', async () => {
  const model = await tiny
  const rows = (seed: number) => ({
    data: random(seed, [3, model.config.hiddenSize]).data,
    shape: [3, model.config.hiddenSize] as const,
  })
  const texts = ['a b c', 'b c d']
  const common = { model, prompt: rows(1), maxNewTokens: 6, weights: 'fp32' as const }
  const evaluated = async (more: object) =>
    (
      await evaluate({
        ...common,
        data: texts.map(q => ({ q, a: 'x' })),
        template: '{q}',
        answer: ' {a}',
        answerType: 'text',
        generate: true,
        scorer: () => true,
        answerEnd: 'none',
        ...more,
      })
    ).results!.map(({ text }) => text)
  const generated = async (more: object) => (await generate({ ...common, inputs: texts, ...more })).map(({ text }) => text)
  const asked = { against: rows(2), contrast: 2 }
  expect(await evaluated(asked)).toEqual(await generated(asked))
  expect(await evaluated({})).toEqual(await generated({}))
  expect(await generated(asked)).not.toEqual(await generated({}))
})

test('the library takes any soft prompts, and refuses what cannot be held against one another', async () => {
  const model = await tiny
  const rows = (seed: number) => ({
    data: random(seed, [3, model.config.hiddenSize]).data,
    shape: [3, model.config.hiddenSize] as const,
  })
  const common = { model, inputs: ['a b c'], maxNewTokens: 6, weights: 'fp32' as const, prompt: rows(1) }
  const [plain] = await generate(common)
  const [none] = await generate({ ...common, against: rows(2), contrast: 0 })
  expect(none!.ids).toEqual(plain!.ids)
  const [usual] = await generate({ ...common, against: rows(2) })
  expect(usual!.ids).toEqual((await generate({ ...common, against: rows(2), contrast: 0.5 }))[0]!.ids)
  const { prompt: _, ...without } = common
  expect(await problemOf(generate({ ...without, contrast: 1 }))).toMatchObject({
    code: 'invalid-option',
    found: 'a contrast, and no soft prompt',
  })
  expect(await problemOf(generate({ ...common, against: { text: 'Be rude.' } }))).toMatchObject({ code: 'invalid-option' })
})
