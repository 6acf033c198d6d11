import { isDeepStrictEqual } from 'node:util'
import { alternatives, type OptionSchema, schemasAt } from '../../config/options.js'
import { invalidConfig, unknownOption } from '../../config/problems.js'
import { isRecord } from '../../json.js'
import type { OverEntry } from './entries.js'

/**
 * The options that a sweep varies, and what values each may have. Every option is a scale of its own: numbers stand on it as they are or
 * as logarithms, values of a list as their places. What an option does is unknown here.
 */

export interface Parameter {
  /** The dotted name: `train.learningRate`. */
  readonly name: string
  /** Values of other options that it is given with; of each one of a list. */
  readonly when: readonly Condition[]
  readonly domain: Domain
}

export interface Condition {
  readonly name: string
  readonly values: readonly unknown[]
}

export type Domain = ListDomain | NumberDomain

export interface ListDomain {
  readonly kind: 'list'
  readonly values: readonly unknown[]
  /** Sums to 1. */
  readonly weights: readonly number[]
  /** Whether neighbours are alike: numbers in rising order. */
  readonly ordered: boolean
}

export interface NumberDomain {
  readonly kind: 'number'
  /** Ends of the range; infinite where a distribution has none. */
  readonly min: number
  readonly max: number
  readonly log: boolean
  /** Distance between values that may be drawn; undefined where all may. */
  readonly step: number | undefined
  /** Of a grid. */
  readonly points: number | undefined
  /** On the scale: of a normal distribution; without one all of the range is alike. */
  readonly normal: { readonly mean: number; readonly deviation: number } | undefined
}

/** Values by the names of their options; an option that is not given in a trial is absent. */
export type Values = Readonly<Record<string, unknown>>

/** @throws GradpromptError `unknown-option`, `invalid-config` */
export function parseSpace(over: Readonly<Record<string, OverEntry>>, root: OptionSchema, source: string): Parameter[] {
  const names = Object.keys(over)
  for (const name of names)
    for (const other of names)
      if (other !== name && other.startsWith(`${name}.`))
        throw invalidConfig(source, `sweep.over varies ${name} and a part of it, ${other}`, {
          hint: `vary one of the two, or the parts of ${name} one by one`,
        })
  const space = names.map(name => parameterOf(name, over[name]!, root, source))
  for (const { name, when } of space)
    for (const condition of when) {
      refuseUnknownOption(condition.name, root, source)
      const other = space.find(({ name }) => name === condition.name)
      const lost =
        other?.domain.kind === 'list' && !other.domain.values.some(value => holds(condition, value)) && other.domain.values
      if (lost) throw neverGiven(name, condition, `one of ${lost.map(valueText).join(', ')}`, source)
    }
  return inOrder(space, source)
}

/** Whether a condition holds where its option has a value. */
export const holds = ({ values }: Condition, value: unknown): boolean => values.some(one => isDeepStrictEqual(one, value))

export const neverGiven = (name: string, condition: Condition, expected: string, source: string) =>
  invalidConfig(source, `${name} is never given: its condition cannot hold`, {
    found: `when: ${condition.name} is ${condition.values.map(valueText).join(' or ')}`,
    expected,
  })

/** Conditions stand before what hangs on them. */
function inOrder(space: readonly Parameter[], source: string): Parameter[] {
  const placed: Parameter[] = []
  const waiting = [...space]
  while (waiting.length > 0) {
    const next = waiting.findIndex(({ when }) => !when.some(({ name }) => waiting.some(other => other.name === name)))
    if (next === -1)
      throw invalidConfig(source, 'the conditions of sweep.over go round in a circle', {
        found: waiting.map(({ name }) => name).join(', '),
        hint: 'take out one of their when',
      })
    placed.push(...waiting.splice(next, 1))
  }
  return placed
}

/** @throws GradpromptError `unknown-option` */
export function refuseUnknownOption(name: string, root: OptionSchema, source: string): void {
  const path = name.split('.')
  if (schemasAt(root, path).length > 0) return
  const known = path.findIndex((_, i) => schemasAt(root, path.slice(0, i + 1)).length === 0)
  throw unknownOption(path[known]!, path.slice(0, known), root, undefined, source)
}

