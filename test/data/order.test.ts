import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { batchOrder } from '../../src/data/batches.js'
import { limitRecords, shuffle, splitRecords } from '../../src/data/split.js'
import { problem } from '../support/problem.js'

const range = (length: number) => Array.from({ length }, (_, i) => i)
const isSorted = (numbers: number[]) => numbers.every((number, i) => i === 0 || numbers[i - 1]! < number)

describe('shuffle', () => {
  test('is a permutation, the same for the same seed and stream', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.nat(), fc.nat(5), (items, seed, stream) => {
        const shuffled = shuffle(items, seed, stream)
        expect(shuffled).toEqual(shuffle(items, seed, stream))
        expect([...shuffled].sort((a, b) => a - b)).toEqual([...items].sort((a, b) => a - b))
      }),
    )
  })

  test('stays what it was: runs of earlier versions resume', () => {
    expect(shuffle(range(10), 13)).toMatchInlineSnapshot(`
      [
        3,
        0,
        6,
        8,
        5,
        7,
        9,
        4,
        2,
        1,
      ]
    `)
    expect(shuffle(range(10), 13, 3, 1)).toMatchInlineSnapshot(`
      [
        2,
        6,
        0,
        7,
        4,
        3,
        1,
        9,
        5,
        8,
      ]
    `)
  })

  test('near seeds and epochs put every item everywhere about as often', () => {
    const counts = Array.from({ length: 5 }, () => Array<number>(5).fill(0))
    for (let seed = 0; seed < 50; seed++)
      for (let epoch = 0; epoch < 40; epoch++)
        shuffle(range(5), seed, epoch).forEach((item, place) => void counts[item]![place]!++)
    // 2,000 draws, 400 expected a cell, standard deviation 18.
    for (const count of counts.flat()) expect(Math.abs(count - 400)).toBeLessThan(90)
  })
})

describe('limit and split', () => {
  test('a limit draws by seed and keeps the order of the file', () => {
    const drawn = limitRecords(range(100), 30, 7)
    expect(drawn).toHaveLength(30)
    expect(isSorted(drawn)).toBe(true)
    expect(drawn).toEqual(limitRecords(range(100), 30, 7))
    expect(drawn).not.toEqual(limitRecords(range(100), 30, 8))
    expect(limitRecords(range(3), 5, 7)).toEqual(range(3))
    expect(limitRecords(range(3), undefined, 7)).toEqual(range(3))
  })

  test('the parts are disjoint, cover the records and keep their order', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 200 }),
        fc.double({ min: 0.001, max: 0.4, noNaN: true }),
        fc.nat(),
        (rows, fraction, seed) => {
          const parts = splitRecords(range(rows), { dev: 1, test: fraction }, seed)
          expect(parts.dev).toHaveLength(1)
          expect(parts.test).toHaveLength(Math.max(1, Math.round(fraction * rows)))
          const all = [parts.train, parts.dev, parts.test]
          expect(all.every(isSorted)).toBe(true)
          expect(all.flat().sort((a, b) => a - b)).toEqual(range(rows))
        },
      ),
    )
  })

  test('without classes the rows are those of every version so far', () => {
    expect(splitRecords(range(20), { dev: 5, test: 0.15 }, 13)).toEqual({
      dev: [0, 3, 7, 14, 16],
      test: [6, 9, 11],
      train: [1, 2, 4, 5, 8, 10, 12, 13, 15, 17, 18, 19],
    })
    expect(limitRecords(range(20), 4, 7)).toEqual([0, 2, 8, 17])
  })

  test('with classes every part has its share of each, drawn by seed', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(sizes, fc.nat(), fc.double({ min: 0.1, max: 0.4, noNaN: true }), (classes, seed, share) => {
        const records = classes.flatMap((size, c) => Array.from({ length: size }, () => c))
        const rows = records.map((c, i) => ({ c, i }))
        fc.pre(rows.length > 4)
        const parts = splitRecords(rows, { dev: share, test: share }, seed, ({ c }) => String(c))
        expect(splitRecords(rows, { dev: share, test: share }, seed, ({ c }) => String(c))).toEqual(parts)
        const all = [parts.train, parts.dev, parts.test]
        expect(all.every(part => isSorted(part.map(({ i }) => i)))).toBe(true)
        expect(
          all
            .flat()
            .map(({ i }) => i)
            .sort((a, b) => a - b),
        ).toEqual(range(rows.length))
        for (const part of [parts.dev, parts.test])
          for (const [c, size] of classes.entries()) {
            const expected = (part.length * size) / rows.length
            expect(Math.abs(part.filter(row => row.c === c).length - expected)).toBeLessThan(1 + classes.length / 2)
          }
      }),
      { numRuns: 200, seed: 5 },
    )
    const draw = (seed: number) => splitRecords(range(100), { dev: 20 }, seed, i => String(i % 2)).dev
    expect(draw(1)).not.toEqual(draw(2))
    expect(draw(1).filter(i => i % 2 === 0)).toHaveLength(10)
  })

  test('a class of one row stands in the middle of the order, so that a small part is of the others', () => {
    for (let seed = 0; seed < 12; seed++)
      expect(splitRecords(['a', 'b', 'b', 'b'], { dev: 1 }, seed, record => record).dev).toEqual(['b'])
  })

  test('nothing asked for, nothing set aside', () => {
    expect(splitRecords(range(5), {}, 1)).toEqual({ train: range(5), dev: [], test: [] })
  })

  test('a split that leaves nothing', () => {
    expect(problem(() => splitRecords(range(10), { dev: 5, test: 0.5 }, 1))).toMatchObject({
      code: 'split-too-large',
      found: '5 dev and 5 test rows of 10',
    })
  })
})

