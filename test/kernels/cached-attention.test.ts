import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { type CacheSection, cachedAttention, EMPTY_POSITION, BLOCK_LENGTH as W } from '../../kernels/attention/cached.js'
import type { tf } from '../../kernels/tf.js'
import type { InputSpec } from '../../src/program/program.js'
import { random, type Values } from '../support/numbers.js'
import { Compared } from '../support/programs.js'

const D = 8
const int32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'int32' })
const float32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'float32' })
const ints = (data: readonly number[], ...shape: number[]): Values => ({ data: Int32Array.from(data), shape })
const SIZE: readonly [number, number] = [1, 64]

/** One program for each number of heads, window and kind of cache. */
const programs = new Map<string, Compared>()
afterAll(() => Promise.all([...programs.values()].map(program => program.dispose())))

function programOf(heads: number, keyHeads: number, window: number, sharing: boolean, softCap: number): Compared {
  const key = [heads, keyHeads, window, sharing, softCap].join()
  const known = programs.get(key)
  if (known) return known
  const made = new Compared({
    name: `cached attention ${key}`,
    inputs: {
      q: float32(heads, 'R', D),
      k: float32(keyHeads, 'R', D),
      v: float32(keyHeads, 'R', D),
      firstPositions: int32('G'),
      queryIndex: int32('G', 'T'),
      querySlot: int32('R'),
      keys: float32('N', keyHeads, D, W),
      values: float32('N', keyHeads, W, D),
      keyPositions: int32('N', W),
      users: int32('N'),
      sequenceBlocks: int32('G', 'J'),
      ...(sharing
        ? {
            sharedKeys: float32('M', keyHeads, D, W),
            sharedValues: float32('M', keyHeads, W, D),
            sharedKeyPositions: int32('M', W),
            sharedUsers: int32('M', 'U'),
            sharedUserPositions: int32('M', 'U'),
            sharedSequenceBlocks: int32('G', 'K'),
          }
        : {}),
    },
    dims: { R: SIZE, G: SIZE, T: SIZE, N: SIZE, J: SIZE, ...(sharing ? { M: SIZE, U: SIZE, K: SIZE } : {}) },
    compute: ({ q, k, v, ...rest }) => {
      const of = (name: string) => rest[name] as tf.Tensor
      const own: CacheSection = {
        keys: of('keys'),
        values: of('values'),
        keyPositions: of('keyPositions'),
        users: of('users'),
        sequenceBlocks: of('sequenceBlocks'),
      }
      const shared = sharing && {
        keys: of('sharedKeys'),
        values: of('sharedValues'),
        keyPositions: of('sharedKeyPositions'),
        users: of('sharedUsers'),
        userPositions: of('sharedUserPositions'),
        sequenceBlocks: of('sharedSequenceBlocks'),
      }
      const tokens = { firstPositions: of('firstPositions'), queryIndex: of('queryIndex'), querySlot: of('querySlot') }
      return cachedAttention(q!, k!, v!, tokens, { own, ...(shared ? { shared } : {}) }, { scale: D ** -0.5, window, softCap })
    },
    differentiable: [],
  })
  programs.set(key, made)
  return made
}

interface Row {
  /** Cached tokens of its own. */
  readonly length: number
  /** Whether a shared beginning stands before them. */
  readonly sharing: boolean
  readonly newTokens: number
}

