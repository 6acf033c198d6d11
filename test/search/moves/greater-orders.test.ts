import { describe, expect, test } from 'vitest'
import { greater } from '../../../src/search/methods/greater.js'
import { problemOf } from '../../support/problem.js'
import { COLON, fresh, keys, options, PERIOD, start, steepest, worldOf } from '../support/greater-world.js'

describe('held reasoning', () => {
  const held = { shortlist: 'held-reasoning', mu: 2, prefilter: 6, topk: 9 }

  test('chooses among proposals that the gradient and chance chose', async () => {
    const { context, costs, held: asked, scored, lossOf } = worldOf({ rows: 20 })
    await greater.step(fresh, options(held), context)
    expect(asked).toHaveLength(1)
    const [{ prompts, rows, under }] = asked as [(typeof asked)[number]]
    expect([rows, under]).toEqual([12, start])
    expect(new Set(keys(prompts)).size).toBe(6)
    const steep = steepest(
      costs,
      [0, 1, 2],
      Array.from({ length: 9 }, (_, i) => 21 + i),
    ).slice(0, 3)
    expect(keys(prompts.slice(0, 3))).toEqual(keys(steep.map(({ position, to }) => start.with(position, to))))
    const order = [...prompts].sort((a, b) => lossOf(b) - lossOf(a))
    expect(keys(scored[1]!)).toEqual(keys(order.slice(0, 2)))
  })

  test('twelve are scored so by default; none that was tried', async () => {
    const { context, held: asked, costs } = worldOf()
    const tried = steepest(
      costs,
      [0, 1, 2],
      Array.from({ length: 9 }, (_, i) => 21 + i),
    )
      .slice(0, 15)
      .map(({ position, to }) => start.with(position, to).join(' '))
    await greater.step({ ...fresh, tried }, options({ ...held, prefilter: undefined }), context)
    expect(asked[0]!.prompts).toHaveLength(12)
    for (const key of keys(asked[0]!.prompts)) expect(tried).not.toContain(key)
  })

  test('no proposal is scored twice, however many are', async () => {
    const { context, held: asked } = worldOf()
    await greater.step(fresh, options({ ...held, prefilter: 27 }), context)
    expect(new Set(keys(asked[0]!.prompts)).size).toBe(27)
    expect(asked[0]!.prompts).toHaveLength(27)
  })

  test('chance chooses others in each step, and not the next by the gradient', async () => {
    const drawn = new Set<string>()
    for (const step of [0, 1, 2, 3]) {
      const { context, held: asked } = worldOf({ step })
      await greater.step(fresh, options(held), context)
      drawn.add(keys(asked[0]!.prompts.slice(3)).join())
    }
    expect(drawn.size).toBe(4)
  })

  test('nothing is scored so where it would choose all', async () => {
    const { context, held: asked, scored } = worldOf()
    await greater.step(fresh, options({ ...held, mu: 6 }), context)
    expect(asked).toEqual([])
    expect(scored[1]).toHaveLength(6)
  })
})

