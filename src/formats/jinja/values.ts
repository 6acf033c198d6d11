/**
 * The values of a Jinja template as Python has them: what is true, what equals what, and how each is written. Whole numbers are numbers,
 * all others `Float`; dictionaries are maps. Everything that makes text or lists is counted by a `Budget`.
 */

export type Value = string | number | boolean | null | undefined | Float | Value[] | Dict | Namespace | Callable

export type Dict = Map<Value, Value>

/** A number with a decimal point. */
export class Float {
  constructor(readonly value: number) {}
}

/** A list that is written in round brackets. */
export class Tuple extends Array<Value> {}

/** What `namespace()` makes: its attributes can be set. */
export class Namespace {
  readonly attributes = new Map<string, Value>()
}

export class Callable {
  constructor(
    readonly name: string,
    readonly call: (args: readonly Value[], named: ReadonlyMap<string, Value>) => Value,
  ) {}
}

/** The template did something that Jinja refuses, or refused itself by `raise_exception`. */
export class TemplateError extends Error {}

/** The template uses what is not there in this engine, though it may be in Jinja. */
export class LacksError extends Error {}

/** A limit was reached. */
export class LimitError extends Error {}

/** What a template may do and make. */
export class Budget {
  #steps = 0
  #characters = 0

  readonly #maxSteps: number
  readonly #maxCharacters: number

  /** @param characters how much text may be made, besides what is thrown away */
  constructor(maxSteps: number, maxCharacters: number) {
    this.#maxSteps = maxSteps
    this.#maxCharacters = maxCharacters
  }

  steps(count = 1): void {
    this.#steps += count
    if (this.#steps > this.#maxSteps) throw new LimitError(`more than ${this.#maxSteps} steps`)
  }

  /** Before the text is made. */
  text(length: number): void {
    this.#characters += length
    if (this.#characters > this.#maxCharacters) throw new LimitError(`more than ${this.#maxCharacters} characters of text`)
  }
}

const maxDepth = 128

/** A value of JavaScript as one of a template. */
export function fromJavaScript(input: unknown, depth = 0): Value {
  if (depth > maxDepth) throw new TemplateError(`values nested more than ${maxDepth} deep`)
  switch (typeof input) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return input
    case 'number':
      return Number.isInteger(input) ? input : new Float(input)
    case 'bigint':
      return Number(input)
    case 'object':
      if (input === null) return null
      if (Array.isArray(input)) return input.map(item => fromJavaScript(item, depth + 1))
      return new Map(Object.entries(input).map(([key, value]) => [key, fromJavaScript(value, depth + 1)]))
    default:
      throw new TemplateError(`a ${typeof input} cannot be given to a template`)
  }
}

export function typeName(value: Value): string {
  if (value === null) return 'None'
  if (value instanceof Float) return 'float'
  if (value instanceof Tuple) return 'tuple'
  if (Array.isArray(value)) return 'list'
  if (value instanceof Map) return 'dict'
  if (value instanceof Namespace) return 'namespace'
  if (value instanceof Callable) return 'function'
  return { string: 'str', number: 'int', boolean: 'bool', undefined: 'Undefined' }[typeof value as 'string'] ?? typeof value
}

export function isTrue(value: Value): boolean {
  if (value instanceof Float) return value.value !== 0
  if (Array.isArray(value)) return value.length > 0
  if (value instanceof Map) return value.size > 0
  if (value instanceof Namespace || value instanceof Callable) return true
  return Boolean(value)
}

/** The number that a value counts as, where it is one: truth values are. */
export function numberOf(value: Value): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return value ? 1 : 0
  return value instanceof Float ? value.value : undefined
}

export function equal(a: Value, b: Value, budget: Budget, depth = 0): boolean {
  budget.steps()
  const left = numberOf(a)
  const right = numberOf(b)
  if (left !== undefined && right !== undefined) return left === right
  if (depth > maxDepth) throw new TemplateError('values nested too deep to be compared')
  if (Array.isArray(a) && Array.isArray(b)) {
    return (
      a.length === b.length &&
      a instanceof Tuple === b instanceof Tuple &&
      a.every((item, i) => equal(item, b[i], budget, depth + 1))
    )
  }
  if (a instanceof Map && b instanceof Map) {
    return a.size === b.size && [...a].every(([key, value]) => b.has(key) && equal(value, b.get(key), budget, depth + 1))
  }
  return a === b
}

/** Below 0 where `a` comes first. Values of different kinds have no order. */
export function compare(a: Value, b: Value, budget: Budget, depth = 0): number {
  budget.steps()
  const left = numberOf(a)
  const right = numberOf(b)
  if (left !== undefined && right !== undefined) return left - right
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  if (Array.isArray(a) && Array.isArray(b) && depth < maxDepth) {
    for (let i = 0; i < Math.min(a.length, b.length); i++) {
      const order = compare(a[i], b[i], budget, depth + 1)
      if (order !== 0) return order
    }
    return a.length - b.length
  }
  throw new TemplateError(`${typeName(a)} and ${typeName(b)} have no order`)
}

/** By code points, as Python compares. */
function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    if (a.charCodeAt(i) !== b.charCodeAt(i)) return a.codePointAt(i)! - b.codePointAt(i)!
  }
  return a.length - b.length
}

