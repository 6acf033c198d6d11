/** Methods of texts and dictionaries, and the two ways of Python to fill in values: `'%s' % x` and `'{}'.format(x)`. */
import { exponential, fixed } from './decimals.js'
import {
  type Budget,
  Callable,
  type Dict,
  isTrue,
  itemsOf,
  LacksError,
  numberOf,
  quoted,
  TemplateError,
  Tuple,
  textOf,
  typeName,
  type Value,
} from './values.js'

type Args = readonly Value[]
type Named = ReadonlyMap<string, Value>

// What Python takes for white space, and for the end of a line.
const spaces = '\\p{White_Space}\\x1c-\\x1f'
const lineEnds = '\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029'
const space = new RegExp(`[${spaces}]`, 'u')
const spaceOnly = new RegExp(`^[${spaces}]+$`, 'u')
const words = new RegExp(`[^${spaces}]+`, 'gu')
const line = new RegExp(`[^${lineEnds}]*(\\r\\n|[${lineEnds}]|$)`, 'g')
const lineEnd = new RegExp(`(\\r\\n|[${lineEnds}])$`)

export function strip(text: string, characters: Value, left: boolean, right: boolean): string {
  const taken = characters === undefined || characters === null ? undefined : new Set(String(characters))
  const drop = (character: string) => (taken === undefined ? space.test(character) : taken.has(character))
  let start = 0
  let end = text.length
  while (left && start < end && drop(text[start]!)) start++
  while (right && end > start && drop(text[end - 1]!)) end--
  return text.slice(start, end)
}

/** The first letter of every word large, the others small, as `str.title` does. */
function title(text: string): string {
  return text.replace(/\p{L}+/gu, word => capitalize(word))
}

