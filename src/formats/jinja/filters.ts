/** Jinja's filters, of which chat templates use these. One that is not here is named when a template asks for it. */
import { round, toFloat, toInt } from './numbers.js'
import { applyTest, type Engine, type Filter } from './tests.js'
import { capitalize, joinText, padded, percentFormat, replaceText, strip, titleWords, wholeOf } from './text.js'
import {
  compare,
  equal,
  Float,
  isTrue,
  itemsOf,
  jsonOf,
  LacksError,
  numberOf,
  TemplateError,
  Tuple,
  textOf,
  typeName,
  type Value,
} from './values.js'

type Named = ReadonlyMap<string, Value>

export function applyFilter(engine: Engine, name: string, value: Value, args: readonly Value[], named: Named): Value {
  const filter = filters.get(name)
  if (filter === undefined) throw new LacksError(`the filter "${name}"`)
  return filter(engine, value, args, named)
}

export function isFilter(name: string): boolean {
  return filters.has(name)
}

const text = (engine: Engine, value: Value) => textOf(value, engine.budget)
const items = (engine: Engine, value: Value) => itemsOf(value, engine.budget)
const made = (engine: Engine, result: string): string => {
  engine.budget.text(result.length)
  return result
}

function length(engine: Engine, value: Value): number {
  if (typeof value === 'string') return [...value].length
  if (value instanceof Map) return value.size
  if (Array.isArray(value) || value === undefined) return items(engine, value).length
  throw new TemplateError(`a value of type ${typeName(value)} has no length`)
}

/** Keys by which `sort`, `min`, `groupby` and the like compare: an attribute, and texts without regard to case. */
function keyOf(engine: Engine, attribute: Value, caseSensitive: Value): (item: Value) => Value {
  return item => {
    const key = attribute === undefined || attribute === null ? item : engine.attribute(item, attribute)
    return typeof key === 'string' && !isTrue(caseSensitive) ? key.toLowerCase() : key
  }
}

function sorted(engine: Engine, values: readonly Value[], key: (item: Value) => Value, reverse = false): Value[] {
  const keyed = values.map(item => ({ item, key: key(item) }))
  keyed.sort((a, b) => (reverse ? compare(b.key, a.key, engine.budget) : compare(a.key, b.key, engine.budget)))
  return keyed.map(({ item }) => item)
}

const extreme =
  (sign: number): Filter =>
  (engine, value, args, named) => {
    const key = keyOf(engine, named.get('attribute') ?? args[1], named.get('case_sensitive') ?? args[0])
    let best: { item: Value; key: Value } | undefined
    for (const item of items(engine, value)) {
      const own = { item, key: key(item) }
      if (best === undefined || sign * compare(own.key, best.key, engine.budget) > 0) best = own
    }
    return best?.item
  }

const chosen =
  (byAttribute: boolean, keep: boolean): Filter =>
  (engine, value, args) => {
    const [attribute, name, argument] = byAttribute ? args : [undefined, ...args]
    const holds = (item: Value) => {
      const subject = byAttribute ? engine.attribute(item, attribute) : item
      return name === undefined ? isTrue(subject) : applyTest(engine, text(engine, name), subject, argument)
    }
    return items(engine, value).filter(item => holds(item) === keep)
  }

const indent: Filter = (engine, value, args, named) => {
  const width = named.get('width') ?? args[0] ?? 4
  const by = typeof width === 'string' ? width : padded('', width, ' ', 'left', engine.budget)
  const first = isTrue(named.get('first') ?? args[1])
  const blank = isTrue(named.get('blank') ?? args[2])
  const source = text(engine, value)
  const lines = source.split('\n')
  engine.budget.steps(lines.length)
  engine.budget.text(source.length + lines.length * by.length)
  return lines.map((line, i) => ((i === 0 && !first) || (line === '' && !blank && i > 0) ? line : by + line)).join('\n')
}

const toJson: Filter = (engine, value, args, named) => {
  const wide = named.get('indent') ?? args[0]
  const separators = named.get('separators')
  if (separators !== undefined && separators !== null && !(Array.isArray(separators) && separators.length === 2)) {
    throw new TemplateError('separators are two texts')
  }
  const style = {
    indent:
      wide === undefined || wide === null
        ? undefined
        : typeof wide === 'string'
          ? wide
          : padded('', wide, ' ', 'left', engine.budget),
    separators: Array.isArray(separators) ? ([text(engine, separators[0]), text(engine, separators[1])] as const) : undefined,
    sortKeys: isTrue(named.get('sort_keys')),
    ensureAscii: isTrue(named.get('ensure_ascii')),
  }
  return jsonOf(value, style, engine.budget)
}

