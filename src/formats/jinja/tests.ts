/** Jinja's tests (`x is defined`), and what an interpreter offers to tests and filters. */
import { wholeOf } from './text.js'
import {
  type Budget,
  Callable,
  compare,
  equal,
  Float,
  itemsOf,
  LacksError,
  Namespace,
  numberOf,
  TemplateError,
  textOf,
  typeName,
  type Value,
} from './values.js'

/** What filters need of the interpreter. */
export interface Engine {
  readonly budget: Budget
  /** `value.path`, a path of names and numbers with dots. */
  attribute(value: Value, path: Value): Value
  hasFilter(name: string): boolean
}

export type Filter = (engine: Engine, value: Value, args: readonly Value[], named: ReadonlyMap<string, Value>) => Value

type Test = (engine: Engine, value: Value, argument: Value) => boolean

export function applyTest(engine: Engine, name: string, value: Value, argument?: Value): boolean {
  const test = tests.get(name)
  if (test === undefined) throw new LacksError(`the test "${name}"`)
  return test(engine, value, argument)
}

const text = (engine: Engine, value: Value) => textOf(value, engine.budget)

const order =
  (holds: (sign: number) => boolean): Test =>
  (engine, value, argument) =>
    holds(compare(value, argument, engine.budget))
const same: Test = (engine, value, argument) => equal(value, argument, engine.budget)
const different: Test = (engine, value, argument) => !equal(value, argument, engine.budget)
const parity =
  (rest: number): Test =>
  (_, value) =>
    Math.abs(wholeOf(value, 'odd and even') % 2) === rest

const tests: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['boolean', (_, value) => typeof value === 'boolean'],
  ['callable', (_, value) => value instanceof Callable],
  ['defined', (_, value) => value !== undefined],
  ['divisibleby', (_, value, by) => wholeOf(value, 'divisibleby') % wholeOf(by, 'divisibleby') === 0],
  ['eq', same],
  ['equalto', same],
  ['==', same],
  ['even', parity(0)],
  ['false', (_, value) => value === false],
  ['filter', (engine, value) => typeof value === 'string' && engine.hasFilter(value)],
  ['float', (_, value) => value instanceof Float],
  ['ge', order(sign => sign >= 0)],
  ['>=', order(sign => sign >= 0)],
  ['gt', order(sign => sign > 0)],
  ['greaterthan', order(sign => sign > 0)],
  ['>', order(sign => sign > 0)],
  ['in', (engine, value, holder) => contains(engine, holder, value)],
  ['integer', (_, value) => typeof value === 'number'],
  ['iterable', (_, value) => Array.isArray(value) || value instanceof Map || typeof value === 'string' || value === undefined],
  ['le', order(sign => sign <= 0)],
  ['<=', order(sign => sign <= 0)],
  [
    'lower',
    (engine, value) =>
      text(engine, value) === text(engine, value).toLowerCase() && text(engine, value) !== text(engine, value).toUpperCase(),
  ],
  ['lt', order(sign => sign < 0)],
  ['lessthan', order(sign => sign < 0)],
  ['<', order(sign => sign < 0)],
  ['mapping', (_, value) => value instanceof Map],
  ['ne', different],
  ['!=', different],
  ['none', (_, value) => value === null],
  ['number', (_, value) => numberOf(value) !== undefined],
  ['odd', parity(1)],
  ['sameas', (_, value, other) => value === other],
  ['sequence', (_, value) => Array.isArray(value) || value instanceof Map || typeof value === 'string'],
  ['string', (_, value) => typeof value === 'string'],
  ['true', (_, value) => value === true],
  ['undefined', (_, value) => value === undefined],
  [
    'upper',
    (engine, value) =>
      text(engine, value) === text(engine, value).toUpperCase() && text(engine, value) !== text(engine, value).toLowerCase(),
  ],
])

/** `value in holder`. */
export function contains(engine: Engine, holder: Value, value: Value): boolean {
  if (typeof holder === 'string') {
    if (typeof value === 'string') return holder.includes(value)
    throw new TemplateError(`a text contains texts, not ${typeName(value)}`)
  }
  if (holder instanceof Map) return holder.has(value)
  if (holder instanceof Namespace) return holder.attributes.has(text(engine, value))
  return itemsOf(holder, engine.budget).some(item => equal(item, value, engine.budget))
}
