/** Changes by chance: of bytes, of texts, and of JSON. */
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'

export class Chance {
  readonly #generator: RandomGenerator

  constructor(generator: RandomGenerator) {
    this.#generator = generator
  }

  /** From 0 to `count` - 1. */
  below(count: number): number {
    return uniformInt(this.#generator, 0, count - 1)
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }

  /** Mostly few. */
  few(): number {
    return this.pick([1, 1, 1, 2, 3, 5])
  }
}

const absurd = [
  0n,
  1n,
  0x7fn,
  0xffn,
  0xffffn,
  2n ** 24n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 40n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
]

/** `others`: files to take pieces from. */
export function mutateBytes(chance: Chance, bytes: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  let out = Buffer.from(bytes)
  for (let i = chance.few(); i > 0 && out.length > 0; i--) {
    const at = chance.below(out.length)
    const length = Math.min(out.length - at, 1 + chance.below(chance.pick([2, 16, 256])))
    switch (chance.below(8)) {
      case 0:
        out[at]! ^= 1 << chance.below(8)
        break
      case 1:
        out[at] = chance.below(256)
        break
      case 2: {
        const number = Buffer.alloc(8)
        number.writeBigUInt64LE(chance.pick(absurd))
        number.copy(out, at, 0, Math.min(chance.pick([1, 2, 4, 8]), out.length - at))
        break
      }
      case 3:
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + length)])
        break
      case 4:
        out = Buffer.concat([out.subarray(0, at + length), out.subarray(at)])
        break
      case 5:
        out = out.subarray(0, at)
        break
      case 6: {
        const other = chance.pick(others)
        const from = chance.below(Math.max(1, other.length))
        out = Buffer.concat([
          out.subarray(0, at),
          other.subarray(from, from + length),
          out.subarray(at + chance.below(length + 1)),
        ])
        break
      }
      default:
        out.fill(chance.pick([0, 0xff, 0x20, 0x22, 0x7b]), at, at + length)
    }
  }
  return out
}

/** Pieces of `words` are put in, taken out and doubled. */
export function mutateText(chance: Chance, text: string, words: readonly string[]): string {
  let out = text
  for (let i = chance.few(); i > 0; i--) {
    const at = chance.below(out.length + 1)
    const end = Math.min(out.length, at + chance.below(chance.pick([2, 8, 64])))
    switch (chance.below(5)) {
      case 0:
        out = out.slice(0, at) + chance.pick(words) + out.slice(at)
        break
      case 1:
        out = out.slice(0, at) + out.slice(end)
        break
      case 2:
        out = out.slice(0, end) + out.slice(at, end).repeat(chance.pick([1, 2, 50])) + out.slice(end)
        break
      case 3:
        out = out.slice(0, at) + chance.pick(words) + out.slice(end)
        break
      default:
        out =
          out.slice(0, at) +
          String.fromCodePoint(chance.pick([0, 0x22, 0x5c, 0x7b, 0x85, 0x2028, 0xd800, 0xfeff, 0x1f600])) +
          out.slice(at)
    }
  }
  return out
}

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** Changes the value in place, at places chosen by chance. `keys`: names that fields may get. */
export function mutateJson(chance: Chance, root: Json, keys: readonly string[]): Json {
  const holder: Json[] = [root]
  for (let i = chance.few(); i > 0; i--) {
    const [parent, key] = place(chance, holder)
    const value = get(parent, key)
    switch (chance.below(6)) {
      case 0:
        if (parent !== holder) remove(parent, key)
        break
      case 1:
        // A copy: it may hold this very place.
        set(parent, key, copy(get(...place(chance, holder))))
        break
      case 2:
        if (Array.isArray(value) && value.length > 0) value.push(...value.slice(0, 50))
        else if (isObject(value)) value[chance.pick(keys)] = odd(chance)
        else set(parent, key, odd(chance))
        break
      case 3:
        if (typeof value === 'string') set(parent, key, mutateText(chance, value, keys))
        else if (typeof value === 'number') set(parent, key, chance.pick([-value, value + 1, value * 1e9, value / 3]))
        else if (typeof value === 'boolean') set(parent, key, !value)
        else set(parent, key, odd(chance))
        break
      default:
        set(parent, key, odd(chance))
    }
  }
  return holder[0] ?? null
}

function odd(chance: Chance): Json {
  const deep = (depth: number): Json => (depth === 0 ? 1 : [deep(depth - 1)])
  return chance.pick<() => Json>([
    () => null,
    () => true,
    () => 0,
    () => -1,
    () => 0.5,
    () => chance.pick([1e9, 2 ** 31, 2 ** 53, 1e308, -1e308, 1e-320]),
    () => '',
    () => 'a'.repeat(chance.pick([1, 100, 10_000])),
    () => chance.pick(['\u0000', '__proto__', '\ud800', '(', '(a*)*b', 'toString', '-00001-of-00002']),
    () => [],
    () => ({}),
    () => deep(chance.pick([3, 50, 500])),
    () => ({ __proto__: null, constructor: 1, length: 1e9 }) as unknown as Json,
  ])()
}

type Parent = Json[] | { [key: string]: Json }

function place(chance: Chance, holder: Json[]): [Parent, string | number] {
  let parent: Parent = holder
  let key: string | number = 0
  for (let depth = chance.below(6); depth > 0; depth--) {
    const value: Json = get(parent, key)
    if (!isObject(value) && !Array.isArray(value)) break
    const names = Array.isArray(value) ? value.length : Object.keys(value)
    if (names === 0 || (Array.isArray(names) && names.length === 0)) break
    parent = value
    key = typeof names === 'number' ? chance.below(names) : chance.pick(names)
  }
  return [parent, key]
}

function get(parent: Parent, key: string | number): Json {
  return (Array.isArray(parent) ? parent[Number(key)] : parent[key]) ?? null
}

function set(parent: Parent, key: string | number, value: Json): void {
  if (Array.isArray(parent)) parent[Number(key)] = value
  else parent[key] = value
}

function remove(parent: Parent, key: string | number): void {
  if (Array.isArray(parent)) parent.splice(Number(key), 1)
  else delete parent[key]
}

function copy(value: Json): Json {
  if (Array.isArray(value)) return value.map(copy)
  return isObject(value) ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copy(item)])) : value
}

function isObject(value: Json): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
