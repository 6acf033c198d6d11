import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { tf } from '../../kernels/tf.js'
import { families } from '../../models/index.js'
import { codeOf, declareCode } from '../../src/code-identity.js'
import { losses } from '../../src/losses/index.js'
import { type Loss, lossTerm } from '../../src/losses/loss.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { OpenPrograms } from '../../src/program/open-programs.js'
import { Program } from '../../src/program/program.js'
import type { PromptMethod } from '../../src/prompts/method.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { promptTuning, promptTuningSchema } from '../../src/prompts/methods/prompt-tuning.js'
import { executionsOf } from '../prompts/support/watch.js'
import { ownCache } from '../support/cache.js'
import { random } from '../support/numbers.js'

ownCache()
const folder = mkdtempSync(join(tmpdir(), 'gradprompt-keys-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const rows = [{ ids: [78, 80, 31, 14], labels: [-100, -100, -100, 14] }]

/** Methods of one kind whose functions have one text: what they read stands around them. */
const scaled = (factor: number): PromptMethod =>
  ({
    ...promptTuning,
    inputRows: (_: unknown, { prompt }: { prompt: tf.Tensor }) => tf.mul(prompt, factor),
  }) as unknown as PromptMethod

const promptOf = (method: PromptMethod, options: object = {}) => ({
  method,
  config: promptTuningSchema.parse({ type: 'prompt-tuning', numVirtualTokens: 3, ...options }),
  parameters: new Map([['prompt', random(5, [3, 32], 0.5).data]]),
})

async function withToyModel<Result>(use: (model: LanguageModel) => Promise<Result>): Promise<Result> {
  const model = await LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 })
  try {
    return await use(model)
  } finally {
    await model.dispose()
  }
}

const lossesOf = (methods: readonly PromptMethod[]) =>
  withToyModel(async model => {
    const found: number[] = []
    for (const method of methods) found.push((await model.promptGradient(promptOf(method), rows)).loss)
    return found
  })

describe('methods with equal options and other tensor code', () => {
  test('come to other numbers in one process and from the cache, in either order', async () => {
    const [plain, double] = [scaled(1), scaled(2)]
    const [a, b] = await lossesOf([plain, double])
    expect(a).not.toBeCloseTo(b!, 3)
    expect(await lossesOf([double, plain])).toEqual([b, a])
    expect(await lossesOf([scaled(2), scaled(1), promptTuning as unknown as PromptMethod])).toEqual([b, a, a])
  })

  test('nor do losses with equal options share a program', async () => {
    const scaledLoss = (factor: number): Loss => ({
      type: 'scaled',
      paper: '',
      compute: (_, { logits, targets }) => ({
        loss: tf.mul(tf.sum(tf.mul(tf.gather(tf.max(logits, -1), targets.row as tf.Tensor1D), targets.weight)), factor),
      }),
    })
    await withToyModel(async model => {
      const prompt = promptOf(promptTuning as unknown as PromptMethod)
      const of = async (loss: Loss) =>
        (await model.promptGradient(prompt, rows, { losses: [lossTerm(loss, { type: 'scaled' })] })).loss
      const [once, twice] = [await of(scaledLoss(1)), await of(scaledLoss(2))]
      expect(twice).toBeCloseTo(2 * once, 5)
    })
  })

  test('one open program serves whoever has the same functions and options', async () => {
    const method = scaled(1)
    await withToyModel(async model => {
      const runs = await executionsOf(async () => {
        await model.promptGradient(promptOf(method), rows)
        await model.promptGradient(promptOf(method, { init: { type: 'random' } }), rows)
        await model.promptGradient(promptOf(method, { position: 'after-bos' }), rows)
      })
      expect(runs[1]!.spec).toBe(runs[0]!.spec)
      expect(runs[2]!.spec).not.toBe(runs[0]!.spec)
    })
  })
})

test('hooks do not see what a prompt starts from', async () => {
  const seen: object[] = []
  const curious = {
    ...promptTuning,
    inputRows: (config: object, { prompt }: { prompt: tf.Tensor }) => {
      seen.push(config)
      return prompt
    },
  } as unknown as PromptMethod
  await lossesOf([curious])
  expect(seen[0]).toMatchObject({ numVirtualTokens: 3 })
  for (const config of seen) expect(config).not.toHaveProperty('init')
})

let written = 0

/** A file that is older than the process, and newer than those that were written before. */
function write(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  const past = new Date(performance.timeOrigin - 1e6 + 1000 * written++)
  utimesSync(path, past, past)
  return pathToFileURL(path).href
}

