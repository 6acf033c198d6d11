/** To the nearest whole number, of two equally near ones the even one: as Python's `round` does, and `Math.round` does not. */
export function roundHalfEven(value: number): number {
  // 100 x 0.645 is a little more than 64.5 in floating point, and is meant to be 64.5.
  const near = Number(value.toPrecision(12))
  const floor = Math.floor(near)
  if (near - floor !== 0.5) return Math.round(near)
  return floor % 2 === 0 ? floor : floor + 1
}
