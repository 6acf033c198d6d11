import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { search } from '../../src/api/search.js'
import { multipliesBytes } from '../../src/program/byte-products.js'
import type { SearchEvent, SearchStepEvent } from '../../src/search/run/events.js'
import { temporaryFolder } from '../train/toy.js'
import { toySearch } from './toy.js'

vi.mock('../../src/program/byte-products.js', async original => {
  const actual = await original<typeof import('../../src/program/byte-products.js')>()
  return { multipliesBytes: vi.fn(actual.multipliesBytes) }
})

describe.runIf(await multipliesBytes())('in a search', () => {
  let folder: string
  let remove: () => void
  beforeEach(() => ({ folder, remove } = temporaryFolder()))
  afterEach(() => remove())

  const run = async (out: string, screening: number, exact: boolean) => {
    vi.mocked(multipliesBytes).mockResolvedValue(exact)
    const steps: SearchStepEvent[] = []
    const onEvent = (event: SearchEvent) => {
      if (event.event === 'step') steps.push(event)
    }
    const options = { type: 'gcg', vocabulary: 'ascii', searchWidth: 40, topk: 20, steps: 4, screening }
    await search(toySearch(folder, { out: join(folder, out), search: options }), { onEvent })
    return steps
  }

  test('goes nearly the way of the whole search by far fewer exact scores; and all of it elsewhere', async () => {
    const whole = await run('whole', 1, true)
    const screened = await run('screened', 4, true)
    for (const [i, { candidates }] of screened.entries()) {
      expect(candidates).toBeLessThanOrEqual(10)
      expect(whole[i]!.candidates).toBeGreaterThan(20)
    }
    expect(screened[0]!.objective).toBeLessThan(whole[0]!.objective * 1.05)
    const elsewhere = await run('elsewhere', 4, false)
    expect(elsewhere.map(({ ids }) => ids)).toEqual(whole.map(({ ids }) => ids))
  })
})