const map: Filter = (engine, value, args, named) => {
  const attribute = named.get('attribute')
  if (attribute !== undefined) {
    return items(engine, value).map(item => engine.attribute(item, attribute) ?? named.get('default'))
  }
  const [name, ...rest] = args
  return items(engine, value).map(item => applyFilter(engine, text(engine, name), item, rest, named))
}

const groupBy: Filter = (engine, value, args, named) => {
  const attribute = named.get('attribute') ?? args[0]
  const caseSensitive = named.get('case_sensitive') ?? args[2]
  const otherwise = named.get('default') ?? args[1]
  const own = (item: Value) => engine.attribute(item, attribute) ?? otherwise
  const folded = (item: Value) => {
    const key = own(item)
    return typeof key === 'string' && !isTrue(caseSensitive) ? key.toLowerCase() : key
  }
  const groups: { key: Value; grouper: Value; list: Value[] }[] = []
  for (const item of sorted(engine, items(engine, value), folded)) {
    const key = folded(item)
    const last = groups.at(-1)
    if (last !== undefined && equal(last.key, key, engine.budget)) last.list.push(item)
    else groups.push({ key, grouper: own(item), list: [item] })
  }
  return groups.map(({ grouper, list }) => new Group(grouper, list))
}

/** A pair that is also read by name: `group.grouper`, `group.list`. */
export class Group extends Tuple {
  constructor(
    readonly grouper: Value,
    readonly list: Value[],
  ) {
    super()
    this.push(grouper, list)
  }
}

const batch: Filter = (engine, value, args) => {
  const size = wholeOf(args[0], 'batch')
  if (size < 1) throw new TemplateError('batch takes a size from 1')
  const all = items(engine, value)
  const rows: Value[] = []
  for (let i = 0; i < all.length; i += size) {
    const row = all.slice(i, i + size)
    if (args[1] !== undefined && row.length < size) {
      engine.budget.steps(size)
      while (row.length < size) row.push(args[1])
    }
    rows.push(row)
  }
  return rows
}

const unique: Filter = (engine, value, args, named) => {
  const key = keyOf(engine, named.get('attribute') ?? args[1], named.get('case_sensitive') ?? args[0])
  const seen = new Set<Value>()
  return items(engine, value).filter(item => {
    const own = numberOf(key(item)) ?? key(item)
    return !seen.has(own) && seen.add(own) !== undefined
  })
}

const dictSort: Filter = (engine, value, args, named) => {
  if (!(value instanceof Map)) throw new TemplateError(`dictsort takes a dict, not ${typeName(value)}`)
  const at = (named.get('by') ?? args[1] ?? 'key') === 'value' ? 1 : 0
  const key = keyOf(engine, at, named.get('case_sensitive') ?? args[0])
  return sorted(
    engine,
    Array.from(value, ([name, item]) => Tuple.from([name, item])),
    key,
    isTrue(named.get('reverse') ?? args[2]),
  )
}

const first: Filter = (engine, value) =>
  typeof value === 'string' ? value.slice(0, value.codePointAt(0)! > 0xffff ? 2 : 1) || undefined : items(engine, value)[0]