describe('code', () => {
  test('changes with the module that declares it and with what this imports, and with no other file', () => {
    const url = write('method.mjs', "import { half } from './part.mjs'\nexport const method = { half }\n")
    write('part.mjs', "import type { T } from './types.mjs'\nexport const half = x => x / 2\n")
    const method = declareCode(url, { half: (x: number) => x / 2 })
    const here = () => codeOf(url, [method])
    const first = here()
    expect(first).toMatch(/^[0-9a-f]{32}$/)
    write('other.mjs', 'export const other = 1\n')
    write('types.mjs', 'export {}\n')
    expect(here()).toBe(first)
    write('part.mjs', 'export const half = x => x * 0.5\n')
    const second = here()
    expect(second).not.toBe(first)
    write('method.mjs', "import { half } from './part.mjs'\nexport const method = { half, other: 1 }\n")
    expect(here()).not.toBe(second)
    expect(here()).toBeDefined()
  })

  test.each([
    ['a.cjs', "const { half } = require('./PART.cjs')", 'cjs'],
    ['b.cjs', "const { half } = require('./PART')", 'js'],
    ['d.mjs', "const require = createRequire(import.meta.url)\nconst { half } = require( './PART.cjs')", 'cjs'],
    ['e.mjs', 'import{half}from"./PART.mjs"', 'mjs'],
    ['f.mjs', 'import*as a from"./PART.mjs"', 'mjs'],
    ['g.mjs', 'const { half } = await import(`./PART.mjs`)', 'mjs'],
    ['h.mjs', "import type from './PART.mjs'", 'mjs'],
    ['i.mjs', "import { half } from './PART.mjs?again'", 'mjs'],
    ['j.mjs', "import { half } from 'FOLDER/PART.mjs'", 'mjs'],
    ['k.mjs', "import { half } from 'file://FOLDER/PART.mjs'", 'mjs'],
  ])('of %s changes with what it has by %s', (name, text, ending) => {
    const part = `part-of-${name[0]}`
    const at = name.startsWith('k') ? pathToFileURL(folder).pathname : folder
    const url = write(name, `${text.replace('PART', part).replace('FOLDER', at)}\n`)
    const method = declareCode(url, {})
    write(`${part}.${ending}`, '1\n')
    const first = codeOf(url, [method])
    expect(first).toBeDefined()
    write(`${part}.${ending}`, '2\n')
    expect(codeOf(url, [method])).not.toBe(first)
  })

  test('is not known of what imports a linked package, or a name that its own package gives', () => {
    const known = (name: string) => codeOf(write('asks.mjs', `import '${name}'\n`), [])
    for (const place of ['node_modules/installed', 'workspace']) {
      mkdirSync(join(folder, place), { recursive: true })
      writeFileSync(join(folder, place, 'package.json'), '{"version":"1.0.0"}')
    }
    symlinkSync(join(folder, 'workspace'), join(folder, 'node_modules/linked'), 'junction')
    expect(known('installed')).toBeDefined()
    expect(known('linked')).toBeUndefined()
    expect(known('linked/part.js')).toBeUndefined()
    expect(known('#part')).toBeUndefined()
  })

  test('is not known of a copy, of what wraps an undeclared object, nor of a module that was edited after it was loaded', () => {
    const url = write('declared.mjs', 'export const x = 1\n')
    const declared = declareCode(url, { x: 1 })
    expect(codeOf(url, [declared])).toBeDefined()
    expect(codeOf(url, [{ ...declared }])).toBeUndefined()
    expect(codeOf(url, [declareCode(url, { y: 1 }, [{ ...declared }])])).toBeUndefined()
    expect(codeOf(url, [declareCode(url, { y: 1 }, [declared])])).toBeDefined()
    const later = new Date(Date.now() + 60_000)
    utimesSync(join(folder, 'declared.mjs'), later, later)
    expect(codeOf(url, [declared])).toBeUndefined()
    expect(codeOf('data:text/javascript,export{}')).toBeUndefined()
  })

  test('is known of everything that is built in', () => {
    const all = [...promptMethods.values(), ...losses.values(), ...families.values()]
    expect(all.length).toBeGreaterThan(15)
    const { href } = new URL('../../src/code-identity.ts', import.meta.url)
    for (const entry of all) expect(codeOf(href, [entry]), JSON.stringify(entry)).toBeDefined()
    // An edit of one method is none of another's.
    const each = new Set([...promptMethods.values()].map(entry => codeOf(href, [entry])))
    expect(each.size).toBe([...promptMethods.values()].length)
  })
})

test('a program whose code is known is found without tracing; an edit of its module makes another', async () => {
  const url = write('double.mjs', 'export const double = x => x + x\n')
  const part = declareCode(url, {})
  let traced = 0
  const open = async (parts: readonly object[]) => {
    const programs = new OpenPrograms({ threads: 1 }, 'the test')
    const program = await programs.open({
      name: 'double',
      origin: { module: url, parts, options: {} },
      spec: () => ({
        inputs: { x: { shape: ['R'], dtype: 'float32' } },
        dims: { R: [1, 8] },
        fn: ({ x }) => {
          traced++
          return { y: tf.add(x!, x!) }
        },
      }),
    })
    expect((await program.run({ x: Float32Array.of(1, 2) })).y).toEqual(Float32Array.of(2, 4))
    await programs.dispose()
    return program
  }
  const first = await open([part])
  const often = traced
  expect(often).toBeGreaterThan(0)
  const again = await open([part])
  expect([again.path, again.cached, traced]).toEqual([first.path, true, often])
  write('double.mjs', 'export const double = x => 2 * x\n')
  expect((await open([part])).path).not.toBe(first.path)
  expect(traced).toBe(2 * often)
  // Whose code is not known is traced, and found by its graph.
  const unknown = await open([{}])
  expect(traced).toBe(3 * often)
  expect((await open([{}])).path).toBe(unknown.path)
  expect(traced).toBe(4 * often)
  expect(unknown).toBeInstanceOf(Program)
})
