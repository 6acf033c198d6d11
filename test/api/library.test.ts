import { spawnSync } from 'node:child_process'
import { pathToFileURL } from 'node:url'
import * as tf from '@tensorflow/tfjs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as library from '../../src/index.js'
import { problemOf } from '../support/problem.js'

test('what the package exports', () => {
  expect(Object.keys(library).sort()).toEqual([
    'GradpromptError',
    'LanguageModel',
    'Program',
    'addTrial',
    'bestShown',
    'compareRuns',
    'compile',
    'compress',
    'evaluate',
    'exportPrompt',
    'extend',
    'generate',
    'hints',
    'interview',
    'judgeRuns',
    'labelNext',
    'listRuns',
    'loadModel',
    'nearestTokens',
    'nextPair',
    'predict',
    'prefer',
    'probe',
    'readRun',
    'reject',
    'resume',
    'resumeSearch',
    'runEagerly',
    'scorePredictions',
    'search',
    'searchEnvironment',
    'serve',
    'simulatedPerson',
    'summarizeRuns',
    'sweep',
    'synthesize',
    'tune',
    'writeReport',
  ])
})

test('is loaded without TF.js, which a start with compiled programs does not need', () => {
  const script = `import(${JSON.stringify(pathToFileURL('dist/src/index.js').href)})
    .then(() => { process.exitCode = Object.keys(require.cache).some(path => path.includes('@tensorflow')) ? 3 : 0 })`
  expect(spawnSync(process.execPath, ['--eval', script]).status).toBe(0)
})

describe('a loaded model', () => {
  let model: library.LanguageModel
  beforeAll(async () => {
    model = await library.loadModel('test/fixtures/models/llama-gqa', { device: 'cpu' })
  })
  afterAll(() => model.dispose())

  test('has a config and a tokenizer', () => {
    expect(model.config).toMatchObject({ hiddenSize: 32, vocabSize: 96, numLayers: 3 })
    const ids = model.tokenizer.encode('the wine', { addSpecialTokens: true })
    expect(model.tokenizer.decode(ids)).toBe('the wine')
  })

  test('gives logits, a loss, and its gradient', async () => {
    const ids = model.tokenizer.encode('the wine of it')
    const [logits] = await model.logits([ids])
    expect(logits).toHaveLength(ids.length * 96)
    const softPrompt = { data: await model.embeddingRows([5, 6, 7]), shape: [3, 32] as const }
    // A label at position 0 is predicted from the soft prompt's last row.
    const rows = [{ ids, labels: ids.map((id, i) => (i % 2 === 0 ? id : -100)) }]
    const { loss, gradient } = await model.lossAndGradient({ softPrompt, rows })
    expect(gradient).toHaveLength(3 * 32)
    const shifted = async (size: number) => {
      const data = softPrompt.data.map((value, i) => value + size * gradient[i]!)
      return (await model.lossAndGradient({ softPrompt: { ...softPrompt, data }, rows })).loss
    }
    const slope = ((await shifted(1e-2)) - (await shifted(-1e-2))) / 2e-2
    expect(slope / gradient.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(1, 1)
    expect(loss).toBeGreaterThan(0)
  })

  test('a model that is not there', async () => {
    expect(await problemOf(library.loadModel('no/such/model'))).toMatchObject({ code: 'file-not-found', exitCode: 2 })
  })
})

test('a function of tensors becomes a program', async () => {
  const program = await library.compile(({ x }) => ({ y: tf.square(x!) }), {
    inputs: { x: { shape: ['R', 3], dtype: 'float32' } },
    dims: { R: [1, 64] },
  })
  const { y } = await program.run({ x: Float32Array.of(1, 2, 3, 4, 5, 6) })
  expect([...y!]).toEqual([1, 4, 9, 16, 25, 36])
})