const filters: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['abs', (_, value) => (value instanceof Float ? new Float(Math.abs(value.value)) : Math.abs(wholeOf(value, 'abs')))],
  ['attr', (engine, value, [name]) => engine.attribute(value, name)],
  ['batch', batch],
  ['capitalize', (engine, value) => made(engine, capitalize(text(engine, value)))],
  ['center', (engine, value, [width]) => padded(text(engine, value), width ?? 80, ' ', 'center', engine.budget)],
  ['count', length],
  ['d', (_, value, [otherwise, always], named) => fallback(value, otherwise, always, named)],
  ['default', (_, value, [otherwise, always], named) => fallback(value, otherwise, always, named)],
  ['dictsort', dictSort],
  ['e', (engine, value) => escaped(engine, value)],
  ['escape', (engine, value) => escaped(engine, value)],
  ['first', first],
  ['float', toFloat],
  ['forceescape', (engine, value) => escaped(engine, value)],
  [
    'format',
    (engine, value, args, named) =>
      percentFormat(text(engine, value), named.size > 0 ? new Map(named) : Tuple.from(args), engine.budget),
  ],
  ['groupby', groupBy],
  ['indent', indent],
  ['int', toInt],
  ['items', (engine, value) => (value === undefined ? [] : dictItems(engine, value))],
  [
    'join',
    (engine, value, args, named) => {
      const attribute = named.get('attribute') ?? args[1]
      const all = items(engine, value)
      const parts = attribute === undefined || attribute === null ? all : all.map(item => engine.attribute(item, attribute))
      return joinText(parts, text(engine, named.get('d') ?? args[0] ?? ''), engine.budget)
    },
  ],
  ['last', (engine, value) => (typeof value === 'string' ? [...value].at(-1) : items(engine, value).at(-1))],
  ['length', length],
  ['list', (engine, value) => [...items(engine, value)]],
  ['lower', (engine, value) => made(engine, text(engine, value).toLowerCase())],
  ['map', map],
  ['max', extreme(1)],
  ['min', extreme(-1)],
  ['reject', chosen(false, false)],
  ['rejectattr', chosen(true, false)],
  [
    'replace',
    (engine, value, [from, to, count], named) =>
      replaceText(
        text(engine, value),
        text(engine, from ?? ''),
        text(engine, to ?? ''),
        wholeOf(count ?? named.get('count') ?? -1, 'replace'),
        engine.budget,
      ),
  ],
  [
    'reverse',
    (engine, value) =>
      typeof value === 'string' ? made(engine, [...value].reverse().join('')) : [...items(engine, value)].reverse(),
  ],
  ['round', round],
  ['safe', (_, value) => value],
  ['select', chosen(false, true)],
  ['selectattr', chosen(true, true)],
  [
    'sort',
    (engine, value, args, named) =>
      sorted(
        engine,
        items(engine, value),
        keyOf(engine, named.get('attribute') ?? args[2], named.get('case_sensitive') ?? args[1]),
        isTrue(named.get('reverse') ?? args[0]),
      ),
  ],
  ['string', (engine, value) => text(engine, value)],
  [
    'striptags',
    (engine, value) =>
      made(
        engine,
        text(engine, value)
          .replace(/<!--[\s\S]*?-->|<[^>]*>/g, '')
          .replace(/\s+/g, ' ')
          .trim(),
      ),
  ],
  [
    'sum',
    (engine, value, args, named) => {
      const attribute = named.get('attribute') ?? args[0]
      const parts = items(engine, value).map(item =>
        attribute === undefined || attribute === null ? item : engine.attribute(item, attribute),
      )
      const numbers = [...parts, named.get('start') ?? args[1] ?? 0].map(part => numberOf(part) ?? Number.NaN)
      const total = numbers.reduce((a, b) => a + b, 0)
      if (Number.isNaN(total)) throw new TemplateError('sum takes numbers')
      return parts.some(part => part instanceof Float) ? new Float(total) : total
    },
  ],
  ['title', (engine, value) => made(engine, titleWords(text(engine, value)))],
  ['tojson', toJson],
  [
    'trim',
    (engine, value, [characters], named) =>
      made(engine, strip(text(engine, value), characters ?? named.get('chars'), true, true)),
  ],
  ['truncate', (engine, value, args, named) => truncated(engine, value, args, named)],
  ['unique', unique],
  ['upper', (engine, value) => made(engine, text(engine, value).toUpperCase())],
  ['urlencode', (engine, value) => made(engine, encodeURIComponent(text(engine, value)).replaceAll('%2F', '/'))],
  ['wordcount', (engine, value) => text(engine, value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0],
])

function fallback(value: Value, otherwise: Value, always: Value, named: Named): Value {
  const replaces = value === undefined || (isTrue(always ?? named.get('boolean')) && !isTrue(value))
  return replaces ? (otherwise ?? named.get('default_value') ?? '') : value
}

function dictItems(engine: Engine, value: Value): Value {
  if (!(value instanceof Map)) throw new TemplateError(`items takes a dict, not ${typeName(value)}`)
  engine.budget.steps(value.size)
  return Array.from(value, ([key, item]) => Tuple.from([key, item]))
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', "'": '&#39;', '"': '&#34;' }

function escaped(engine: Engine, value: Value): string {
  return made(
    engine,
    text(engine, value).replace(/[&<>'"]/g, character => entities[character]!),
  )
}

function truncated(engine: Engine, value: Value, args: readonly Value[], named: Named): string {
  const source = text(engine, value)
  const most = wholeOf(named.get('length') ?? args[0] ?? 255, 'truncate')
  const end = text(engine, named.get('end') ?? args[2] ?? '...')
  const leeway = wholeOf(named.get('leeway') ?? args[3] ?? 5, 'truncate')
  if (source.length <= most + leeway) return source
  const cut = source.slice(0, Math.max(0, most - end.length))
  return (isTrue(named.get('killwords') ?? args[1]) ? cut : cut.replace(/ [^ ]*$/, '')) + end
}
