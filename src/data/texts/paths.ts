import { isRecord } from '../../json.js'
import { printValue, valueOfText } from '../readers/json-text.js'
import type { Table } from '../readers/reader.js'
import { changedRecord, type DataRecord, originOf } from '../readers/records.js'
import { answerOf } from './conversation.js'

/**
 * Names that reach into a column of lists or objects: `input.body`, `answers.text[0]`, `turns[-1].content`. A column whose name is the
 * whole path goes before. It does not know what the values are for.
 */

interface Path {
  readonly head: string
  /** Keys, or places in a list; negative ones count from its end. */
  readonly steps: readonly (string | number)[]
}

/** The path that a name may be, as the text of the column at its head and the steps from there; nothing when it is a plain name. */
export function pathOf(name: string): Path | undefined {
  const [head = ''] = /^[^.[]+/.exec(name) ?? []
  const rest = name.slice(head.length)
  if (head === '' || !/^(?:\.[^.[\]]+|\[-?\d{1,9}\])+$/.test(rest)) return undefined
  const steps = [...rest.matchAll(/\.([^.[\]]+)|\[(-?\d+)\]/g)].map(([, key, place]) => key ?? Number(place))
  return { head, steps }
}

/** Paths that reach texts and numbers within a value, for messages: at most `most`, the shallowest first. */
export function pathsWithin(value: unknown, prefix: string, most = 4): string[] {
  const found: string[] = []
  let level: [string, unknown][] = [[prefix, value]]
  for (let depth = 0; depth < 4 && found.length < most; depth++) {
    const below = level.flatMap(([path, inner]): [string, unknown][] => {
      if (Array.isArray(inner)) return inner.length > 0 ? [[`${path}[0]`, inner[0]]] : []
      return isRecord(inner) ? Object.entries(inner).map(([key, field]) => [`${path}.${key}`, field]) : []
    })
    found.push(...below.filter(([, inner]) => typeof inner !== 'object').map(([path]) => path))
    level = below.filter(([, inner]) => typeof inner === 'object' && inner !== null)
  }
  return found.filter(path => pathOf(path) !== undefined).slice(0, most)
}

function walk(value: unknown, steps: Path['steps']): unknown {
  let inner = value
  for (const step of steps) {
    if (typeof step === 'number') inner = Array.isArray(inner) ? inner.at(step) : undefined
    else if (isRecord(inner)) inner = Object.hasOwn(inner, step) ? inner[step] : undefined
    else inner = step === 'answer' ? answerOf(inner) : undefined
    if (inner === undefined || inner === null) return undefined
  }
  return inner
}

/** The text that a path reaches within the value of the column at its head. */
export function textAt(value: unknown, name: string): string | undefined {
  const found = walk(value, pathOf(name)?.steps ?? [])
  return typeof found === 'string' ? found : undefined
}

/** A table in which every needed path that leads somewhere is a column of its own. */
export function withPaths(
  { records, columns, structured = [] }: Pick<Table, 'records' | 'columns' | 'structured'>,
  needed: readonly string[],
): { records: DataRecord[]; columns: string[] } {
  const paths = needed
    .filter(name => !columns.includes(name))
    .flatMap(name => {
      const path = pathOf(name)
      return path !== undefined && structured.includes(path.head) ? [{ name, ...path }] : []
    })
  if (paths.length === 0) return { records: [...records], columns: [...columns] }
  const reached = new Set<string>()
  const heads = new Set(paths.map(({ head }) => head))
  const filled = records.map((record, i) => {
    const origin = originOf(record, i)
    const values = new Map<string, unknown>()
    for (const head of heads) if (Object.hasOwn(record, head)) values.set(head, valueOfText(record[head]!))
    const entries = paths.flatMap(({ name, head, steps }): [string, string][] => {
      const value = walk(values.get(head), steps)
      return value === undefined ? [] : [[name, printValue(value, `${origin}: the value of "${name}"`)]]
    })
    for (const [name] of entries) reached.add(name)
    return changedRecord(record, i, Object.fromEntries(entries))
  })
  return { records: filled, columns: [...columns, ...reached] }
}
