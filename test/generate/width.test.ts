import { afterAll, beforeAll, expect, test } from 'vitest'
import { GenerationEngine } from '../../src/generate/engine/engine.js'
import { chooseWidth } from '../../src/generate/width.js'
import { evaluate, type LanguageModel, loadModel } from '../../src/index.js'
import { problemOf } from '../support/problem.js'
import { toyModel } from '../train/toy.js'

let model: LanguageModel
beforeAll(async () => {
  model = await loadModel(toyModel, { threads: 1 })
})
afterAll(() => model.dispose())

test('exact arithmetic wherever it fits comfortably; what is asked for is taken', () => {
  const memory = (budget: number, keeping: 'fp32' | 'compact' = 'fp32') => ({ float32Weights: 500e6, budget, keeping })
  expect(chooseWidth('auto', memory(1.5e9))).toBe('fp32')
  expect(chooseWidth('auto', memory(1.49e9))).toBe('stored')
  expect(chooseWidth('fp32', memory(0.6e9))).toBe('fp32')
  expect(chooseWidth('stored', memory(64e9))).toBe('stored')
  expect(chooseWidth('auto', memory(64e9, 'compact'))).toBe('stored')
  expect(chooseWidth('fp32', memory(64e9, 'compact'))).toBe('fp32')
  expect(() => chooseWidth('fp16' as never, memory(64e9))).toThrow('weights is not usable')
})

test('an engine says what it has come to', async () => {
  for (const [given, width] of [
    [{}, 'fp32'],
    [{ weights: 'stored' }, 'stored'],
  ] as const) {
    await using engine = await GenerationEngine.open(model, given)
    expect(engine.width).toBe(width)
  }
  expect(await problemOf(GenerationEngine.open(model, { weights: 'int8' as never }))).toMatchObject({ code: 'invalid-option' })
})

test('an evaluation says which arithmetic it used', async () => {
  const data = [{ text: 'the wine', label: '0' }]
  const told = { model, data, template: '{text} -', answer: ' {label}', labels: { 0: 'the', 1: 'of' } }
  expect(await evaluate(told)).toMatchObject({ weights: 'fp32' })
  const generated = await evaluate({ ...told, generate: true, maxNewTokens: 1 })
  expect(generated).toMatchObject({ weights: 'fp32', generated: { weights: 'fp32' } })
  const stored = await evaluate({ ...told, weights: 'stored', maxNewTokens: 1 })
  expect(stored).toMatchObject({ weights: 'stored', generated: { weights: 'stored' } })
})
