import { describe, expect, test } from 'vitest'
import { targets } from '../../scripts/fuzz/index.js'
import { fuzz } from '../../scripts/fuzz/run.js'

describe('a thousand changed files of each kind', () => {
  test.each(targets.map(target => [target.name, target] as const))(
    '%s: each is read or refused, in little time and memory',
    async (_, target) => {
      expect(await fuzz(target, { count: 1000, seed: 7 })).toEqual([])
    },
  )
})

describe('the fuzzer itself', () => {
  const reader = (name: string, read: () => unknown) => ({ name, prepare: async () => async () => read() })

  test('sees an error that is not typed, and a case that takes too long', async () => {
    const broken = await fuzz(
      reader('broken', () => {
        throw new TypeError('what?')
      }),
      { count: 2, seed: 1, first: 5 },
    )
    expect(broken.map(({ case: number, what }) => [number, what.split('\n')[0]])).toEqual([
      [5, 'TypeError: what?'],
      [6, 'TypeError: what?'],
    ])
    const work = () => {
      let sum = 0
      for (let i = 0; i < 2e8; i++) sum += i % 3
      return sum
    }
    const slow = await fuzz(reader('slow', work), { count: 1, seed: 1, milliseconds: 20 })
    expect(slow[0]?.what).toMatch(/^took \d+ ms$/)
    expect(await fuzz(reader('quick', Date.now), { count: 10, seed: 1 })).toEqual([])
  })
})
