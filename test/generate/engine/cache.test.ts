import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BLOCK_LENGTH, EMPTY_POSITION } from '../../../kernels/attention/cached.js'
import { type BlockOwner, BlockStore, type NewKeyValues } from '../../../src/generate/engine/block-store.js'
import { PrefixCache, type PrefixNode, rowsOf } from '../../../src/generate/engine/prefix-cache.js'

const SHAPE = { numLayers: 2, numKeyValueHeads: 2, headDim: 4 }
const NUMBERS = 2 * SHAPE.numLayers * SHAPE.numKeyValueHeads

/** Keys and values of some positions, each number of which tells whose it is. */
const keyValues = (first: number, rows: number): NewKeyValues => ({
  rows,
  data: Float32Array.from({ length: NUMBERS * rows * SHAPE.headDim }, (_, i) => {
    const row = Math.floor(i / SHAPE.headDim) % rows
    return (first + row) * 100 + Math.floor(i / (SHAPE.headDim * rows)) + (i % SHAPE.headDim) / 10
  }),
})

/** What an owner's blocks hold, as it was written. */
function contents(store: BlockStore, owner: BlockOwner, rows: number): NewKeyValues['data'] {
  const arrays = () =>
    Array.from({ length: SHAPE.numLayers }, () => new Float32Array(SHAPE.numKeyValueHeads * rows * SHAPE.headDim))
  const [keys, values] = [arrays(), arrays()]
  for (const [i, block] of owner.blocks.entries())
    store.read(block, Math.min(BLOCK_LENGTH, rows - i * BLOCK_LENGTH), keys, values, rows, i * BLOCK_LENGTH)
  return Float32Array.from(keys.flatMap((layer, i) => [...layer, ...values[i]!]))
}

test('owners find what they wrote, whoever comes and goes; what is left stands together', () => {
  const action = fc.oneof(
    fc.nat(70).map(rows => ({ rows: rows + 1 })),
    fc.nat(20).map(leave => ({ leave })),
  )
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), actions => {
      const store = new BlockStore(SHAPE)
      const owners: { blocks: number[]; first: number; rows: number }[] = []
      let count = 0
      for (const act of actions) {
        if ('leave' in act) {
          const [owner] = owners.splice(act.leave % Math.max(1, owners.length), 1)
          if (owner) store.release(owner)
        } else {
          const owner = { blocks: [], first: count, rows: act.rows }
          const source = keyValues(count, act.rows)
          // In stretches that end within a block as well as at its end.
          for (let row = 0; row < act.rows; ) {
            const place = row % BLOCK_LENGTH
            if (place === 0) store.acquire(owner)
            const rows = Array.from(
              { length: Math.min(act.rows - row, place === 0 ? 20 : BLOCK_LENGTH - place) },
              (_, i) => row + i,
            )
            const at = rows.map(i => ({ position: count + i, virtual: i === 0 }))
            store.write((owner.blocks as number[]).at(-1)!, place, at, source, rows)
            row += rows.length
          }
          count += act.rows
          owners.push(owner)
        }
        for (const owner of owners) expect(contents(store, owner, owner.rows)).toEqual(keyValues(owner.first, owner.rows).data)
        const held = owners.flatMap(({ blocks }) => blocks)
        expect(new Set(held).size).toBe(held.length)
        expect(store.used).toBe(held.length)
        expect(store.length - store.used).toBeLessThanOrEqual(Math.max(4, store.length / 8))
        // A place that holds nothing is never seen.
        const filled = new Set(owners.flatMap(({ first, rows }) => Array.from({ length: rows }, (_, i) => first + i)))
        const seen = [...store.positions.subarray(0, store.length * BLOCK_LENGTH)].filter(position => position !== EMPTY_POSITION)
        expect(new Set(seen)).toEqual(filled)
        expect(seen.length).toBe(filled.size)
      }
    }),
    { numRuns: 60 },
  )
})

test('rows are taken out of what a program returns', () => {
  expect(rowsOf(keyValues(0, 7), SHAPE.headDim, [2, 3, 6]).data).toEqual(
    Float32Array.from(
      Array.from({ length: NUMBERS }, (_, list) =>
        [2, 3, 6].flatMap(row => [
          ...keyValues(0, 7).data.subarray((list * 7 + row) * SHAPE.headDim, (list * 7 + row + 1) * SHAPE.headDim),
        ]),
      ).flat(),
    ),
  )
})

describe('beginnings', () => {
  const part = keyValues(0, BLOCK_LENGTH)
  const positions = Array.from({ length: BLOCK_LENGTH }, (_, position) => ({ position, virtual: false }))
  const text = (start: number, parts: number) =>
    Array.from({ length: parts * BLOCK_LENGTH + 1 }, (_, i) => (i < BLOCK_LENGTH ? i : start + i))
  /** Keeps every whole part of a text. */
  const keep = (cache: PrefixCache, ids: readonly number[]): PrefixNode => {
    let node = cache.root('')
    for (let next = cache.see(node, ids); next; next = cache.see(node, ids)) {
      cache.hold(next)
      cache.keep(next, positions, part)
      cache.release(next)
      node = next
    }
    return node
  }

  test('are found as far as they are alike, one token left over', () => {
    const cache = new PrefixCache(1e9)
    keep(cache, text(100, 3))
    expect(cache.find(cache.root(''), text(100, 3)).tokens).toBe(3 * BLOCK_LENGTH)
    expect(cache.find(cache.root(''), text(100, 3).slice(0, -1)).tokens).toBe(2 * BLOCK_LENGTH)
    expect(cache.find(cache.root(''), text(500, 3)).tokens).toBe(BLOCK_LENGTH)
    expect(cache.find(cache.root('another prompt'), text(100, 3)).tokens).toBe(0)
  })

  test('are forgotten in order of last use, from their ends, and not while they are in use', () => {
    const bytes = part.data.byteLength
    const cache = new PrefixCache(6 * bytes)
    const held = keep(cache, text(1000, 2))
    cache.hold(held)
    for (let i = 2; i < 40; i++) {
      keep(cache, text(1000 * i, 3))
      expect(cache.size.bytes).toBeLessThanOrEqual(6 * bytes)
      expect(cache.find(cache.root(''), text(1000 * i, 3)).tokens).toBe(3 * BLOCK_LENGTH)
    }
    expect(cache.find(cache.root(''), text(1000, 2))).toBe(held)
    expect(cache.find(cache.root(''), text(5000, 3)).tokens).toBe(BLOCK_LENGTH)
    cache.release(held)
    for (let i = 50; i < 60; i++) keep(cache, text(1000 * i, 3))
    expect(cache.find(cache.root(''), text(1000, 2)).tokens).toBe(BLOCK_LENGTH)
  })

  test('that were seen once are remembered by their ids alone, and not without end', () => {
    const cache = new PrefixCache(1e9)
    for (let i = 0; i < 20_000; i++) cache.see(cache.root(''), [...text(0, 1).map(id => id + i)])
    expect(cache.size.parts).toBeLessThanOrEqual(8192)
    expect(cache.size.bytes).toBe(0)
  })
})
