import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { toyModel } from '../train/toy.js'
import { packedProject } from './project.js'

/**
 * The examples of docs/extending.md, run as they stand there: its files are laid into a project of its own that has the package installed, and its
 * commands are run in it, section by section. A tiny model stands where the examples name a real one.
 */

const run = promisify(execFile)
const text = readFileSync('docs/extending.md', 'utf8')
let folder: string
let program: string

interface Section {
  readonly files: readonly { readonly name: string; readonly text: string }[]
  readonly commands: readonly string[]
}

const sections = new Map<string, Section>(
  text.split(/^## /m).map(part => {
    const blocks = [...part.matchAll(/^```(\w+)(?: file=(\S+))?\n([\s\S]*?)^```$/gm)]
    return [
      part.split('\n', 1)[0]!,
      {
        files: blocks.flatMap(([, , name, code]) => (name === undefined ? [] : [{ name, text: code! }])),
        commands: blocks.flatMap(([, language, , code]) => (language === 'sh' ? code!.trim().split('\n') : [])),
      },
    ]
  }),
)

beforeAll(async () => {
  const project = await packedProject()
  folder = project.folder
  program = join(project.installed, 'dist', 'src', 'cli', 'main.js')
  cpSync(toyModel, join(folder, 'models', 'smollm2-135m-instruct'), { recursive: true })
  cpSync(toyModel, join(folder, 'models', 'scaled'), { recursive: true })
  const config = join(folder, 'models', 'scaled', 'config.json')
  const scaled = { ...JSON.parse(readFileSync(config, 'utf8')), model_type: 'scaled-llama', embedding_multiplier: 2 }
  writeFileSync(config, JSON.stringify(scaled))
  const reviews = Array.from({ length: 48 }, (_, i) => `${i % 2 ? 'delight' : 'bore'} ${i >> 1}\t${i % 2}`)
  writeFileSync(join(folder, 'reviews.tsv'), `text\tlabel\n${reviews.join('\n')}\n`)
  const stanzas = reviews.map(row => row.split('\t')).map(([text, label]) => `text: ${text}\nlabel: ${label}`)
  writeFileSync(join(folder, 'reviews.stanzas'), stanzas.join('\n\n'))
  writeFileSync(join(folder, 'sums.tsv'), 'a\tb\n1\t2\n3\t4\n')
  for (const { files } of sections.values()) for (const file of files) writeFileSync(join(folder, file.name), file.text)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs the commands of a section. @returns the last event of each */
async function follow(name: string): Promise<Record<string, unknown>[]> {
  const results: Record<string, unknown>[] = []
  for (const line of sections.get(name)!.commands) {
    const [, , ...args] = line.split(' ')
    const { stdout } = await run(process.execPath, [program, ...args, '--json'], { cwd: folder })
    results.push(JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>)
  }
  return results
}

const read = (path: string) => readFileSync(join(folder, path), 'utf8')
const configOf = (run: string) => parse(read(`runs/${run}/config.yaml`)) as Record<string, Record<string, unknown>>

interface Scored {
  readonly metrics: { readonly logLikelihood: { readonly value: number } }
  readonly control: { readonly metrics: Scored['metrics'] }
}

/** How much likelier answers are with the prompt than without, in nats. */
function gainOf(result: unknown): number {
  const { metrics, control } = result as Scored
  return metrics.logLikelihood.value - control.metrics.logLikelihood.value
}

test('every module is at most forty lines', () => {
  const modules = [...sections.values()].flatMap(({ files }) => files.filter(({ name }) => name.endsWith('.js')))
  expect(modules.map(({ name }) => name)).toHaveLength(10)
  for (const module of modules) expect([module.name, module.text.split('\n').length <= 41]).toEqual([module.name, true])
})

describe.sequential('in a project of its own', () => {
  test('a method learns, with its options in the run, is scored, and is exported', async () => {
    const [tuned, scored, exported] = await follow('A soft-prompt method')
    expect(configOf('method').method).toEqual({ type: './my-method.js', numVirtualTokens: 3, words: ' the of a' })
    expect(gainOf(tuned)).toBeGreaterThan(1)
    expect(gainOf(scored)).toBeGreaterThan(1)
    expect(exported!.files).toContain('adapter_model.safetensors')
  })

  test('a search finds a better prompt', async () => {
    const [found] = await follow('A search')
    expect(configOf('search').search).toMatchObject({ type: './my-search.js', candidates: 6, steps: 6, prompt: ' a a a' })
    const { objective, initial } = found as unknown as { objective: number; initial: { objective: number } }
    expect(objective).toBeLessThan(initial.objective)
  })

  test('a loss is minimised', async () => {
    const [tuned] = await follow('A loss')
    expect(configOf('loss').train!.loss).toEqual({ type: './my-loss.js', gamma: 1 })
    expect(gainOf(tuned)).toBeGreaterThan(1)
  })

  test('a family is found by the model type of a checkpoint', async () => {
    const [inspected, tuned] = await follow('A model family')
    expect(inspected).toMatchObject({ family: './my-family.js', config: { embeddingMultiplier: 2 } })
    expect(configOf('family').families).toEqual(['./my-family.js'])
    expect(gainOf(tuned)).toBeGreaterThan(1)
  })

  test('an exporter writes a file that says what is in it', async () => {
    const [exported] = await follow('An exporter')
    expect(exported!.files).toEqual(['rows.npy', 'self-test.json'])
    const bytes = readFileSync(join(folder, 'runs/method/numpy/rows.npy'))
    const length = bytes.readUInt16LE(8)
    expect((10 + length) % 64).toBe(0)
    expect(bytes.subarray(10, 10 + length).toString()).toContain("'shape': (3, 32)")
    expect(bytes.length).toBe(10 + length + 4 * 3 * 32)
  })

  test('a reader makes rows of a format of its own', async () => {
    const [tuned] = await follow('A data reader')
    expect(configOf('reader').data!.readers).toEqual(['./my-reader.js'])
    expect(gainOf(tuned)).toBeGreaterThan(1)
  })

  test('a scorer scores generated answers, with figures of its own', async () => {
    const [scored] = await follow('A scorer')
    expect(scored!.rows).toBe(4)
    const rows = read('scored.jsonl').trim().split('\n')
    const { score, scores, text } = JSON.parse(rows[0]!) as { score: number; scores: { letters: number }; text: string }
    expect([score, scores.letters]).toEqual([1 / (1 + text.length), text.length])
  })

  test('a task reads its rows, asks, and scores', async () => {
    const [scored] = await follow('A task')
    expect(scored).toMatchObject({ rows: 2, generated: { task: './my-task.js' } })
    expect(read('sums.jsonl')).toContain('What is 1 + 2?\\nAnswer:')
  })

  test('a strategy answers with several calls, with figures of its own', async () => {
    const [scored] = await follow('A strategy')
    expect(scored!.condition).toBe('base model by ./my-strategy.js')
    const rows = read('agreed.jsonl')
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as { scores: Record<string, number> })
    for (const { scores } of rows) {
      expect(scores.calls).toBeGreaterThanOrEqual(2)
      expect(scores.calls).toBeLessThanOrEqual(3)
      expect([0, 1]).toContain(scores.agreed)
    }
  })

  test('a folder as npm init makes it: what has to be said for its modules', async () => {
    const text = readFileSync(join(folder, 'my-method.js'), 'utf8')
    mkdirSync(join(folder, 'of commonjs'))
    writeFileSync(join(folder, 'of commonjs', 'package.json'), '{"type":"commonjs"}')
    const given = (name: string) => {
      writeFileSync(join(folder, 'of commonjs', name), text)
      const args = ['tune', '--config', 'task.yaml', '--method', `./of commonjs/${name}`, '--dry-run', '--json']
      return run(process.execPath, [program, ...args], { cwd: folder })
    }
    await given('my-method.mjs')
    const failed = (await given('my-method.js').catch((error: unknown) => error)) as { readonly stdout: string }
    expect(JSON.parse(failed.stdout.trim().split('\n').at(-1)!)).toMatchObject({
      code: 'invalid-method',
      hint: 'Node takes it for CommonJS: end its name in .mjs, or write "type": "module" into the package.json of its folder',
    })
  })

  test('objects, from the library', async () => {
    const { stdout } = await run(process.execPath, ['use.js'], { cwd: folder })
    const result = JSON.parse(stdout) as { type: string; files: string[] }
    expect(result).toMatchObject({ type: 'lengths-apart', files: ['rows.npy', 'self-test.json'] })
    expect(gainOf(result)).toBeGreaterThan(1)
  })
})
