/**
 * Numbers as Python writes and rounds them: both take the exact value, and of one that lies in the middle between two the even one, where
 * JavaScript takes the larger.
 */

/** Digits behind the last of `digits` that tell a value in the middle from every other: the next number beside it differs within them. */
const further = 30
const most = 100

/** `%.{digits}f` of a number that is not negative. */
export function fixed(size: number, digits: number): string {
  if (size >= 1e21) return `${BigInt(size)}${digits > 0 ? `.${'0'.repeat(digits)}` : ''}`
  return even(size.toFixed(digits), size.toFixed(Math.min(most, digits + further)))
}

/** `%.{digits}e` of a number that is not negative. */
export function exponential(size: number, digits: number): string {
  const [larger = '', exponent = ''] = size.toExponential(digits).split('e')
  const [long = '', longExponent = ''] = size.toExponential(Math.min(most, digits + further)).split('e')
  // Of 9.5 the larger is 10, which is even.
  const mantissa = exponent === longExponent ? even(larger, long) : larger
  return `${mantissa}e${exponent.replace(/^([+-])(\d)$/, '$10$2')}`
}

/** @param long the same number with more digits @returns `larger`, or what stands in `long` where that is as near and even */
function even(larger: string, long: string): string {
  const rest = long.slice(larger.length).replace('.', '')
  const isOdd = Number(larger.at(-1)) % 2 === 1
  return isOdd && /^50*$/.test(rest) ? long.slice(0, larger.length) : larger
}

/** `round(number, digits)` of a number that is not negative. */
export function rounded(size: number, digits: number): number {
  if (digits >= 0) return size < 1e21 && digits <= most ? Number(fixed(size, digits)) : size
  const scale = 10 ** -digits
  const scaled = size / scale
  return (scaled % 1 === 0.5 ? 2 * Math.round(scaled / 2) : Math.round(scaled)) * scale
}