describe('from left to right', () => {
  const paper = { preset: 'paper', topk: 2, mu: 2 }
  const at = async (
    position: number,
    given: Parameters<typeof worldOf>[0] = {},
    own: Record<string, unknown> = {},
    ids = start,
  ) => {
    const world = worldOf(given)
    const outcome = await greater.step({ ...fresh, ids, position }, options({ ...paper, ...own }), world.context)
    return { ...world, ...outcome, places: [...new Set(outcome.candidates.map(({ swaps }) => swaps[0]!.position))] }
  }

  test('positions take turns, and what was tried is forgotten', async () => {
    for (const [position, next] of [
      [0, 1],
      [1, 2],
      [2, 0],
      [4, 2],
    ] as const) {
      const { places, state } = await at(position)
      expect(places).toEqual([position % 3])
      expect(state.position).toBe(next)
      expect(state.tried).toEqual([])
    }
    expect((await at(0, { frozen: [0] })).places).toEqual([1])
    expect((await greater.step({ ...fresh, position: 0 }, options(paper), worldOf().context)).state.tried).toEqual([])
  })

  test('what was tried before may be proposed again', async () => {
    const { scored } = await at(0)
    const world = worldOf()
    await greater.step({ ...fresh, tried: keys(scored[1]!) }, options(paper), world.context)
    expect(keys(world.scored[1]!)).toEqual(keys(scored[1]!))
  })

  test('behind the last token a prompt grows, by what the model would write there', async () => {
    const { candidates, gradients, state, costs } = await at(3, { canGrow: true })
    // The likeliest token holds the place in which there is a gradient, under the reasoning of the prompt as it stands.
    expect(gradients).toEqual([{ ids: [...start, 29], rows: 6, options: { withReasoning: true, reasonedUnder: [start] } }])
    expect(candidates.map(({ ids }) => ids.slice(0, 3))).toEqual([start, start])
    for (const { swaps, ids, gradientScore } of candidates) {
      expect(swaps).toEqual([{ position: 3, from: null, to: ids[3] }])
      expect(gradientScore).toBeCloseTo(costs[3]![ids[3]!]! - costs[3]![29]!, 5)
    }
    expect(state.ids).toHaveLength(4)
    expect(state.position).toBe(4)
    expect('gradient' in state).toBe(false)
  })

  test('the gradient of a prompt made longer is not kept, also where the prompt stays as it is', async () => {
    const costs = Array.from({ length: 8 }, () => Array.from({ length: 30 }, () => 1))
    const { state, gradients } = await at(3, { canGrow: true, costs }, { acceptance: 'better' })
    expect(gradients).toHaveLength(1)
    expect(state.ids).toEqual(start)
    expect('gradient' in state).toBe(false)
  })

  test('a sentence that ends behind the place does not end the turn', async () => {
    const { state } = await at(0, { canGrow: true, allowed: [20] }, {}, [10, 11, PERIOD])
    expect(state).toMatchObject({ ids: [20, 11, PERIOD], position: 1 })
  })

  test('a random shortlist grows without scores', async () => {
    const { candidates, gradients } = await at(3, { canGrow: true }, { shortlist: 'random' })
    expect(gradients).toEqual([])
    for (const candidate of candidates) expect('gradientScore' in candidate).toBe(false)
  })

  test('it grows to its largest length, and not at all where it must not', async () => {
    expect((await at(3, { canGrow: true }, { maxLength: 3 })).places).toEqual([0])
    expect((await at(2, { canGrow: true }, { maxLength: 3 })).state.position).toBe(0)
    expect((await at(2, { canGrow: true }, { maxLength: 4 })).state.position).toBe(3)
    expect((await at(3, { canGrow: false })).places).toEqual([0])
  })

  test('nothing to append is an error where there is nothing else', async () => {
    const world = worldOf({ canGrow: true, allowed: [12] })
    const failed = greater.step({ ...fresh, position: 3 }, options(paper), world.context)
    expect((await problemOf(failed)).code).toBe('no-candidates')
    expect(world.gradients).toEqual([])
  })

  test('behind the end of a sentence in the last place it begins anew', async () => {
    const only = (id: number) => ({ canGrow: true, allowed: [id] })
    expect((await at(2, only(PERIOD))).state).toMatchObject({ ids: [10, 11, PERIOD], position: 0 })
    // A colon ends a clause, which is an end for GreaterPrompt alone.
    expect((await at(2, only(COLON))).state).toMatchObject({ ids: [10, 11, COLON], position: 3 })
    const cutting = { preset: 'greaterprompt' }
    expect((await at(2, only(COLON), cutting)).state).toMatchObject({ ids: [10, 11, COLON], position: 0 })
    // In another place it goes on.
    expect((await at(1, only(PERIOD))).state).toMatchObject({ ids: [10, PERIOD, 12], position: 2 })
  })
})

describe('GreaterPrompt cuts behind the end of a sentence', () => {
  const step = async (id: number, preset: string, frozen: readonly number[] = []) => {
    const { context } = worldOf({ allowed: [id], frozen })
    const { candidates } = await greater.step(fresh, options({ preset }), context)
    return candidates[0]!
  }

  test('and says what was dropped', async () => {
    const candidate = await step(PERIOD, 'greaterprompt')
    expect(candidate.ids).toEqual([PERIOD])
    expect(candidate.swaps).toEqual([
      { position: 0, from: 10, to: PERIOD },
      { position: 1, from: 11, to: null },
      { position: 2, from: 12, to: null },
    ])
    expect(candidate.gradientScore).toBeDefined()
  })

  test('and nothing else does: other presets, other tokens, frozen text behind', async () => {
    expect((await step(PERIOD, 'paper')).ids).toEqual([PERIOD, 11, 12])
    expect((await step(20, 'greaterprompt')).ids).toEqual([20, 11, 12])
    expect((await step(PERIOD, 'greaterprompt', [2])).ids).toEqual([PERIOD, 11, 12])
    expect((await step(COLON, 'greaterprompt')).ids).toEqual([COLON])
  })
})
