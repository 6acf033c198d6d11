import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { evaluate } from '../../src/api/evaluation/evaluate.js'
import { extend } from '../../src/api/extend.js'
import { resumeTune as resume, tune } from '../../src/api/tune.js'
import type { PromptMethod } from '../../src/prompts/method.js'
import { type ConfigInput, loadConfigEntries, type OwnMethod, parseConfig } from '../../src/train/config.js'
import { problem, problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)
let runs = 0
const config = (method: OwnMethod, train: Partial<ConfigInput['train']> = {}) =>
  toyConfig(folder, { method, train: { steps: 4, ...train }, out: join(folder, `run-${runs++}`) })

interface Scaled {
  readonly type: string
  readonly rows: number
}

/** Rows that are scaled by what no option says. */
const scaled = (factor: number, type = 'scaled'): PromptMethod<Scaled> => ({
  type,
  paper: 'none',
  learningRate: 0.05,
  options: z.object({ rows: z.int().min(1).default(2).describe('how many') }) as unknown as z.ZodType<Scaled>,
  placement: ({ rows }) => ({ numVirtualTokens: rows, position: 'before-bos' }),
  parameters: ({ rows }, { hiddenSize }) => [{ name: 'prompt', shape: [rows, hiddenSize] }],
  initialise: async ({ rows }, { embeddingRows }) =>
    new Map([['prompt', await embeddingRows(Array.from({ length: rows }, (_, i) => i + 9))]]),
  inputRows: (_, { prompt }) => prompt!.mul(factor),
})

const asModule = (factor: number) => `
  const rows = given => {
    const { rows = 2, ...rest } = given
    if (Object.keys(rest).length > 0) throw new Error('rows is all there is')
    if (!(rows >= 1)) throw new Error('at least one row')
    return { rows }
  }
  export const method = {
    paper: 'none',
    learningRate: 0.05,
    options: rows,
    placement: ({ rows }) => ({ numVirtualTokens: rows, position: 'before-bos' }),
    parameters: ({ rows }, { hiddenSize }) => [{ name: 'prompt', shape: [rows, hiddenSize] }],
    initialise: async ({ rows }, { embeddingRows }) =>
      new Map([['prompt', await embeddingRows(Array.from({ length: rows }, (_, i) => i + 9))]]),
    inputRows: (_, { prompt }) => prompt.mul(${factor}),
  }`

describe('options', () => {
  test('a zod object: defaults, names that are not known, values that are not valid', async () => {
    await extend({ methods: [scaled(1)] })
    const given = toyConfig(folder)
    const parsed = (method: object) => parseConfig({ ...given, method: { type: 'scaled', ...method } })
    expect(parsed({}).method).toEqual({ type: 'scaled', rows: 2 })
    expect(parsed({}).train.learningRate).toBe(0.1)
    expect(parseConfig(parsed({}))).toEqual(parsed({}))
    expect(problem(() => parsed({ rwos: 3 }))).toMatchObject({
      code: 'unknown-option',
      expected: 'one of type, rows',
      hint: 'did you mean method.rows?',
    })
    expect(problem(() => parsed({ rows: 0 }))).toMatchObject({
      code: 'invalid-config',
      message: 'config: method.rows is not valid',
      expected: 'at least 1',
      hint: 'method.rows: how many',
    })
    expect(problem(() => parseConfig({ ...given, method: { type: 'scald' } })).hint).toBe('did you mean scaled?')
  })

  test('a function: defaults, and what it says is wrong', async () => {
    const path = join(folder, 'checked.mjs')
    writeFileSync(path, asModule(1))
    const given = await loadConfigEntries({ ...toyConfig(folder), method: { type: path as `/${string}`, rows: 3 } })
    expect(parseConfig(given).method).toEqual({ type: path, rows: 3 })
    const wrong = { ...given, method: { type: path, rows: 0 } }
    expect(problem(() => parseConfig(wrong))).toMatchObject({ code: 'invalid-config', expected: 'at least one row' })
  })

  test('what is said of options together stays', async () => {
    const pair = z
      .object({ low: z.number().default(0), high: z.number().default(1) })
      .refine(({ low, high }) => low < high, 'low below high')
    await extend({ methods: [{ ...scaled(1, 'pair'), options: pair } as unknown as PromptMethod] })
    const parsed = (method: object) => parseConfig({ ...toyConfig(folder), method: { type: 'pair', ...method } })
    expect(parsed({ high: 2 }).method).toMatchObject({ low: 0, high: 2 })
    expect(problem(() => parsed({ low: 2 })).expected).toBe('low below high')
  })
})

