import type { Dimensions, DimensionValues } from '../sizes.js'

/**
 * The sizes at which a function is traced. `base` are sizes to solve from: primes, which no arithmetic relates by chance, and one
 * probe of sizes with many divisors. `held` are at the ends of the ranges, where a branch that the others take alike shows itself: all
 * sizes at their lowest, all at their highest, each pair of dimensions at opposite ends (up to three dimensions: every corner), and all
 * alike, from 2 on, since 1 is a case of its own.
 */
export interface Probes {
  readonly base: readonly DimensionValues[]
  readonly held: readonly DimensionValues[]
}

/** Probes to solve from: a size is a polynomial of at most four terms. */
const BASE = 5
/** A range of so few sizes is probed at each of them. */
const FEW = 12
const PRIMES = primesBelow(400).slice(4)
/** Dimensions of which every corner is probed. */
const CORNERS = 3
/** Multiples of what a branch on a remainder might ask for; a range of more than a few sizes has one of the last. */
const DIVISIBLE = [360, 120, 60, 24, 12]

export function probeSizes(dimensions: Dimensions): Probes {
  const names = Object.keys(dimensions)
  // Two traces at least, even when nothing varies: a number drawn at random while tracing then differs between them.
  if (names.length === 0) return { base: [{}, {}], held: [] }
  const base = baseProbes(dimensions)
  const low = (name: string) => dimensions[name]![0]
  const high = (name: string) => dimensions[name]![1]
  const pick = (choose: (name: string, index: number) => number): DimensionValues =>
    Object.fromEntries(names.map((name, index) => [name, choose(name, index)]))
  const ends = cornersOf(names.length).map(isHigh => pick((name, index) => (isHigh[index] ? high(name) : low(name))))
  const alike = (size: number) => pick(name => Math.min(Math.max(low(name), size), high(name)))
  const equal = [alike(2), alike(Math.max(2, ...names.map(low)))]
  const key = (probe: DimensionValues) => Object.values(probe).join()
  const seen = new Set(base.map(key))
  const held = [...ends, ...(names.length <= CORNERS ? equal : equal.slice(1))].filter(
    probe => !seen.has(key(probe)) && seen.add(key(probe)),
  )
  return { base, held }
}

function baseProbes(dimensions: Dimensions): DimensionValues[] {
  const few = Object.values(dimensions).map(([low, high]) => (high - low < FEW ? high - low + 1 : 0))
  const count = Math.max(BASE, ...few)
  const probes: Record<string, number>[] = Array.from({ length: count }, () => ({}))
  const draw = sequence()
  const taken = new Set<string>()
  for (const [name, range] of Object.entries(dimensions)) {
    const choices = probeChoices(...range)
    const divisible = range[1] - range[0] < FEW ? undefined : multipleIn(...range)
    const column = () => {
      let left: number[] = []
      return probes.map((_, index) => {
        if (index === count - 1 && divisible) return divisible
        if (left.length === 0) left = [...choices]
        return left.splice(draw(left.length), 1)[0]!
      })
    }
    // Dimensions that had the same size at every probe could not be told from each other.
    let sizes = column()
    for (let attempt = 0; attempt < 50 && taken.has(sizes.join()); attempt++) sizes = column()
    taken.add(sizes.join())
    for (const [index, probe] of probes.entries()) probe[name] = sizes[index]!
  }
  return probes
}

/** A multiple of the most that has one there. */
const multipleIn = (low: number, high: number): number | undefined =>
  DIVISIBLE.map(by => by * Math.ceil(low / by)).find(size => size <= high)

/** Which dimensions are at their upper end: all corners of three, and of more so many that each pair is at opposite ends both ways. */
function cornersOf(count: number): boolean[][] {
  const dimensions = Array.from({ length: count }, (_, index) => index)
  if (count <= 3)
    return Array.from({ length: 2 ** count }, (_, corner) => dimensions.map(index => Boolean((corner >> index) & 1)))
  const bits = Math.ceil(Math.log2(count))
  const splits = Array.from({ length: bits }, (_, bit) => dimensions.map(index => Boolean((index >> bit) & 1)))
  return [
    dimensions.map(() => false),
    dimensions.map(() => true),
    ...splits.flatMap(split => [split, split.map(isHigh => !isHigh)]),
  ]
}

/** Sizes to choose from: primes; in a range with few, all of it or a part. */
function probeChoices(minimum: number, maximum: number): number[] {
  const primes = PRIMES.filter(prime => prime >= minimum && prime <= maximum)
  if (primes.length >= BASE) return primes
  // At a size of 1 TF.js takes other paths, so it is left out unless the others are too few to solve from.
  const first = minimum === 1 && maximum > BASE + 1 ? 2 : minimum
  const count = Math.min(maximum - first + 1, 40)
  return Array.from({ length: count }, (_, i) => first + Math.floor((i * (maximum - first)) / Math.max(1, count - 1)))
}

/** Numbers below a bound, by chance but always the same (Park and Miller's generator). */
function sequence(): (bound: number) => number {
  let state = 1
  return bound => {
    state = (state * 48271) % 0x7fffffff
    return state % bound
  }
}

function primesBelow(limit: number): number[] {
  const found: number[] = []
  for (let n = 2; n < limit; n++) if (found.every(prime => n % prime !== 0)) found.push(n)
  return found
}
