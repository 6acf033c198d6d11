import { existsSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { listOptions } from '../../src/config/options.js'
import { bundledModel, packageRoot, resolveModelPath } from '../../src/package-root.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { type ConfigInput, configJsonSchema, parseConfig } from '../../src/train/config.js'
import { problem } from '../support/problem.js'

const least = { data: { train: 'train.tsv' }, template: 'Review: {text}\nSentiment:', answer: ' {label}' } satisfies ConfigInput
const refused = (input: unknown) => problem(() => parseConfig(input, { source: 'tune.yaml' }))

describe('defaults', () => {
  test('the least config', () => {
    expect(parseConfig(least)).toEqual({
      ...least,
      data: { ...least.data, splitSeed: 13 },
      answerType: 'auto',
      answerEnd: 'auto',
      model: bundledModel,
      method: {
        type: 'prompt-tuning',
        numVirtualTokens: 20,
        init: { type: 'vocabulary' },
        position: 'before-bos',
        reparametrization: 'none',
      },
      train: {
        epochs: 1,
        batchSize: 16,
        learningRate: 0.01,
        optimizer: 'adamw',
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: 0,
        schedule: 'linear',
        warmup: 0.05,
        maxGradientNorm: 1,
        accumulate: 1,
        labelSmoothing: 0,
        bucket: false,
        frozenCache: 1,
        recompute: false,
        samples: 3,
        truncate: false,
        keep: 'last',
      },
      evaluate: {},
      control: {},
      seed: 13,
      device: 'cpu',
    })
  })

  test('steps take the place of epochs, and a dev set makes the best checkpoint the one to keep', () => {
    const { train } = parseConfig({ ...least, data: { train: 'a', dev: 'b' }, train: { steps: 400 } })
    expect(train).toMatchObject({ steps: 400, keep: 'best' })
    expect(train.epochs).toBeUndefined()
    expect(parseConfig({ ...least, data: { train: 'a', split: { dev: 0.1 } } }).train.keep).toBe('best')
    expect(parseConfig({ ...least, data: { train: 'a', dev: 'b' }, train: { keep: 'last' } }).train.keep).toBe('last')
  })

  test('Adafactor has no Adam constants', () => {
    expect(parseConfig({ ...least, train: { optimizer: 'adafactor' } }).train.beta2).toBeUndefined()
  })

  test('a resolved config parses to itself', () => {
    const steps = fc.oneof(
      fc.record({ steps: fc.integer({ min: 1 }) }),
      fc.record({ epochs: fc.integer({ min: 1 }) }),
      fc.constant({}),
    )
    const choices = fc.record({
      train: fc.tuple(steps, fc.constantFrom('adamw' as const, 'adafactor' as const)),
      dev: fc.boolean(),
      seed: fc.nat(),
    })
    fc.assert(
      fc.property(choices, ({ train: [length, optimizer], dev, seed }) => {
        const data = dev ? { train: 'a', dev: 'b' } : { train: 'a' }
        const config = parseConfig({ ...least, data, train: { ...length, optimizer }, seed })
        expect(parseConfig(config)).toEqual(config)
        expect(parseConfig(JSON.parse(JSON.stringify(config)))).toEqual(config)
      }),
      { numRuns: 30 },
    )
  })

  test('the input is not changed', () => {
    const input = Object.freeze({ ...least, train: Object.freeze({ learningRate: 0.1 }) })
    expect(parseConfig(input).train.learningRate).toBe(0.1)
    expect(input.train).toEqual({ learningRate: 0.1 })
  })
})

describe('unknown options', () => {
  test.each([
    [{ ...least, sed: 1 }, 'sed', 'did you mean seed?'],
    [{ ...least, learningRate: 0.1 }, 'learningRate', 'did you mean train.learningRate?'],
    [{ ...least, train: { learning_rate: 0.1 } }, 'train.learning_rate', 'did you mean train.learningRate?'],
    [
      { ...least, train: { earlyStopping: { patient: 3 } } },
      'train.earlyStopping.patient',
      'did you mean train.earlyStopping.patience?',
    ],
    [{ ...least, data: { train: 'a', limit: { tran: 3 } } }, 'data.limit.tran', 'did you mean data.limit.train?'],
    [
      { ...least, method: { type: 'prompt-tuning', numVirtualToken: 3 } },
      'method.numVirtualToken',
      'did you mean method.numVirtualTokens?',
    ],
    [
      { ...least, method: { type: 'prompt-tuning', init: { type: 'vocabulary', text: 'x' } } },
      'method.init.text',
      'method.init.text belongs to another method.init.type',
    ],
  ])('%j', (input, path, hint) => {
    expect(refused(input)).toMatchObject({
      code: 'unknown-option',
      message: `tune.yaml: there is no option ${path}`,
      hint,
      exitCode: 2,
    })
  })

  test('the known ones are listed, and it comes before what may follow from it', () => {
    const error = refused({ data: { trian: 'a' }, template: 3, answer: '' })
    expect(error).toMatchObject({ code: 'unknown-option', found: 'trian', hint: 'did you mean data.train?' })
    expect(error.expected).toBe('one of train, dev, test, columns, readers, task, labels, limit, split, splitSeed')
  })

  test('no name is special', () => {
    const input = JSON.parse('{"data":{"train":"a"},"template":"a","answer":"b","train":{"__proto__":{"steps":3}}}')
    expect(refused(input)).toMatchObject({ code: 'unknown-option', found: '__proto__' })
    const labels = JSON.parse('{"0":"a","__proto__":"b"}')
    expect(refused({ data: { train: 'a', labels }, template: 'a', answer: '{b}' })).toMatchObject({
      code: 'invalid-config',
      expected: 'no label that is called __proto__',
    })
    expect(refused({ ...least, train: { toString: 3 } })).toMatchObject({ code: 'unknown-option', found: 'toString' })
  })
})

describe('invalid values', () => {
  test.each([
    [null, 'not a config', 'null', 'a mapping of options'],
    [{ ...least, data: {} }, 'data.train is missing', 'nothing', 'a text'],
    [{ ...least, template: 3 }, 'template is not valid', '3', 'a text, or a list'],
    [{ ...least, template: [] }, 'template is not valid', '[]', 'a list of at least 1'],
    [
      { ...least, template: [{ role: 'usr', content: '' }] },
      'template[0].role is not valid',
      '"usr"',
      'one of system, user, assistant, conversation',
    ],
    [{ ...least, device: 'gpu' }, 'device is not valid', '"gpu"', 'one of auto, cpu, webgpu, cuda[:n], dml[:n], coreml'],
    [
      { ...least, method: { type: 'promt-tuning' } },
      'method.type is not valid',
      '"promt-tuning"',
      `one of ${[...promptMethods.keys()].join(', ')}`,
    ],
    [{ ...least, train: { batchSize: 0 } }, 'train.batchSize is not valid', '0', 'at least 1'],
    [{ ...least, train: { batchSize: 1.5 } }, 'train.batchSize is not valid', '1.5', 'a whole number'],
    [{ ...least, train: { learningRate: 0 } }, 'train.learningRate is not valid', '0', 'more than 0'],
    [{ ...least, train: { learningRate: Number.NaN } }, 'train.learningRate is not valid', 'NaN', 'a number'],
    [{ ...least, train: { learningRate: '0.1' } }, 'train.learningRate is not valid', '"0.1"', 'a number'],
    [{ ...least, train: { labelSmoothing: 1 } }, 'train.labelSmoothing is not valid', '1', 'less than 1'],
    [{ ...least, train: { warmup: 1.5 } }, 'train.warmup is not valid', '1.5', 'a whole number of steps, or a fraction below 1'],
    [{ ...least, train: { bucket: 'yes' } }, 'train.bucket is not valid', '"yes"', 'true or false'],
    [{ ...least, data: { train: 'a', limit: 1.5 } }, 'data.limit is not valid', '1.5', 'a whole number, or a mapping of options'],
    [
      { ...least, data: { train: 'a', columns: ['a', 'a'] } },
      'data.columns is not valid',
      '["a","a"]',
      'a list of names that differ',
    ],
    [{ ...least, data: { train: 'a', labels: { a: 1 } } }, 'data.labels.a is not valid', '1', 'a text, or a list'],
    [{ ...least, data: { train: 'a', labels: { a: [] } } }, 'data.labels.a is not valid', '[]', 'a list of at least 1'],
    [{ ...least, data: { train: 'a', labels: {} } }, 'data.labels is not valid', '{}', 'at least one label'],
    [
      { ...least, data: { train: 'a', split: { dev: 2.5 } } },
      'data.split.dev is not valid',
      '2.5',
      'a whole number of rows, or a fraction below 1',
    ],
  ])('%j', (input, message, found, expected) => {
    expect(refused(input)).toMatchObject({
      code: 'invalid-config',
      message: `tune.yaml: ${message}`,
      found,
      expected,
      exitCode: 2,
    })
  })

  test('the nearest valid word, or what the option is for', () => {
    expect(refused({ ...least, train: { schedule: 'cosin' } }).hint).toBe('did you mean cosine?')
    expect(refused({ ...least, seed: -1 }).hint).toBe('seed: decides every random choice')
    expect(refused({ ...least, data: { train: 'a', labels: { a: 1 } } }).hint).toBe('put it in quotes: "1"')
    // `answer: {label}` without quotes is a mapping.
    expect(refused({ ...least, answer: { label: null } }).hint).toBe('put it in quotes: "{label}"')
  })
})

describe('options that concern each other', () => {
  const withTrain = (train: object, data: object = {}) => ({ ...least, data: { train: 'a', ...data }, train })
  test.each([
    [withTrain({ steps: 1, epochs: 1 }), ['train.steps', 'train.epochs']],
    [withTrain({ earlyStopping: { patience: 3 } }), ['train.earlyStopping', 'data.dev', 'data.split.dev']],
    [withTrain({ evaluateEvery: 3 }), ['train.evaluateEvery', 'data.dev', 'data.split.dev']],
    [withTrain({ keep: 'best' }), ['train.keep', 'data.dev', 'data.split.dev']],
    [withTrain({ steps: 10, warmup: 20 }), ['train.warmup', 'train.steps']],
    [withTrain({ optimizer: 'adafactor', beta2: 0.9 }), ['train.beta2', 'train.optimizer']],
    [withTrain({}, { dev: 'b', split: { dev: 3 } }), ['data.dev', 'data.split.dev']],
    [{ ...least, method: { type: 'prompt-tuning', init: { type: 'labels' } } }, ['method.init.type', 'data.labels']],
    [{ ...least, template: [{ role: 'assistant', content: 'x' }] }, ['template', 'answer']],
  ])('%j', (input, named) => {
    const error = refused(input)
    expect(error.code).toBe('invalid-config')
    for (const name of named) expect(`${error.message} ${error.hint}`).toContain(name)
  })

  test('valid neighbours of these', () => {
    parseConfig(withTrain({ earlyStopping: { patience: 3 }, evaluateEvery: 5 }, { split: { dev: 10 } }))
    parseConfig(withTrain({ steps: 20, warmup: 20 }))
    parseConfig({
      ...least,
      data: { train: 'a', labels: { a: 'b' } },
      method: { type: 'prompt-tuning', init: { type: 'labels' } },
    })
    parseConfig({
      ...least,
      template: [
        { role: 'system', content: 'a' },
        { role: 'user', content: '{text}' },
      ],
    })
  })
})

describe('JSON Schema', () => {
  test('every option has a description', () => {
    const undescribed: string[] = []
    const visit = (schema: unknown, path: string): void => {
      if (typeof schema !== 'object' || schema === null) return
      const { properties = {}, anyOf = [], oneOf = [], items } = schema as Record<string, never> & { properties?: object }
      for (const [name, property] of Object.entries(properties)) {
        if (typeof (property as { description?: string }).description !== 'string') undescribed.push(`${path}.${name}`)
        visit(property, `${path}.${name}`)
      }
      for (const member of [...(anyOf as unknown[]), ...(oneOf as unknown[]), items]) visit(member, path)
    }
    visit(configJsonSchema(), '')
    expect(undescribed).toEqual([])
  })

  test('only data.train, template and answer are needed, and other names are refused', () => {
    expect(configJsonSchema()).toMatchObject({
      required: ['data', 'template', 'answer'],
      additionalProperties: false,
      properties: {
        data: { required: ['train'] },
        train: { properties: { learningRate: { exclusiveMinimum: 0 }, batchSize: { default: 16 } } },
      },
    })
  })

  test('the list of options', () => {
    const options = new Map(listOptions(configJsonSchema()).map(option => [option.path, option]))
    expect(options.get('train.batchSize')).toEqual({ path: 'train.batchSize', description: 'rows of a batch', default: 16 })
    expect([...options.keys()]).toEqual(
      expect.arrayContaining(['data.limit', 'data.limit.dev', 'data.labels', 'method.init.scale', 'template']),
    )
    expect(options.has('train')).toBe(false)
  })
})

test('the bundled model is found from any working directory', () => {
  expect(existsSync(join(packageRoot(), 'package.json'))).toBe(true)
  const elsewhere = process.cwd()
  try {
    process.chdir('/')
    expect(resolveModelPath(bundledModel)).toBe(join(packageRoot(), bundledModel))
    expect(resolveModelPath(`./${bundledModel}/`)).toBe(join(packageRoot(), bundledModel))
    expect(resolveModelPath('other')).toBe('/other')
  } finally {
    process.chdir(elsewhere)
  }
})
