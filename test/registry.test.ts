import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { Registry, sourceOf } from '../src/registry.js'
import { problem, problemOf } from './support/problem.js'

interface Shape {
  readonly name: string
  readonly sides: number
  area(size: number): number
  label?(): string
}

const folder = mkdtempSync(join(tmpdir(), 'gradprompt-registry-'))
afterAll(() => rmSync(folder, { recursive: true }))

const shapes = () =>
  new Registry<Shape>(
    {
      word: 'shape',
      exports: ['shape'],
      name: 'name',
      requires: { sides: 'a number', area: 'a function' },
      may: { label: 'a function' },
      complete: given => (typeof given === 'function' ? { name: given.name, sides: 0, area: given } : given),
    },
    [['square', { name: 'square', sides: 4, area: size => size * size }]],
  )

let files = 0
function file(text: string, name = `shape-${files++}.mjs`): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const triangle = { name: 'triangle', sides: 3, area: (size: number) => (size * size) / 2 }

describe('names', () => {
  test('a built-in entry, and the error that lists all and names the nearest', () => {
    const registry = shapes()
    registry.add(triangle)
    expect(registry.get('square').area(3)).toBe(9)
    expect(problem(() => registry.get('triangel'))).toMatchObject({
      code: 'unknown-shape',
      found: 'triangel',
      expected: 'one of square, triangle, or the path of a JavaScript file',
      hint: 'did you mean triangle?',
    })
    expect(problem(() => registry.get('sphere-like')).hint).toBe('a path begins with ./ or ends in .js, .mjs or .ts')
  })

  test('a built-in name cannot be taken; of two objects of one name the last counts', () => {
    const registry = shapes()
    expect(problem(() => registry.add({ ...triangle, name: 'square' })).code).toBe('name-taken')
    registry.add(triangle)
    const { version } = registry
    expect(registry.add(triangle)).toBe('triangle')
    expect(registry.version).toBe(version)
    registry.add({ ...triangle, area: () => 7 })
    expect([registry.get('triangle').area(1), registry.keys()]).toEqual([7, ['square', 'triangle']])
  })

  test('the last of own entries comes first among them', () => {
    const registry = shapes()
    registry.add(triangle)
    registry.add({ ...triangle, name: 'other' })
    registry.add({ ...triangle })
    expect(registry.own.map(([name]) => name)).toEqual(['triangle', 'other'])
  })
})

