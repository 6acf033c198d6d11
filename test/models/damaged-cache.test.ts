import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { integerWeights } from '../../src/model/integer-weights.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { quantizedWeights } from '../../src/model/weights/quantized-weights.js'
import { hashModel } from '../../src/model/weights/weight-file.js'
import { stampNew, stampSuffix } from '../../src/program/seals.js'
import { verifyCache } from '../../src/program/verify-cache.js'
import { ownCache } from '../support/cache.js'

ownCache()

const model = 'test/fixtures/models/llama-gqa'
const rows = [[5, 9, 2, 7]]

let warnings: string[] = []
const hear = ({ name, message }: Error) => {
  if (name === 'GradpromptWarning') warnings.push(message)
}
process.on('warning', hear)
afterAll(() => {
  process.off('warning', hear)
})
beforeEach(() => {
  warnings = []
})

/** Warnings come in a later turn. */
async function heard(): Promise<string[]> {
  await setImmediate()
  return warnings
}

/** What a new process computes with what lies in the cache. */
async function computed(): Promise<Float32Array> {
  await using opened = await LanguageModel.load(model, { threads: 1 })
  return (await opened.logits(rows))[0]!
}

async function folderOfModel(): Promise<string> {
  await using opened = await LanguageModel.load(model, { threads: 1 })
  return opened.weights.folder
}

function damage(path: string, at: number, length: number, change: (byte: number) => number): void {
  const bytes = readFileSync(path)
  for (let i = at; i < Math.min(bytes.length, at + length); i++) bytes[i] = change(bytes[i]!)
  writeFileSync(path, bytes)
}

const zero = () => 0
const flipped = (byte: number) => byte ^ 0xff

const programsIn = (folder: string) => readdirSync(folder).filter(name => name.endsWith('.onnx'))