describe('batches', () => {
  const options = fc.record({
    rows: fc.integer({ min: 1, max: 300 }),
    batchSize: fc.integer({ min: 1, max: 40 }),
    seed: fc.nat(),
    bucket: fc.boolean(),
  })
  const lengths = range(300).map(i => (i * 37) % 101)
  const order = (o: { rows: number; batchSize: number; seed: number; bucket?: boolean }) =>
    batchOrder({ ...o, lengths: lengths.slice(0, o.rows) })

  test('an epoch is full batches of distinct rows, as many as there are', () => {
    fc.assert(
      fc.property(options, o => {
        const batches = order(o)
        const size = Math.min(o.rows, o.batchSize)
        expect(batches.batchesPerEpoch).toBe(Math.max(1, Math.floor(o.rows / o.batchSize)))
        for (const epoch of [0, 1]) {
          const rows = range(batches.batchesPerEpoch).map(i => batches.at(epoch * batches.batchesPerEpoch + i))
          expect(rows.every(batch => batch.length === size)).toBe(true)
          expect(new Set(rows.flat()).size).toBe(size * batches.batchesPerEpoch)
          expect(rows.flat().every(row => row >= 0 && row < o.rows)).toBe(true)
        }
      }),
    )
  })

  test('a step has its batch whatever came before', () => {
    fc.assert(
      fc.property(options, fc.integer({ min: 0, max: 200 }), (o, step) => {
        const taken: number[][] = []
        for (const batch of order(o)) {
          taken.push(batch)
          if (taken.length > step) break
        }
        expect(order(o).at(step)).toEqual(taken[step])
      }),
      { numRuns: 50 },
    )
  })

  test('epochs and seeds differ', () => {
    const all = (seed: number, epoch: number) => order({ rows: 64, batchSize: 64, seed }).at(epoch)
    expect(all(1, 0)).not.toEqual(all(1, 1))
    expect(all(1, 0)).not.toEqual(all(2, 0))
    expect(all(1, 1)).not.toEqual(all(2, 0))
  })

  test('what is left over in one epoch comes up in others', () => {
    const batches = order({ rows: 20, batchSize: 16, seed: 3 })
    expect(new Set(range(10).flatMap(step => batches.at(step))).size).toBe(20)
  })

  test('buckets: lengths in a batch lie close, the batches are in random order', () => {
    const spread = (bucket: boolean) => {
      const batches = order({ rows: 300, batchSize: 10, seed: 5, bucket })
      const spreads = range(30).map(step => batches.at(step).map(row => lengths[row]!))
      return spreads.reduce((sum, batch) => sum + Math.max(...batch) - Math.min(...batch), 0) / 30
    }
    expect(spread(true)).toBeLessThan(spread(false) / 5)
    const batches = order({ rows: 300, batchSize: 10, seed: 5, bucket: true })
    expect(isSorted(range(30).map(step => lengths[batches.at(step)[0]!]!))).toBe(false)
  })

  test('a batch is the caller’s own', () => {
    const batches = order({ rows: 10, batchSize: 4, seed: 1 })
    const first = batches.at(0)
    first.length = 0
    expect(batches.at(0)).toHaveLength(4)
  })

  test('impossible sizes', () => {
    expect(() => batchOrder({ rows: 0, batchSize: 1, seed: 1 })).toThrow(RangeError)
    expect(() => batchOrder({ rows: 5, batchSize: 1.5, seed: 1 })).toThrow(RangeError)
    expect(() => batchOrder({ rows: 5, batchSize: 1, seed: 1, bucket: true })).toThrow(RangeError)
  })
})