/** What a loop goes over: items, keys or characters. */
export function itemsOf(value: Value, budget: Budget): readonly Value[] {
  const items = iterable(value)
  if (items === undefined) throw new TemplateError(`a value of type ${typeName(value)} cannot be gone over`)
  budget.steps(items.length)
  return items
}

export function iterable(value: Value): readonly Value[] | undefined {
  if (Array.isArray(value)) return value
  if (value instanceof Map) return [...value.keys()]
  if (typeof value === 'string') return [...value]
  return value === undefined ? [] : undefined
}

/** As `str()` writes it. */
export function textOf(value: Value, budget: Budget): string {
  return typeof value === 'string' ? value : representation(value, budget, 0)
}

function representation(value: Value, budget: Budget, depth: number): string {
  budget.steps()
  if (depth > maxDepth) throw new TemplateError('values nested too deep to be written')
  const inner = (item: Value) => (typeof item === 'string' ? quoted(item) : representation(item, budget, depth + 1))
  let text: string
  if (value === undefined) text = ''
  else if (value === null) text = 'None'
  else if (value === true) text = 'True'
  else if (value === false) text = 'False'
  else if (typeof value === 'number') text = wholeText(value)
  else if (typeof value === 'string') text = value
  else if (value instanceof Float) text = floatText(value.value)
  else if (value instanceof Tuple) text = `(${Array.from(value, inner).join(', ')}${value.length === 1 ? ',' : ''})`
  else if (Array.isArray(value)) text = `[${value.map(inner).join(', ')}]`
  else if (value instanceof Map) text = `{${[...value].map(([key, item]) => `${inner(key)}: ${inner(item)}`).join(', ')}}`
  else throw new TemplateError(`a ${typeName(value)} cannot be written`)
  budget.text(text.length)
  return text
}

/** `repr()` of a text. */
export function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text.replace(
    /[\\\n\r\t]/g,
    character => ({ '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' })[character] ?? character,
  )
  return mark + (mark === "'" ? escaped.replaceAll("'", "\\'") : escaped) + mark
}

function wholeText(value: number): string {
  return Number.isSafeInteger(value) ? String(value) : BigInt(value).toString()
}

/** The shortest text that reads as the number, with Python's choice of exponents. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf'
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0'
  const size = Math.abs(value)
  if (size >= 1e16 || size < 1e-4) return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
  return Number.isInteger(value) ? `${value}.0` : String(value)
}

/** JSON as `json.dumps` writes it. */
export interface JsonStyle {
  readonly indent: string | undefined
  readonly separators: readonly [item: string, key: string] | undefined
  readonly sortKeys: boolean
  readonly ensureAscii: boolean
}

export function jsonOf(value: Value, style: JsonStyle, budget: Budget, depth = 0): string {
  budget.steps()
  if (depth > maxDepth) throw new TemplateError('values nested too deep for JSON')
  const text = jsonText(value, style, budget, depth)
  budget.text(text.length)
  return text
}

function jsonText(value: Value, style: JsonStyle, budget: Budget, depth: number): string {
  if (value === null) return 'null'
  if (typeof value === 'boolean') return String(value)
  if (typeof value === 'number') return wholeText(value)
  if (value instanceof Float)
    return { nan: 'NaN', inf: 'Infinity', '-inf': '-Infinity' }[floatText(value.value)] ?? floatText(value.value)
  if (typeof value === 'string') return jsonString(value, style.ensureAscii)
  const [between, behindKey] = style.separators ?? [style.indent === undefined ? ', ' : ',', ': ']
  const inner = (item: Value) => jsonOf(item, style, budget, depth + 1)
  if (Array.isArray(value)) return bracketed('[', Array.from(value, inner), ']', between, style, depth, budget)
  if (value instanceof Map) {
    const entries = style.sortKeys ? [...value].sort(([a], [b]) => compare(a, b, budget)) : [...value]
    const fields = entries.map(([key, item]) => jsonString(jsonKey(key), style.ensureAscii) + behindKey + inner(item))
    return bracketed('{', fields, '}', between, style, depth, budget)
  }
  throw new TemplateError(`a value of type ${typeName(value)} cannot be written as JSON`)
}

function jsonKey(key: Value): string {
  if (typeof key === 'string') return key
  if (key === null) return 'null'
  if (typeof key === 'boolean') return String(key)
  if (typeof key === 'number') return wholeText(key)
  throw new TemplateError('a key of JSON is a text or a number')
}

function jsonString(text: string, ensureAscii: boolean): string {
  const json = JSON.stringify(text)
  return ensureAscii ? json.replace(/[\u007f-\uffff]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`) : json
}

function bracketed(
  open: string,
  items: string[],
  close: string,
  between: string,
  style: JsonStyle,
  depth: number,
  budget: Budget,
): string {
  if (items.length === 0) return open + close
  if (style.indent === undefined) return open + items.join(between) + close
  budget.text((items.length + 1) * (depth + 1) * style.indent.length)
  const line = `\n${style.indent.repeat(depth + 1)}`
  return `${open}${line}${items.join(between + line)}\n${style.indent.repeat(depth)}${close}`
}
