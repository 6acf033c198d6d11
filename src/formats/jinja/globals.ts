/** What a template can call without being given it, as the sandbox of `transformers` has it, and arithmetic. */
import { strftime } from './strftime.js'
import { wholeOf } from './text.js'
import {
  type Budget,
  Callable,
  Float,
  itemsOf,
  LacksError,
  LimitError,
  Namespace,
  numberOf,
  TemplateError,
  textOf,
  typeName,
  type Value,
} from './values.js'

type Named = ReadonlyMap<string, Value>

/** The sandbox of Jinja allows no longer ones. */
export const maxRange = 100_000
const stepsOfCode = 16

export function globals(budget: Budget, now: () => Date): [string, Value][] {
  const named = (name: string, call: (args: readonly Value[], named: Named) => Value): [string, Value] => [
    name,
    new Callable(name, call),
  ]
  return [
    ['true', true],
    ['True', true],
    ['false', false],
    ['False', false],
    ['none', null],
    ['None', null],
    named('range', args => {
      const [a = 0, b, step = 1] = args.map(arg => wholeOf(arg, 'range'))
      const [start, stop] = b === undefined ? [0, a] : [a, b]
      if (step === 0) throw new TemplateError('the step of a range is not 0')
      const count = Math.max(0, Math.ceil((stop - start) / step))
      if (count > maxRange) throw new LimitError(`a range of more than ${maxRange} numbers`)
      budget.steps(count)
      return Array.from({ length: count }, (_, i) => start + i * step)
    }),
    named('namespace', (args, attributes) => {
      const namespace = new Namespace()
      for (const source of args) {
        const pairs = source instanceof Map ? [...source] : itemsOf(source, budget).map(pair => itemsOf(pair, budget))
        for (const [key, value] of pairs) namespace.attributes.set(textOf(key, budget), value)
      }
      for (const [key, value] of attributes) namespace.attributes.set(key, value)
      return namespace
    }),
    named('dict', (args, entries) => {
      const [source] = args
      const pairs =
        source === undefined
          ? []
          : source instanceof Map
            ? [...source]
            : itemsOf(source, budget).map(pair => itemsOf(pair, budget))
      return new Map<Value, Value>([...(pairs as [Value, Value][]), ...entries])
    }),
    named('raise_exception', ([message]) => {
      throw new TemplateError(textOf(message, budget))
    }),
    named('strftime_now', ([format]) => {
      const given = textOf(format, budget)
      // A code is several operations, and becomes at most some twenty characters.
      budget.steps(stepsOfCode * (given.split('%').length - 1))
      const text = strftime(now(), given)
      if (text === undefined) throw new LacksError(`a code of strftime in "${given.slice(0, 80)}"`)
      return text
    }),
  ]
}

const operators: ReadonlyMap<string, (a: number, b: number) => number> = new Map<string, (a: number, b: number) => number>([
  ['+', (a, b) => a + b],
  ['-', (a, b) => a - b],
  ['*', (a, b) => a * b],
  ['/', (a, b) => a / b],
  ['//', (a, b) => Math.floor(a / b)],
  ['%', (a, b) => a - b * Math.floor(a / b)],
  ['**', (a, b) => a ** b],
])

/** Whole numbers stay whole but for a division and a negative power. */
export function arithmetic(operator: string, left: Value, right: Value): Value {
  const a = numberOf(left)
  const b = numberOf(right)
  if (a === undefined || b === undefined)
    throw new TemplateError(`${operator} is not between ${typeName(left)} and ${typeName(right)}`)
  if (b === 0 && ['/', '//', '%'].includes(operator)) throw new TemplateError('a division by 0')
  const result = operators.get(operator)?.(a, b)
  if (result === undefined) throw new LacksError(`the operator ${operator}`)
  if (!Number.isFinite(result)) throw new TemplateError('a number that is too large')
  const whole = !(left instanceof Float || right instanceof Float) && operator !== '/' && !(operator === '**' && b < 0)
  return whole ? result : new Float(result)
}
