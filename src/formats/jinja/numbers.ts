/** Filters of numbers. */
import { rounded } from './decimals.js'
import type { Filter } from './tests.js'
import { wholeOf } from './text.js'
import { Float, numberOf, TemplateError, typeName } from './values.js'

export const round: Filter = (_, value, args, named) => {
  const number = numberOf(value)
  if (number === undefined) throw new TemplateError(`round takes a number, not ${typeName(value)}`)
  const precision = wholeOf(named.get('precision') ?? args[0] ?? 0, 'round')
  const method = named.get('method') ?? args[1] ?? 'common'
  if (method !== 'ceil' && method !== 'floor') {
    const nearest = Math.sign(number) * rounded(Math.abs(number), precision)
    return value instanceof Float ? new Float(nearest) : nearest
  }
  const scale = 10 ** precision
  return new Float((method === 'ceil' ? Math.ceil(number * scale) : Math.floor(number * scale)) / scale)
}

export const toInt: Filter = (_, value, args, named) => {
  const otherwise = named.get('default') ?? args[0] ?? 0
  const number =
    typeof value === 'string'
      ? /^\s*[-+]?\d+(\.\d*)?\s*$/.test(value)
        ? Number(value)
        : Number.NaN
      : (numberOf(value) ?? Number.NaN)
  return Number.isFinite(number) ? Math.trunc(number) : otherwise
}

export const toFloat: Filter = (_, value, args, named) => {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : (numberOf(value) ?? Number.NaN)
  return Number.isNaN(number) ? (named.get('default') ?? args[0] ?? new Float(0)) : new Float(number)
}
