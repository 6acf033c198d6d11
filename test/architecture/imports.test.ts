import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'

/** The shape of the house: which way imports point, how large a file and a folder are. Nothing is loaded; the sources are read. */

const roots = ['src', 'models', 'kernels']
const files = roots.flatMap(root => sources(root))
const mostLines = 350
const mostFiles = 20
/** What stands below everything else. */
const lowest = ['src/errors.ts', 'src/code-identity.ts', 'src/own-calls.ts', 'src/registry.ts']

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = `${folder}/${entry.name}`
    return entry.isDirectory() ? sources(path) : path.endsWith('.ts') ? [path] : []
  })
}

/** What a file imports: values and types, at the top and on demand, and what it exports again. */
function imported(path: string): string[] {
  const text = readFileSync(path, 'utf8')
  return [...text.matchAll(/(?:\bfrom\s+|\bimport\(\s*|\bimport\s+)'([^']+)'/g)].map(([, name]) => name!)
}

const within = (path: string) =>
  imported(path)
    .filter(name => name.startsWith('.'))
    .map(name => normalize(join(dirname(path), name)).replace(/\.js$/, '.ts'))

/** A file that stands directly in `src` is a folder of its own. */
const folderOf = (path: string) => (dirname(path) === 'src' ? path : dirname(path))

/** Folders that reach each other, each as the way round: `a > b > a`. */
function circles(nodes: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const found: string[] = []
  const done = new Set<string>()
  const visit = (node: string, way: readonly string[]) => {
    if (way.includes(node)) {
      found.push([...way.slice(way.indexOf(node)), node].join(' > '))
      return
    }
    if (done.has(node)) return
    for (const next of nodes.get(node) ?? []) visit(next, [...way, node])
    done.add(node)
  }
  for (const node of nodes.keys()) visit(node, [])
  return found
}

function graph(name: (path: string) => string): Map<string, Set<string>> {
  const edges = new Map<string, Set<string>>()
  for (const path of files)
    for (const target of within(path)) {
      const [from, to] = [name(path), name(target)]
      if (from !== to) edges.set(from, (edges.get(from) ?? new Set()).add(to))
    }
  return edges
}

describe('imports', () => {
  test('every relative import names a file that there is', () => {
    const known = new Set(files)
    expect(files.flatMap(path => within(path).filter(target => !known.has(target)))).toEqual([])
  })

  test('no two folders reach each other, types included', () => {
    expect(circles(graph(folderOf))).toEqual([])
  })

  test('no two rooms of src reach each other, with all that stands in them', () => {
    const room = (path: string) => (path.startsWith('src/') ? path.split('/').slice(0, 2).join('/') : path.split('/')[0]!)
    expect(circles(graph(room))).toEqual([])
  })

  test('a circle is found where there is one', () => {
    const nodes = new Map([
      ['a', new Set(['b', 'c'])],
      ['b', new Set(['c'])],
      ['c', new Set(['a'])],
    ])
    expect(circles(nodes)).toContain('a > b > c > a')
  })

  test('only src/program knows ONNX Runtime; models and kernels know of src only what stands below everything', () => {
    const runtime = files.filter(path => imported(path).some(name => name.startsWith('onnxruntime')))
    expect(runtime.filter(path => !path.startsWith('src/program/'))).toEqual([])
    const below = files.filter(path => !path.startsWith('src/'))
    expect(below.flatMap(path => within(path).filter(name => name.startsWith('src/') && !lowest.includes(name)))).toEqual([])
  })
})

describe('size', () => {
  test(`no file has more than ${mostLines} lines`, () => {
    const long = [...files, ...sources('scripts'), ...sources('test')]
      .map(path => ({ path, lines: readFileSync(path, 'utf8').split('\n').length - 1 }))
      .filter(({ lines }) => lines > mostLines)
    expect(long).toEqual([])
  })

  test(`no folder has more than ${mostFiles} files`, () => {
    const count = new Map<string, number>()
    for (const path of [...files, ...sources('scripts'), ...sources('test')])
      count.set(dirname(path), (count.get(dirname(path)) ?? 0) + 1)
    expect([...count].filter(([, size]) => size > mostFiles)).toEqual([])
  })
})
