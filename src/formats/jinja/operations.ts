/** What operators and slices do to values. */
import { arithmetic } from './globals.js'
import { contains, type Engine } from './tests.js'
import { percentFormat, wholeOf } from './text.js'
import {
  type Budget,
  compare,
  equal,
  Float,
  isTrue,
  itemsOf,
  numberOf,
  TemplateError,
  Tuple,
  textOf,
  typeName,
  type Value,
} from './values.js'

export function unary(operator: string, value: Value): Value {
  if (operator === 'not') return !isTrue(value)
  const number = numberOf(value)
  if (number === undefined) throw new TemplateError(`${operator} takes a number, not ${typeName(value)}`)
  const signed = operator === '-' ? -number : number
  return value instanceof Float ? new Float(signed) : signed
}

/** Of both sides, for all operators but `and` and `or`. `name`: what the template calls a side that is undefined. */
export function binary(
  engine: Engine,
  operator: string,
  left: Value,
  right: Value,
  name: (side: 'left' | 'right') => string,
): Value {
  const { budget } = engine
  switch (operator) {
    case '==':
      return equal(left, right, budget)
    case '!=':
      return !equal(left, right, budget)
    case 'in':
      return contains(engine, right, left)
    case 'not in':
      return !contains(engine, right, left)
    case '~':
      return joined(textOf(left, budget), textOf(right, budget), budget)
  }
  const missing = left === undefined ? 'left' : right === undefined ? 'right' : undefined
  if (missing !== undefined) throw new TemplateError(`"${name(missing)}" is not defined`)
  switch (operator) {
    case '<':
      return compare(left, right, budget) < 0
    case '<=':
      return compare(left, right, budget) <= 0
    case '>':
      return compare(left, right, budget) > 0
    case '>=':
      return compare(left, right, budget) >= 0
    case '+':
      if (typeof left === 'string' && typeof right === 'string') return joined(left, right, budget)
      if (Array.isArray(left) && Array.isArray(right)) {
        budget.steps(left.length + right.length)
        return left instanceof Tuple ? Tuple.from([...left, ...right]) : [...left, ...right]
      }
      break
    case '%':
      if (typeof left === 'string') return percentFormat(left, right, budget)
      break
    case '*':
      if (typeof left === 'string' || Array.isArray(left)) return repeated(left, wholeOf(right, '*'), budget)
      if (typeof right === 'string' || Array.isArray(right)) return repeated(right, wholeOf(left, '*'), budget)
      break
  }
  return arithmetic(operator, left, right)
}

function joined(left: string, right: string, budget: Budget): string {
  budget.text(left.length + right.length)
  return left + right
}

function repeated(value: string | Value[], count: number, budget: Budget): Value {
  const times = Math.max(0, count)
  if (typeof value === 'string') {
    budget.text(value.length * times)
    return value.repeat(times)
  }
  budget.steps(value.length * times)
  return Array.from({ length: value.length * times }, (_, i) => value[i % value.length])
}

/** `object[start:stop:step]`. */
export function sliceOf(object: Value, start: Value, stop: Value, step: Value, budget: Budget): Value {
  if (typeof object !== 'string' && !Array.isArray(object)) throw new TemplateError(`a ${typeName(object)} has no slices`)
  const at = (value: Value) => (value === undefined || value === null ? undefined : wholeOf(value, 'a slice'))
  const items = itemsOf(object, budget)
  const by = at(step) ?? 1
  if (by === 0) throw new TemplateError('the step of a slice is not 0')
  const [least, most] = by > 0 ? [0, items.length] : [-1, items.length - 1]
  const place = (index: number | undefined, otherwise: number) =>
    index === undefined ? otherwise : Math.min(Math.max(index < 0 ? index + items.length : index, least), most)
  const end = place(at(stop), by > 0 ? most : least)
  const out: Value[] = []
  for (let i = place(at(start), by > 0 ? least : most); by > 0 ? i < end : i > end; i += by) out.push(items[i])
  if (typeof object !== 'string') return object instanceof Tuple ? Tuple.from(out) : out
  budget.text(out.length)
  return out.join('')
}
