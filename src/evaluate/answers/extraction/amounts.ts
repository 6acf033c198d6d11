import { normalNumber, number } from './numbers.js'
import type { Span } from './plain-text.js'
import { type Match, spanOf } from './rule.js'

/** Amounts as sentences write them: `3.5 million`, `1 1/2`, `\frac{1}{2}`, `forty-two`, `10 / 4`. Texts have single spaces (`plainText`). */

const scales: Readonly<Record<string, number>> = { thousand: 3, million: 6, billion: 9, k: 3 }
const numbers = new RegExp(`(${number})(?: ?(thousand|million|billion)\\b|(k)\\b)?`, 'dgui')

/** All numbers of a span in their normal form. */
export function numbersIn(text: string, { start, end }: Span): Match[] {
  return [...text.slice(start, end).matchAll(numbers)].map(found => {
    const span = spanOf(found, 0)
    const scale = scales[(found[2] ?? found[3] ?? '').toLowerCase()] ?? 0
    return { value: scaled(normalNumber(found[1]!)!, scale), start: start + span.start, end: start + span.end }
  })
}

/** A decimal number times ten to a power, digit by digit. */
function scaled(value: string, power: number): string {
  const [whole, fraction = ''] = value.split('.')
  const digits = fraction.padEnd(power, '0')
  return normalNumber(`${whole}${digits.slice(0, power)}.${digits.slice(power)}0`)!
}

/** An operator between two numbers. */
const operator = /^ ?([-+*/×÷x−])[ ($€£]*$/i

/** The numbers that stand together with operators between them, from the first on. */
export function runOf(text: string, all: readonly Match[]): readonly Match[] {
  const end = all.findIndex((found, i) => i > 0 && !operator.test(text.slice(all[i - 1]!.end, found.start)))
  return end === -1 ? all : all.slice(0, end)
}

/** What a calculation without its result comes to, products first; its last number where that is no number. */
export function computed(text: string, run: readonly Match[]): Match {
  const [first] = run as [Match]
  const last = run.at(-1)!
  const terms: number[] = [Number(first.value)]
  for (const [i, next] of run.slice(1).entries()) {
    const value = Number(next.value)
    const [, sign] = operator.exec(text.slice(run[i]!.end, next.start))!
    if (sign === '+') terms.push(value)
    else if (sign === '-' || sign === '−') terms.push(-value)
    else if (sign === '/' || sign === '÷') terms.push(terms.pop()! / value)
    else terms.push(terms.pop()! * value)
  }
  const sum = terms.reduce((a, b) => a + b)
  return Number.isFinite(sum) ? { value: decimal(sum), start: first.start, end: last.end } : last
}

/** A finite number in its normal form. */
const decimal = (value: number): string => normalNumber(Number.isInteger(value) ? BigInt(value).toString() : value.toFixed(9))!

const fractions = [
  /\\d?frac\{(?<top>\d{1,9})\}\{(?<bottom>\d{1,9})\}/,
  /(?<![\d./])(?:(?<whole>\d{1,9})\s+)?(?<top>\d{1,9})\/(?<bottom>\d{1,9})(?![\d/]|\.\d)/,
]

/** `1/2`, `1 1/2`, `\frac{1}{2}`: a fraction that a span without an equation holds, as a decimal number. */
export function fractionIn(text: string, { start, end }: Span): Match | undefined {
  const part = text.slice(start, end)
  if (part.includes('=')) return undefined
  for (const pattern of fractions) {
    const found = pattern.exec(part)
    if (found === null) continue
    const { whole = '0', top, bottom } = found.groups!
    const value = Number(whole) + Number(top) / Number(bottom)
    if (!Number.isFinite(value)) return undefined
    return { value: decimal(value), start: start + found.index, end: start + found.index + found[0].length }
  }
  return undefined
}

const ones =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'
const tens = 'twenty thirty forty fifty sixty seventy eighty ninety'
const units = new Map(ones.split(' ').map((name, value) => [name, value]))
for (const [i, name] of tens.split(' ').entries()) units.set(name, 20 + 10 * i)
const powers = new Map([
  ['thousand', 1000],
  ['million', 1_000_000],
])
const names = [...units.keys(), 'hundred', ...powers.keys()].join('|')
const words = new RegExp(`(?<![\\p{L}-])(?:${names})(?:(?: and |[ -])(?:${names}))*(?!\\p{L})`, 'giu')

/** The last number that a span writes in words. */
export function inWords(text: string, { start, end }: Span): Match | undefined {
  const found = [...text.slice(start, end).matchAll(words)].at(-1)
  if (found === undefined) return undefined
  let [total, part] = [0, 0]
  for (const name of found[0].toLowerCase().split(/[ -]/)) {
    const power = powers.get(name)
    if (power !== undefined) [total, part] = [total + Math.max(1, part) * power, 0]
    else if (name === 'hundred') part = Math.max(1, part) * 100
    else part += units.get(name) ?? 0
  }
  return { value: String(total + part), start: start + found.index, end: start + found.index + found[0].length }
}