describe('what is damaged is made anew, and said', () => {
  test.each([
    ['zeroed', 4096, 2 ** 20, zero],
    ['of a flipped bit', 100, 1, (byte: number) => byte ^ 1],
  ] as const)('weights with bytes %s', async (_, at, length, change) => {
    const right = await computed()
    const path = join(await folderOfModel(), 'weights.bin')
    const whole = readFileSync(path)
    damage(path, at, length, change)
    expect(await computed()).toEqual(right)
    expect(readFileSync(path).equals(whole)).toBe(true)
    expect(await heard()).toEqual([expect.stringMatching(/^models\/\w+\/weights\.bin .* was damaged .*made anew$/)])
  })

  test('weights that were cut, and those whose seal is damaged', async () => {
    const right = await computed()
    const path = join(await folderOfModel(), 'weights.bin')
    writeFileSync(path, readFileSync(path).subarray(0, -1))
    expect(await computed()).toEqual(right)
    damage(path, statSync(path).size - 6, 1, flipped)
    expect(await computed()).toEqual(right)
    expect(await heard()).toEqual([expect.stringContaining('bytes in place of'), expect.stringContaining('seal at its end')])
  })

  test('the place of the damage is told by 4 MiB', async () => {
    const path = join(await folderOfModel(), 'weights.bin')
    damage(path, 10, 3, flipped)
    await computed()
    const { size } = statSync(path)
    expect((await heard())[0]).toMatch(new RegExp(`bytes 0 to ${Math.min(size - 1, 2 ** 22 - 1) - 24} are not`))
  })

  test('compiled programs', async () => {
    const right = await computed()
    const folder = await folderOfModel()
    const names = programsIn(folder)
    expect(names.length).toBeGreaterThan(0)
    for (const name of names) {
      const path = join(folder, name)
      const whole = readFileSync(path)
      damage(path, whole.length >> 1, 40, flipped)
      expect(await computed()).toEqual(right)
      expect(readFileSync(path).equals(whole)).toBe(true)
    }
    expect((await heard()).map(text => basename(text.split(' ')[0]!))).toEqual(names)
  })

  test('what was swapped with another whole file, folder by folder or file by file', async () => {
    const other = 'test/fixtures/models/llama-untied-bias'
    const compute = async (path: string) => {
      await using opened = await LanguageModel.load(path, { threads: 1 })
      return { logits: (await opened.logits(rows))[0]!, folder: opened.weights.folder }
    }
    const right = await compute(model)
    const others = await compute(other)
    const swap = (a: string, b: string) => {
      renameSync(a, `${a}-away`)
      renameSync(b, a)
      renameSync(`${a}-away`, b)
    }
    swap(right.folder, others.folder)
    expect(await compute(model)).toEqual(right)
    expect(await compute(other)).toEqual(others)
    swap(join(right.folder, programsIn(right.folder)[0]!), join(others.folder, programsIn(others.folder)[0]!))
    expect(await compute(model)).toEqual(right)
    expect(await compute(other)).toEqual(others)
    const hashes = join(process.env.GRADPROMPT_CACHE!, 'hashes')
    const names = readdirSync(hashes)
    expect(names.length).toBeGreaterThan(1)
    swap(join(hashes, names[0]!), join(hashes, names[1]!))
    expect(await compute(model)).toEqual(right)
    expect(await compute(other)).toEqual(others)
    expect(await heard()).not.toEqual([])
    // A program that none of these opened is still the other's.
    for (const { folder } of [right, others]) rmSync(folder, { recursive: true })
  })

  test('what a folder stands in the place of', async () => {
    const right = await computed()
    const folder = await folderOfModel()
    const memo = join(process.env.GRADPROMPT_CACHE!, 'hashes')
    // Of other models, which nobody opens here.
    rmSync(memo, { recursive: true })
    expect(await computed()).toEqual(right)
    const paths = [folder, memo].flatMap(place => readdirSync(place).map(name => join(place, name)))
    for (const path of paths.filter(path => !path.endsWith(stampSuffix))) {
      rmSync(path)
      mkdirSync(path)
      writeFileSync(join(path, 'something'), '')
      expect(await computed()).toEqual(right)
      expect(statSync(path).isFile(), path).toBe(true)
    }
    expect((await heard()).length).toBeGreaterThan(2)
  })

  test('two that find the same damage at once both compute what is right', async () => {
    const right = await computed()
    const folder = await folderOfModel()
    damage(join(folder, 'weights.bin'), 0, 5000, zero)
    for (const name of programsIn(folder)) damage(join(folder, name), 50, 10, flipped)
    expect(await Promise.all([computed(), computed()])).toEqual([right, right])
  })

  test('weights in 8 bits, their table, and blocks', async () => {
    await using opened = await LanguageModel.load(model, { threads: 1 })
    const checkpoint = await openCheckpoint(model)
    await checkpoint.file.close()
    const make = async () => {
      await integerWeights(opened, { threads: 1 })
      await quantizedWeights(checkpoint, opened.weights)
    }
    await make()
    const { folder } = opened.weights
    const names = readdirSync(folder).filter(name => /^(integer|quantized)-.*\.(bin|json)$/.test(name))
    expect(names).toHaveLength(3)
    for (const name of names) {
      const path = join(folder, name)
      const whole = readFileSync(path)
      damage(path, 0, whole.length >> 1, zero)
      await make()
      expect(readFileSync(path).equals(whole)).toBe(true)
    }
    expect((await heard()).map(text => basename(text.split(' ')[0]!))).toEqual(names)
  })

  test('the remembered hash of a model', async () => {
    const { files, file } = await openCheckpoint(model)
    await file.close()
    const right = await hashModel(files)
    const folder = join(process.env.GRADPROMPT_CACHE!, 'hashes')
    for (const name of readdirSync(folder)) damage(join(folder, name), 3, 1, byte => (byte === 0x61 ? 0x62 : 0x61))
    expect(await hashModel(files)).toBe(right)
    expect(await heard()).toHaveLength(files.length)
  })
})

test('what was read in full is read again when the file has changed, or where everything is verified', async () => {
  const right = await computed()
  const path = join(await folderOfModel(), 'weights.bin')
  const { files, damaged } = await verifyCache()
  expect(files).toBeGreaterThan(3)
  expect(damaged).toEqual([])
  // As a disk may lose bytes of a file whose times it keeps.
  damage(path, 64, 64, zero)
  stampNew(path)
  expect((await verifyCache()).damaged).toEqual([{ path, reason: expect.stringContaining('are not what was written') }])
  expect(await computed()).toEqual(right)
  expect(await heard()).toHaveLength(1)
  expect((await verifyCache()).damaged).toEqual([])
})

test('a cache that cannot be written serves as it is', async () => {
  const right = await computed()
  const path = join(await folderOfModel(), 'weights.bin')
  const hashes = join(process.env.GRADPROMPT_CACHE!, 'hashes')
  // Whatever the user may do: a folder cannot be written as a file, nor a file as a folder.
  rmSync(path + stampSuffix)
  mkdirSync(path + stampSuffix)
  renameSync(hashes, `${hashes}-away`)
  writeFileSync(hashes, '')
  try {
    expect(await computed()).toEqual(right)
  } finally {
    rmSync(path + stampSuffix, { recursive: true })
    rmSync(hashes)
    renameSync(`${hashes}-away`, hashes)
  }
})
