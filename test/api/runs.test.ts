import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { TuneInput } from '../../src/index.js'
import { loadModel, resume, search, tune, writeReport } from '../../src/index.js'
import type { ConfigInput } from '../../src/train/config.js'
import { toySearch } from '../search/toy.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder, toyConfig, toyModel, toyRows } from '../train/toy.js'

let place: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  place = temporaryFolder()
})
afterEach(() => place.remove())

const model = await loadModel(toyModel, { threads: 1 })
afterAll(() => model.dispose())

const rows = toyRows(48).map(line => {
  const [text, label] = line.split('\t') as [string, string]
  return { text, label: Number(label) }
})

/** The toy task without a file: an open model, and rows in memory. */
function inMemory(train: TuneInput['data']['train'], options: Partial<ConfigInput> = {}): TuneInput {
  const { model: _, threads: __, ...config } = toyConfig(place.folder, options)
  const { columns: ___, ...data } = config.data
  return { ...config, model, data: { ...data, train } }
}

const bytes = (folder: string) => readFileSync(join(folder, 'prompt.safetensors'))

describe('rows and a model in memory', () => {
  test('a list, an iterator and a stream give the bits that a file gives', async () => {
    const train = { steps: 6 }
    const file = await tune({ ...toyConfig(place.folder, { threads: 1, train }), out: join(place.folder, 'file') })
    async function* stream() {
      yield* rows
    }
    for (const [name, given] of Object.entries({ list: rows, iterator: new Set(rows), stream: stream() })) {
      const run = await tune({ ...inMemory(given, { train }), out: join(place.folder, name) })
      expect(bytes(run.folder).equals(bytes(file.folder))).toBe(true)
    }
    // The model that was given is still open.
    expect(await model.logits([[1, 2]])).toHaveLength(1)
  })

  test('the folder knows their number and their hash, and resuming needs the same', async () => {
    const controller = new AbortController()
    const onEvent = ({ event, step }: { event: string; step?: number }) => event === 'step' && step === 3 && controller.abort()
    const stopped = await problemOf(tune(inMemory(rows, { train: { steps: 6 } }), { signal: controller.signal, onEvent }))
    expect(stopped).toMatchObject({ code: 'aborted', name: 'AbortError' })
    const folder = join(place.folder, 'run')
    const config = parse(readFileSync(join(folder, 'config.yaml'), 'utf8'))
    expect(config).toMatchObject({ model: toyModel, threads: 1, data: { train: 'rows in memory' } })
    const details = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8'))
    expect(details.data.train).toMatchObject({ path: 'rows in memory', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expect(await problemOf(resume(folder))).toMatchObject({ code: 'rows-needed', hint: expect.stringContaining('data: { train') })
    const others = [...rows].reverse()
    expect(await problemOf(resume(folder, { data: { train: others } }))).toMatchObject({ code: 'data-changed' })
    const { result } = await resume(folder, { model, data: { train: rows } })
    expect(result.steps).toBe(6)
    const whole = await tune({ ...inMemory(rows, { train: { steps: 6 } }), out: join(place.folder, 'whole') })
    expect(bytes(folder).equals(bytes(whole.folder))).toBe(true)
  })

  test('what is no row, and a setting of a model that is open', async () => {
    const broken = tune(inMemory([{ text: 'x', label: '0' }, 3 as never]))
    expect(await problemOf(broken)).toMatchObject({ code: 'invalid-data', message: expect.stringContaining('train, row 2') })
    expect(await problemOf(tune(inMemory([])))).toMatchObject({ code: 'empty-data' })
    expect(await problemOf(tune({ ...inMemory(rows), device: 'cpu' }))).toMatchObject({ code: 'invalid-option' })
  })

  test('a search takes them too, and goes on with them', async () => {
    const { model: _, threads: __, data, ...config } = toySearch(place.folder, { search: { steps: 2, searchWidth: 4, topk: 4 } })
    const { columns: ___, train: ____, ...rest } = data
    const own = Array.from({ length: 40 }, (_, i) => ({ text: `${i % 2 ? 'stone' : 'wine'} ${i}`, label: i % 2 }))
    const run = await search({ ...config, model, data: { ...rest, train: own } })
    expect(run.result.steps).toBe(2)
    expect(await problemOf(resume(run.folder, { steps: 3 }))).toMatchObject({ code: 'rows-needed' })
    expect((await resume(run.folder, { steps: 3, model, data: { train: own } })).result.steps).toBe(3)
  })
})

describe('who listens', () => {
  test('one that rejects stops the run as one that throws does, and the run goes on later', async () => {
    const config = toyConfig(place.folder, { train: { steps: 200 } })
    const steps: number[] = []
    const onEvent = async (event: { event: string; step?: number }) => {
      if (event.event !== 'step') return
      steps.push(event.step!)
      if (event.step === 2) throw new Error('the disk of my own log is full')
    }
    await expect(tune(config, { onEvent })).rejects.toThrow('the disk of my own log is full')
    expect(steps.length).toBeLessThan(10)
    expect(existsSync(join(config.out!, 'result.json'))).toBe(false)
    expect((await resume(config.out!, { steps: steps.length + 2 })).result.steps).toBe(steps.length + 2)
  })

  test('a run ends when those who listen have heard its end', async () => {
    let heard = false
    const onEvent = async ({ event }: { event: string }) => {
      if (event !== 'result') return
      await new Promise(resolve => setTimeout(resolve, 50))
      heard = true
    }
    await tune(toyConfig(place.folder, { train: { steps: 1 } }), { onEvent })
    expect(heard).toBe(true)
  })

  test('a search stops in the same way', async () => {
    const onEvent = async ({ event }: { event: string }) => {
      if (event === 'step') throw new TypeError('no')
    }
    await expect(search(toySearch(place.folder), { onEvent })).rejects.toThrow(TypeError)
  })
})

test('a run has its page, and it can be written anew', async () => {
  const { folder } = await tune(toyConfig(place.folder, { train: { steps: 2 } }))
  const path = join(folder, 'report.html')
  expect(readFileSync(path, 'utf8')).toContain('<!doctype html>')
  expect(await writeReport(folder)).toBe(path)
})

test('options that nothing reads are refused with the one that was meant', async () => {
  const config = toyConfig(place.folder)
  expect(await problemOf(tune(config, { onEvnt: () => {} } as never))).toMatchObject({
    code: 'unknown-option',
    hint: 'did you mean onEvent?',
  })
  expect(await problemOf(resume(place.folder, { step: 3 } as never))).toMatchObject({ code: 'unknown-option' })
  expect(await problemOf(search(toySearch(place.folder), { sinal: 1 } as never))).toMatchObject({ hint: 'did you mean signal?' })
})