describe('modules', () => {
  test.each([
    ['export default { sides: 3, area: size => size * 3 }'],
    ['export const shape = { name: "ignored", sides: 3, area: size => size * 3 }'],
    ['export default new (class { sides = 3; area(size) { return size * this.sides } })()'],
  ])('%s', async text => {
    const [registry, path] = [shapes(), file(text)]
    expect(await registry.load(path)).toBe(path)
    expect(registry.get(path)).toMatchObject({ name: path, sides: 3 })
    expect(registry.get(path).area(2)).toBe(6)
    expect(sourceOf(registry.get(path))).toMatch(/^[0-9a-f]{64}$/)
  })

  test.each([
    ['module.exports = { sides: 3, area: size => size * 3 }'],
    ['exports.shape = { sides: 3, area: size => size * 3 }'],
    ['exports.__esModule = true\nexports.default = { sides: 3, area: size => size * 3 }'],
    ['exports.__esModule = true\nexports.shape = { sides: 3, area: size => size * 3 }'],
  ])('CommonJS: %s, and what it has changed to', async text => {
    const [registry, path] = [shapes(), file(text, `shape-${files++}.cjs`)]
    await registry.load(path)
    expect(registry.get(path).area(2)).toBe(6)
    writeFileSync(path, text.replace('size * 3', 'size * 4'))
    await registry.load(path)
    expect(registry.get(path).area(2)).toBe(8)
  })

  test('what is private in an object stays within its reach', async () => {
    const text = `class Shape {
      #sides = 3
      get sides() { return this.#sides }
      area(size) { return size * this.#sides++ }
    }
    export default new Shape()`
    const [registry, path] = [shapes(), file(text)]
    await registry.load(path)
    expect([registry.get(path).sides, registry.get(path).area(2), registry.get(path).area(2)]).toEqual([3, 6, 8])
  })

  test('a function stands for an entry where the kind says so; a URL is a path', async () => {
    const [registry, path] = [shapes(), file('export default size => size')]
    const url = pathToFileURL(path).href
    expect(registry.get(await registry.load(url)).area(5)).toBe(5)
  })

  test('a file that has changed is loaded anew, and one that has not is kept', async () => {
    const [registry, path] = [shapes(), file('export default { sides: 3, area: () => 1 }')]
    await registry.load(path)
    const first = registry.get(path)
    await registry.load(path)
    expect(registry.get(path)).toBe(first)
    writeFileSync(path, 'export default { sides: 3, area: () => 2 }')
    await registry.load(path)
    expect(registry.get(path).area(1)).toBe(2)
    expect(sourceOf(registry.get(path))).not.toBe(sourceOf(first))
  })

  test('a name that is no path is left to whoever asks for it', async () => {
    expect(await shapes().load('square')).toBe('square')
    expect(await shapes().load('circle')).toBe('circle')
  })

  test.each([
    ['export const other = 1', { message: 'does not export a shape', found: 'the exports other' }],
    ['', { message: 'does not export a shape', found: 'the exports (none)' }],
    ['export default 3', { message: 'is no shape', found: 'the number 3' }],
    ['export default { sides: 3 }', { message: 'has no area', found: 'the members sides, name', expected: 'area: a function' }],
    ['export default { sides: 3, aera: () => 1 }', { message: 'has no area', hint: 'did you mean area by aera?' }],
    ['export default { sides: "3", area: () => 1 }', { message: 'sides is not usable', expected: 'a number' }],
    ['export default Promise.resolve({})', { message: 'is no shape', found: 'a promise' }],
    ['export default { sides: 3, area: () => 1, label: 5 }', { message: 'label is not usable', found: 'the number 5' }],
    ['export default new Proxy({}, { get() { throw undefined }, ownKeys() { throw 1 } })', { message: 'cannot be looked at' }],
    ['export default { get sides() { throw Symbol("x") } }', { message: 'cannot be looked at', found: 'Symbol(x)' }],
    ['throw Symbol("evil")', { message: 'cannot be loaded', found: 'Symbol(evil)' }],
    ['throw { get code() { throw 3 }, toString() { throw 1 } }', { message: 'cannot be loaded', found: 'a thrown object' }],
    [
      'const e = new Error(""); Object.defineProperty(e, "message", { get() { throw 2 } }); throw e',
      { message: 'cannot be loaded', found: 'a thrown object' },
    ],
    ['throw new Error("no such luck")', { message: 'cannot be loaded', found: 'no such luck' }],
    ['import "./absent.mjs"', { message: 'cannot be loaded', found: expect.stringContaining('absent.mjs') }],
  ])('%s is refused', async (text, { message, ...details }) => {
    const path = file(text)
    const error = await problemOf(shapes().load(path))
    expect(error).toMatchObject({ code: 'invalid-shape', exitCode: 2, ...details })
    expect(error.message).toContain(path)
    expect(error.message).toContain(message)
  })

  test('a file that is missing: what was looked for, and who needs it', async () => {
    expect(await problemOf(shapes().load('./absent.js'))).toMatchObject({
      code: 'file-not-found',
      message: 'there is no shape at ./absent.js',
      hint: 'paths are relative to the working directory',
    })
    expect(await problemOf(shapes().load('./absent.js', { name: 'runs/a' }))).toMatchObject({
      expected: 'the file of the shape that runs/a was made with',
      hint: 'bring it to ./absent.js, relative to the working directory, or work where runs/a was made',
    })
    expect((await problemOf(shapes().load('file://elsewhere/absent.js'))).code).toBe('file-not-found')
    mkdirSync(join(folder, 'folder.js'))
    expect((await problemOf(shapes().load(join(folder, 'folder.js')))).code).toBe('file-not-found')
  })
})

test('an object without a name', () => {
  expect(problem(() => shapes().add({ sides: 3, area: () => 1 }))).toMatchObject({
    code: 'invalid-shape',
    expected: 'name: a text',
  })
  expect(problem(() => shapes().add(() => 1)).message).toBe('a shape of your own has no name')
})