/** The filter's own rule: words begin behind white space and opening brackets. */
export function titleWords(text: string): string {
  return text.replace(/[^-\s({[<]+/g, word => capitalize(word))
}

export function capitalize(text: string): string {
  const [first = '', ...rest] = text
  return first.toUpperCase() + rest.join('').toLowerCase()
}

export function replaceText(text: string, from: string, to: string, count: number, budget: Budget): string {
  if (count === 0) return text
  const most = count < 0 ? Number.POSITIVE_INFINITY : count
  const parts = from === '' ? ['', ...text, ''] : text.split(from)
  budget.steps(parts.length)
  budget.text(text.length + Math.min(parts.length, most) * to.length)
  if (parts.length - 1 <= most) return parts.join(to)
  const kept = from === '' ? '' : from
  return parts.slice(0, most + 1).join(to) + kept + parts.slice(most + 1).join(kept)
}

/** A method by its name, or undefined. */
export function textMethod(text: string, name: string, budget: Budget): Callable | undefined {
  const method = (call: (...args: Value[]) => Value) => new Callable(name, args => call(...args))
  const word = (value: Value): string => {
    if (typeof value === 'string') return value
    throw new TemplateError(`${name}() takes a text, not ${typeName(value)}`)
  }
  const any = (value: Value, holds: (each: string) => boolean) =>
    value instanceof Tuple ? value.some(each => holds(word(each))) : holds(word(value))
  const every = (pattern: RegExp) => method(() => text !== '' && pattern.test(text))
  switch (name) {
    case 'upper':
      return method(() => text.toUpperCase())
    case 'lower':
    case 'casefold':
      return method(() => text.toLowerCase())
    case 'title':
      return method(() => title(text))
    case 'capitalize':
      return method(() => capitalize(text))
    case 'swapcase':
      return method(() => Array.from(text, c => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())).join(''))
    case 'strip':
      return method(characters => strip(text, characters, true, true))
    case 'lstrip':
      return method(characters => strip(text, characters, true, false))
    case 'rstrip':
      return method(characters => strip(text, characters, false, true))
    case 'startswith':
      return method(prefix => any(prefix, each => text.startsWith(each)))
    case 'endswith':
      return method(suffix => any(suffix, each => text.endsWith(each)))
    case 'removeprefix':
      return method(prefix => (text.startsWith(word(prefix)) ? text.slice(word(prefix).length) : text))
    case 'removesuffix':
      return method(suffix => (word(suffix) !== '' && text.endsWith(word(suffix)) ? text.slice(0, -word(suffix).length) : text))
    case 'find':
      return method(
        part => [...text.slice(0, Math.max(0, text.indexOf(word(part))))].length - (text.includes(word(part)) ? 0 : 1),
      )
    case 'rfind':
      return method(part => (text.includes(word(part)) ? [...text.slice(0, text.lastIndexOf(word(part)))].length : -1))
    case 'count':
      return method(part => (word(part) === '' ? [...text].length + 1 : text.split(word(part)).length - 1))
    case 'replace':
      return new Callable(name, ([from, to, count], named) =>
        replaceText(text, word(from), word(to), wholeOf(count ?? named.get('count') ?? -1, name), budget),
      )
    case 'split':
    case 'rsplit':
      return new Callable(name, ([separator, most], named) => {
        const parts = splitText(
          text,
          separator ?? named.get('sep') ?? null,
          wholeOf(most ?? named.get('maxsplit') ?? -1, name),
          name === 'rsplit',
        )
        budget.steps(parts.length)
        return parts
      })
    case 'splitlines':
      return method(keep => {
        const lines = text.match(line) ?? []
        budget.steps(lines.length)
        const full = lines.filter(line => line !== '')
        return isTrue(keep) ? full : full.map(line => line.replace(lineEnd, ''))
      })
    case 'partition':
    case 'rpartition':
      return method(separator => {
        const at = name === 'partition' ? text.indexOf(word(separator)) : text.lastIndexOf(word(separator))
        if (at < 0) return name === 'partition' ? Tuple.from([text, '', '']) : Tuple.from(['', '', text])
        return Tuple.from([text.slice(0, at), separator, text.slice(at + word(separator).length)])
      })
    case 'join':
      return method(items => joinText(itemsOf(items, budget).map(word), text, budget))
    case 'zfill':
      return method(width => padded(text, width, '0', 'right', budget))
    case 'ljust':
      return method((width, fill) => padded(text, width, fill === undefined ? ' ' : word(fill), 'left', budget))
    case 'rjust':
      return method((width, fill) => padded(text, width, fill === undefined ? ' ' : word(fill), 'right', budget))
    case 'center':
      return method((width, fill) => padded(text, width, fill === undefined ? ' ' : word(fill), 'center', budget))
    case 'isdigit':
    case 'isdecimal':
    case 'isnumeric':
      return every(/^\p{Nd}+$/u)
    case 'isalpha':
      return every(/^\p{L}+$/u)
    case 'isalnum':
      return every(/^[\p{L}\p{N}]+$/u)
    case 'isspace':
      return every(spaceOnly)
    case 'isupper':
      return method(() => text === text.toUpperCase() && text !== text.toLowerCase())
    case 'islower':
      return method(() => text === text.toLowerCase() && text !== text.toUpperCase())
    case 'format':
      return new Callable(name, (args, named) => braceFormat(text, args, named, budget))
    default:
      return undefined
  }
}

export function dictMethod(dict: Dict, name: string, budget: Budget): Callable | undefined {
  const list = (make: () => Value[]) =>
    new Callable(name, () => {
      budget.steps(dict.size)
      return make()
    })
  switch (name) {
    case 'get':
      return new Callable(name, ([key, otherwise], named) =>
        dict.has(key) ? dict.get(key) : (otherwise ?? named.get('default') ?? null),
      )
    case 'items':
      return list(() => Array.from(dict, ([key, value]) => Tuple.from([key, value])))
    case 'keys':
      return list(() => [...dict.keys()])
    case 'values':
      return list(() => [...dict.values()])
    case 'copy':
      return new Callable(name, () => {
        budget.steps(dict.size)
        return new Map(dict)
      })
    default:
      return undefined
  }
}

export function listMethod(list: readonly Value[], name: string, budget: Budget): Callable | undefined {
  if (name === 'count') return new Callable(name, ([item]) => itemsOf([...list], budget).filter(each => each === item).length)
  if (name === 'index') return new Callable(name, ([item]) => list.indexOf(item))
  if (name === 'copy') return new Callable(name, () => [...itemsOf([...list], budget)])
  return undefined
}

export function joinText(items: readonly Value[], separator: string, budget: Budget): string {
  const texts = items.map(item => textOf(item, budget))
  budget.text(texts.reduce((sum, each) => sum + each.length, separator.length * Math.max(0, texts.length - 1)))
  return texts.join(separator)
}

export function wholeOf(value: Value, where: string): number {
  const number = numberOf(value)
  if (number !== undefined && Number.isInteger(number)) return number
  throw new TemplateError(`${where} takes a whole number, not ${typeName(value)}`)
}

export function padded(text: string, width: Value, fill: string, align: 'left' | 'right' | 'center', budget: Budget): string {
  const missing = Math.max(0, wholeOf(width, 'a width') - [...text].length)
  budget.text(text.length + missing * fill.length)
  const left = align === 'left' ? 0 : align === 'right' ? missing : Math.floor(missing / 2)
  return fill.repeat(left) + text + fill.repeat(missing - left)
}

function splitText(text: string, separator: Value, most: number, fromRight: boolean): string[] {
  const limit = most < 0 ? Number.POSITIVE_INFINITY : most
  if (separator === null || separator === undefined) {
    const found = text.match(words) ?? []
    if (found.length - 1 <= limit) return found
    // What is left over keeps its spaces inside.
    const places = [...text.matchAll(words)]
    if (!fromRight) return [...found.slice(0, limit), text.slice(places[limit]!.index)]
    const first = places[places.length - limit - 1]!
    return [text.slice(0, first.index + first[0].length), ...found.slice(found.length - limit)]
  }
  if (typeof separator !== 'string' || separator === '') throw new TemplateError('split() takes a text that is not empty')
  const parts = text.split(separator)
  if (parts.length - 1 <= limit) return parts
  if (!fromRight) return [...parts.slice(0, limit), parts.slice(limit).join(separator)]
  const kept = parts.length - limit
  return [parts.slice(0, kept).join(separator), ...parts.slice(kept)]
}

// --- filling in ---------------------------------------------------------------------------------------------------------

const percent = /%(?:\(([^)]*)\))?([-+ 0#]*)(\d*)(?:\.(\d+))?([a-zA-Z%])/g

/** `text % values`. */
export function percentFormat(text: string, values: Value, budget: Budget): string {
  const positional = values instanceof Tuple ? values : [values]
  let next = 0
  const filled = text.replace(
    percent,
    (code, name: string | undefined, flags: string, width: string, precision: string | undefined, kind: string) => {
      if (kind === '%') return '%'
      budget.steps()
      let value: Value
      if (name !== undefined) value = values instanceof Map ? values.get(name) : undefined
      else if (next < positional.length) value = positional[next++]
      else throw new TemplateError(`there is no value for ${code}`)
      const body = converted(value, kind, precision === undefined ? undefined : Number(precision), flags, budget)
      const zero = flags.includes('0') && !flags.includes('-') && kind !== 's' && kind !== 'r'
      const sign = zero && /^[-+]/.test(body) ? body[0]! : ''
      const bare = padded(
        body.slice(sign.length),
        Math.max(0, Number(width || '0') - sign.length),
        zero ? '0' : ' ',
        flags.includes('-') ? 'left' : 'right',
        budget,
      )
      return sign + bare
    },
  )
  budget.text(filled.length)
  return filled
}

const mostDigits = 100

function converted(value: Value, kind: string, precision: number | undefined, flags: string, budget: Budget): string {
  if (kind === 's') return textOf(value, budget).slice(0, precision)
  if (kind === 'r') return typeof value === 'string' ? quoted(value) : textOf(value, budget)
  const number = numberOf(value)
  if (number === undefined) throw new TemplateError(`%${kind} takes a number, not ${typeName(value)}`)
  const sign = number < 0 ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : ''
  const size = Math.abs(number)
  const digits = Math.min(precision ?? 6, mostDigits)
  switch (kind) {
    case 'd':
    case 'i':
    case 'u':
      return (
        sign +
        BigInt(Math.trunc(size))
          .toString()
          .padStart(precision === undefined ? 0 : digits, '0')
      )
    case 'f':
    case 'F':
      return sign + fixed(size, digits)
    case 'e':
      return sign + exponential(size, digits)
    case 'x':
      return sign + BigInt(Math.trunc(size)).toString(16)
    case 'X':
      return sign + BigInt(Math.trunc(size)).toString(16).toUpperCase()
    case 'o':
      return sign + BigInt(Math.trunc(size)).toString(8)
    default:
      throw new LacksError(`the conversion %${kind}`)
  }
}

/** `text.format(…)`. */
function braceFormat(text: string, args: Args, named: Named, budget: Budget): string {
  let next = 0
  const filled = text.replace(/\{\{|\}\}|\{([^{}]*)\}/g, (code, field: string | undefined) => {
    if (field === undefined) return code[0]!
    budget.steps()
    const [, name = '', , spec = ''] = /^([^:!]*)(!r)?(?::(.*))?$/.exec(field) ?? []
    const value = name === '' ? args[next++] : /^\d+$/.test(name) ? args[Number(name)] : named.get(name)
    if (value === undefined) throw new TemplateError(`there is no value for ${code}`)
    if (spec === '') return textOf(value, budget)
    const [all, fill = ' ', align = '', width = '0', comma, precision, kind] =
      /^(?:(.)?([<>^]))?(\d*)(,)?(?:\.(\d+))?([dfs])?$/.exec(spec) ?? []
    if (all === undefined) throw new LacksError(`the format ${code}`)
    const number = numberOf(value)
    let body = textOf(value, budget)
    if (number !== undefined && (kind === 'f' || precision !== undefined))
      body = `${number < 0 ? '-' : ''}${fixed(Math.abs(number), Math.min(Number(precision ?? 6), mostDigits))}`
    if (comma !== undefined) body = body.replace(/^-?\d+/, whole => whole.replace(/\B(?=(\d{3})+$)/g, ','))
    const zero = /^0\d/.test(width)
    const side = align === '<' ? 'left' : align === '^' ? 'center' : align === '>' || number !== undefined ? 'right' : 'left'
    return padded(body, Number(width || '0'), zero ? '0' : fill, side, budget)
  })
  budget.text(filled.length)
  return filled
}
