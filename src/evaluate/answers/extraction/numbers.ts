import { type ExtractionRule, pick, spanOf, type Which } from './rule.js'

/** Numbers as texts write them: how they look, their normal form, and the first or last of a text. */

const digits = String.raw`(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)`
// A minus between two operands is an operator, and digits within a word or a version are no number.
export const number = String.raw`(?:(?<![\p{L}\p{N}_)\]])[-−])?\$?(?<![\p{L}\p{N}_]|\d\.)${digits}`

/**
 * A number in its normal form, digits kept as they are: without `$`, commas, spaces, a plus, a trailing period, leading zeros
 * and zeros at the end of the fraction (`$1,450.00.` is `1450`, `-0` is `0`). Undefined for what is no number.
 */
export function normalNumber(text: string): string | undefined {
  const plain = text
    .replaceAll(/[$,\s]/g, '')
    .replace(/^−/, '-')
    .replace(/\.$/, '')
  const [, minus, whole, fraction] = /^([-+]?)(\d*)(?:\.(\d+))?$/.exec(plain) ?? []
  if (minus === undefined || (whole === '' && fraction === undefined)) return undefined
  const kept = fraction?.replace(/0+$/, '')
  const value = (whole!.replace(/^0+(?=\d)/, '') || '0') + (kept ? `.${kept}` : '')
  return minus === '-' && value !== '0' ? `-${value}` : value
}

export const numberRule = (name: string, which: Which): ExtractionRule => {
  const pattern = new RegExp(`(${number})`, 'dgu')
  return {
    name,
    description: `the ${which} number`,
    find: text =>
      pick(text, pattern, which, found => {
        const value = normalNumber(found[1]!)
        return value === undefined ? undefined : { value, ...spanOf(found, 1) }
      }),
  }
}