test('an object learns, and another process has to be given it', async () => {
  const run = await tune(config({ type: scaled(2, 'doubled'), rows: 3 }))
  expect(parse(readFileSync(join(run.folder, 'config.yaml'), 'utf8')).method).toEqual({ type: 'doubled', rows: 3 })
  expect(run.prompt.method).toEqual({ type: 'doubled', rows: 3 })
  const { metrics } = await evaluate({ data: join(folder, 'toy.tsv'), prompt: run.folder })
  expect(metrics.logLikelihood!.value).toBeGreaterThan(-20)
  const path = join(run.folder, 'config.yaml')
  writeFileSync(path, readFileSync(path, 'utf8').replace('doubled', 'forgotten'))
  expect(await problemOf(resume(run.folder))).toMatchObject({
    code: 'invalid-config',
    message: expect.stringContaining('method.type'),
  })
})

test('two methods with equal options share no program, in memory or on disk', async () => {
  const lossOf = async (factor: number) => {
    const losses: number[] = []
    await tune(config({ type: scaled(factor) }, { steps: 1 }), {
      onEvent: event => event.event === 'step' && losses.push(event.loss),
    })
    return losses[0]!
  }
  const [one, ten, again] = [await lossOf(1), await lossOf(10), await lossOf(1)]
  expect(Math.abs(one - ten)).toBeGreaterThan(0.01)
  expect(again).toBe(one)
})

test('a module that moves with its run is found beside it, by the run and by its prompt, and is told where it was looked for', async () => {
  const project = join(folder, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'own.mjs'), asModule(3))
  const given = relative('.', join(project, 'own.mjs'))
  const type = (given.startsWith('.') ? given : `./${given}`) as `./${string}`
  const { folder: run } = await tune({ ...config({ type }, { steps: 1 }), out: join(project, 'run') })
  const moved = join(folder, 'elsewhere')
  renameSync(project, moved)
  const rows = [{ text: 'the wine', label: '0' }]
  const script = `const { evaluate, resume } = await import(${JSON.stringify(pathToFileURL(resolve('dist/src/index.js')).href)})
    const run = ${JSON.stringify(join(moved, 'run'))}
    await evaluate({ data: ${JSON.stringify(rows)}, prompt: run })
    const { result } = await resume(run, { steps: 2 })
    console.log(result.steps)`
  // Another process: this one has the module already.
  const said = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  expect(said.stderr).not.toContain('Error')
  expect(said.stdout.trim()).toBe('2')
  rmSync(join(moved, 'own.mjs'))
  expect(await problemOf(resume(join(moved, 'run'), { steps: 3 }))).toMatchObject({
    code: 'file-not-found',
    found: `nothing at ${resolve(type)}, nor at ${join(moved, 'own.mjs')}, where it stood seen from the run`,
  })
  expect(run).toBe(join(project, 'run'))
})

test('a module that changes gives another program; a run that goes on says so; without it the run cannot', async () => {
  const path = join(folder, 'changing.mjs')
  writeFileSync(path, asModule(1))
  const losses: number[] = []
  const warnings: string[] = []
  const hear = {
    onEvent: (event: { event: string; loss?: number; code?: string }) => {
      if (event.event === 'step') losses.push(event.loss!)
      if (event.event === 'warning') warnings.push(event.code!)
    },
  }
  const given = config({ type: path as `/${string}` }, { steps: 1 })
  const { folder: first } = await tune(given, hear)
  const details = JSON.parse(readFileSync(join(first, 'run.json'), 'utf8')) as { modules: Record<string, string> }
  expect(details.modules[path]).toMatch(/^[0-9a-f]{64}$/)
  writeFileSync(path, asModule(10))
  await tune({ ...given, out: join(folder, 'changed') }, hear)
  expect(Math.abs(losses[0]! - losses[1]!)).toBeGreaterThan(0.01)
  await resume(first, { steps: 2, ...hear })
  expect(warnings).toContain('module-changed')
  rmSync(path)
  expect(await problemOf(resume(first, { steps: 3 }))).toMatchObject({
    code: 'file-not-found',
    expected: `the file of the method that ${first} was made with`,
  })
  const alone = { model: toyModel, data: join(folder, 'toy.tsv'), columns: ['text', 'label'] }
  expect(await problemOf(evaluate({ ...alone, prompt: join(first, 'prompt.safetensors') }))).toMatchObject({
    code: 'file-not-found',
    expected: 'the file of the method that the prompt was made with',
  })
})