/** A cache in which sequences have blocks of their own, in no order, and a shared beginning of `prefix` tokens where they take part. */
function cacheOf(rows: readonly Row[], prefix: number, holes: number, keyHeads: number, seed: number) {
  const positionsOf = (start: number, count: number) =>
    Array.from({ length: W }, (_, i) => (i < count ? start + i : EMPTY_POSITION))
  const blocks: { user: number; positions: number[] }[] = []
  const lengths = rows.map(({ length, sharing }) => length + (sharing ? prefix : 0))
  for (const [user, { length, sharing }] of rows.entries()) {
    const first = sharing ? prefix : 0
    for (let at = 0; at < length; at += W) blocks.push({ user, positions: positionsOf(first + at, Math.min(W, length - at)) })
  }
  for (let i = 0; i < holes; i++) blocks.push({ user: 0, positions: positionsOf(0, 0) })
  // An order that has nothing to do with the rows'.
  blocks.sort((a, b) => ((a.positions[0]! * 31 + a.user * 17 + seed) % 13) - ((b.positions[0]! * 31 + b.user * 17 + seed) % 13))
  const table = (places: number[][], none: number) => {
    const width = Math.max(1, ...places.map(list => list.length))
    return ints(
      places.flatMap(list => Array.from({ length: width }, (_, i) => list[i] ?? list[0] ?? none)),
      places.length,
      width,
    )
  }
  const own = rows.map((_, row) =>
    blocks.flatMap(({ user, positions }, i) => (user === row && positions[0] !== EMPTY_POSITION ? [i] : [])),
  )
  const floats = (offset: number, ...shape: number[]) => random(seed + offset, shape)
  const users = rows.flatMap(({ sharing }, row) => (sharing ? [row] : []))
  const width = users.length + 1
  const count = Math.ceil(prefix / W)
  // The last block is nobody's: rows without a shared beginning name it.
  const shared = Array.from({ length: count + 1 }, (_, i) => positionsOf(i * W, Math.max(0, Math.min(W, prefix - i * W))))
  const places = rows.map((_, row) => {
    const user = users.indexOf(row)
    return user < 0 ? [] : Array.from({ length: count }, (_, i) => i * width + user)
  })
  return {
    lengths,
    own: {
      keys: floats(1, blocks.length, keyHeads, D, W),
      values: floats(2, blocks.length, keyHeads, W, D),
      keyPositions: ints(blocks.flatMap(({ positions }) => positions), blocks.length, W),
      users: ints(blocks.map(({ user }) => user), blocks.length),
      sequenceBlocks: table(own, 0),
    },
    shared: {
      sharedKeys: floats(3, count + 1, keyHeads, D, W),
      sharedValues: floats(4, count + 1, keyHeads, W, D),
      sharedKeyPositions: ints(shared.flat(), count + 1, W),
      sharedUsers: ints(shared.flatMap(() => [...users, 0]), count + 1, width),
      sharedUserPositions: ints(shared.flatMap((_, i) => (i < count ? [...users.map(row => lengths[row]!), -1] : [...users.map(() => -1), -1])), count + 1, width),
      sharedSequenceBlocks: table(places, count * width),
    },
  } // biome-ignore format: the tensors read as a table
}

/** Rows of new tokens in no order. Behind a sequence's last one its places name any row. */
function newTokens(sequences: readonly Row[], firstPositions: readonly number[], seed: number) {
  const length = Math.max(...sequences.map(({ newTokens }) => newTokens))
  const slots = sequences.flatMap(({ newTokens }, i) => Array.from({ length: newTokens }, (_, j) => i * length + j))
  slots.sort((a, b) => ((a * 31 + seed) % 7) - ((b * 31 + seed) % 7))
  const index = Array.from({ length: sequences.length * length }, (_, slot) => Math.max(0, slots.indexOf(slot)))
  return {
    rows: slots.length,
    tokens: {
      firstPositions: ints(firstPositions, sequences.length),
      queryIndex: ints(index, sequences.length, length),
      querySlot: ints(slots, slots.length),
    },
  }
}

const arrays = (name: string, rows: number, heads: number, seed: number) => random(seed + name.charCodeAt(0), [heads, rows, D])

describe('blockwise attention over a cache equals attention over all keys', () => {
  const row = { length: fc.integer({ min: 1, max: 90 }), sharing: fc.boolean(), newTokens: fc.integer({ min: 1, max: 4 }) }
  const rows = fc.array(fc.record(row), { minLength: 1, maxLength: 5 })
  test.each([
    [4, 2, 0, false, 0],
    [3, 1, 20, false, 1.5],
    [2, 2, 0, false, 0],
    [4, 2, 0, true, 1.5],
    [3, 1, 20, true, 0],
  ] as const)('%i heads over %i, window %i, shared blocks: %s, cap %d', async (heads, keyHeads, window, sharing, softCap) => {
    await fc.assert(
      fc.asyncProperty(rows, fc.integer({ min: 1, max: 80 }), fc.nat(2), fc.nat(1000), async (list, prefix, holes, seed) => {
        const taken = sharing ? list : list.map(row => ({ ...row, sharing: false }))
        const { lengths, own, shared } = cacheOf(taken, prefix, holes, keyHeads, seed)
        const { rows, tokens } = newTokens(taken, lengths, seed)
        const inputs = {
          q: arrays('q', rows, heads, seed),
          k: arrays('k', rows, keyHeads, seed),
          v: arrays('v', rows, keyHeads, seed),
          ...tokens,
          ...own,
          ...(sharing ? shared : {}),
        }
        expect(await programOf(heads, keyHeads, window, sharing, softCap).disagreement(inputs)).toBeLessThan(1e-5)
      }),
      { numRuns: 25 },
    )
  })
})