function parameterOf(name: string, entry: OverEntry, root: OptionSchema, source: string): Parameter {
  refuseUnknownOption(name, root, source)
  const refuse = (message: string, details: { found?: string; expected?: string; hint?: string }) =>
    invalidConfig(source, `sweep.over.${name} ${message}`, details)
  const given = Array.isArray(entry) ? { values: entry } : entry
  const when = Object.entries(('when' in given && given.when) || {}).map(([name, value]) => ({
    name,
    values: Array.isArray(value) ? value : [value],
  }))
  if ('values' in given) {
    const { values } = given
    const weights = 'weights' in given ? (given.weights ?? []) : []
    if (weights.length > 0 && weights.length !== values.length)
      throw refuse('has another number of weights than values', {
        found: `${values.length} values, ${weights.length} weights`,
        expected: 'a weight for each value',
      })
    const twice = values.find((value, i) => values.findIndex(other => isDeepStrictEqual(other, value)) < i)
    if (twice !== undefined) throw refuse('has a value twice', { found: valueText(twice), expected: 'values that differ' })
    const all = weights.length > 0 ? weights : values.map(() => 1)
    const sum = all.reduce((total, weight) => total + weight, 0)
    const isRising = values.every((value, i) => typeof value === 'number' && (i === 0 || value > (values[i - 1] as number)))
    const domain: ListDomain = {
      kind: 'list',
      values,
      weights: all.map(weight => weight / sum),
      ordered: isRising && values.length > 2,
    }
    return { name, when, domain }
  }
  const types = schemasAt(root, name.split('.')).flatMap(schema => alternatives(schema))
  const isWhole = types.some(({ type }) => type === 'integer') && !types.some(({ type }) => type === 'number')
  if (!types.some(({ type }) => type === 'integer' || type === 'number'))
    throw refuse('is a range, and the option is no number', { found: JSON.stringify(entry), expected: 'a list of values' })
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, log } = given
  if (min > max || (min === max && 'step' in given))
    throw refuse('is empty', { found: `min ${min}, max ${max}`, expected: 'max above min' })
  if (min === max)
    throw refuse('is one value', { found: String(min), expected: 'max above min', hint: `give it as ${name} in the config` })
  if (log && 'min' in given && given.min !== undefined && min <= 0)
    throw refuse('has a logarithmic scale that begins at or below 0', { found: `min ${min}`, expected: 'min above 0' })
  if ('mean' in given) {
    if (log && !(given.mean > 0 && given.deviation > 1))
      throw refuse('has a logarithm that is no number', {
        found: `mean ${given.mean}, deviation ${given.deviation}`,
        expected: 'a mean above 0, and a deviation, a factor, above 1',
      })
    const scale = log ? Math.log : (x: number) => x
    const normal = { mean: scale(given.mean), deviation: scale(given.deviation) }
    const reach = (end: number) => Math.abs((log ? Math.log(Math.max(end, 1e-300)) : end) - normal.mean) / normal.deviation
    if ((min > given.mean && reach(min) > 5) || (max < given.mean && reach(max) > 5))
      throw refuse('is as good as empty: its ends are more than five deviations from the mean', {
        found: `mean ${given.mean}, min ${min}, max ${max}`,
        expected: 'ends nearer to the mean',
      })
    return { name, when, domain: { kind: 'number', min, max, log, step: isWhole ? 1 : undefined, points: undefined, normal } }
  }
  const { step, points } = given
  if (isWhole && ![min, max, step ?? 1].every(Number.isInteger))
    throw refuse('has a fraction, and the option is a whole number', { found: JSON.stringify(entry), expected: 'whole numbers' })
  if (step !== undefined && log)
    throw refuse('has a step on a logarithmic scale', { hint: 'leave out one of step and log; points says how fine a grid is' })
  if (step !== undefined && step > max - min)
    throw refuse('has a step that is longer than the range', { found: `step ${step}`, expected: `at most ${max - min}` })
  return {
    name,
    when,
    domain: { kind: 'number', min, max, log, step: step ?? (isWhole ? 1 : undefined), points, normal: undefined },
  }
}

/** The value of an option in a config. */
export function optionAt(config: unknown, option: string): unknown {
  let value = config
  for (const key of option.split('.')) {
    if (!isRecord(value) || !Object.hasOwn(value, key)) return undefined
    value = value[key]
  }
  return value
}

/** The value of an option in a trial: one of its own, also as a part of what varies as a whole, or that of the config. */
export function optionIn(values: Values, option: string, fixed: (name: string) => unknown): unknown {
  if (Object.hasOwn(values, option)) return values[option]
  const whole = Object.keys(values).find(name => option.startsWith(`${name}.`))
  return whole === undefined ? fixed(option) : optionAt(values[whole], option.slice(whole.length + 1))
}

/** Whether an option is given, beside what the options before it have. */
export const isActive = ({ when }: Parameter, values: Values, fixed: (name: string) => unknown): boolean =>
  when.every(condition => holds(condition, optionIn(values, condition.name, fixed)))

/** Where a value stands on the scale of its option: between 0 and 1 in a range; a place in a list. Undefined where it does not. */
export function placeOf({ domain }: Parameter, value: unknown): number | undefined {
  if (domain.kind === 'list') {
    const place = domain.values.findIndex(known => isDeepStrictEqual(known, value))
    return place === -1 ? undefined : place
  }
  if (typeof value !== 'number' || !Number.isFinite(value) || (domain.log && value <= 0)) return undefined
  return domain.log ? Math.log(value) : value
}

/** The scale's ends: those of the range, or six deviations around the mean. */
export function endsOf(domain: NumberDomain): readonly [low: number, high: number] {
  const scale = (value: number) => (domain.log ? Math.log(value) : value)
  const { normal } = domain
  const low = Number.isFinite(domain.min) ? scale(domain.min) : normal!.mean - 6 * normal!.deviation
  const high = Number.isFinite(domain.max) ? scale(domain.max) : normal!.mean + 6 * normal!.deviation
  return [low, high]
}

/** The value at a place on the scale, rounded to what may be drawn. */
export function valueAt(domain: NumberDomain, place: number): number {
  const value = domain.log ? Math.exp(place) : place
  const { step, min, max } = domain
  if (step === undefined) return Math.min(max, Math.max(min, Number(value.toPrecision(6))))
  const from = Number.isFinite(min) ? min : 0
  const last = Number.isFinite(max) ? from + Math.floor((max - from) / step + 1e-9) * step : Number.POSITIVE_INFINITY
  return Number(Math.min(last, Math.max(min, from + Math.round((value - from) / step) * step)).toPrecision(12))
}

/** What a value is called in a line: texts as they are, everything else as JSON. */
export const valueText = (value: unknown): string => {
  const text =
    typeof value === 'string'
      ? value
      : typeof value === 'number'
        ? String(Number(value.toPrecision(6)))
        : (JSON.stringify(value) ?? '')
  return text.length > 60 ? `${text.slice(0, 59)}…` : text
}

/** `train.learningRate 0.02, train.optimizer adamw` */
export const valuesText = (values: Values): string =>
  Object.entries(values)
    .map(([name, value]) => `${name} ${valueText(value)}`)
    .join(', ')

/** Whether two trials have the same values. */
export const sameValues = (a: Values, b: Values): boolean => isDeepStrictEqual(a, b)
