import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { Budget, BudgetSpent } from '../../src/search/score/budget.js'
import { Objective, type ObjectiveOptions } from '../../src/search/score/objective.js'
import { SearchPrograms } from '../../src/search/score/programs.js'
import type { SearchRow } from '../../src/search/space/token-space.js'
import { sharingOrder, TokenTree } from '../../src/search/space/token-tree.js'

const opened = LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 }).then(model => ({
  model,
  programs: new SearchPrograms(model),
}))
afterAll(async () => {
  const { model, programs } = await opened
  await programs.dispose()
  await model.dispose()
})

const token = fc.integer({ min: 1, max: 90 })
const tokens = (minLength: number, maxLength: number) => fc.array(token, { minLength, maxLength })
const row = (before: number[], after: number[], answer: number[], index = 0): SearchRow => ({
  index,
  before,
  after,
  extractor: [],
  answer,
  text: { before: '', after: '' },
})

/** A prompt, others a few swaps away from it, and rows: with what stands before the prompt alike or not, or nothing there. */
const situations = fc.record({
  prompt: tokens(1, 6),
  swaps: fc.array(fc.tuple(fc.nat(5), token), { maxLength: 8 }),
  befores: fc.oneof(
    fc.array(tokens(0, 4), { minLength: 1, maxLength: 3 }),
    tokens(0, 4).map(before => [before, before, before]),
  ),
  after: tokens(0, 4),
  answers: fc.array(tokens(1, 4), { minLength: 3, maxLength: 3 }),
})

async function objective(options: Partial<ObjectiveOptions> = {}, limits = {}) {
  const { model, programs } = await opened
  const budget = new Budget(limits, () => 0)
  return { model, budget, objective: new Objective(model, programs, budget, { free: [], fluency: 0, ...options }) }
}

const logSoftmax = (logits: Float32Array) => {
  const highest = Math.max(...logits)
  const normaliser = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - highest), 0)) + highest
  return logits.map(x => x - normaliser)
}

describe('exact scores', () => {
  test('equal those of every sequence computed alone', async () => {
    const { model, objective: scored } = await objective()
    await fc.assert(
      fc.asyncProperty(situations, async ({ prompt, swaps, befores, after, answers }) => {
        const prompts = [prompt, ...swaps.map(([place, id]) => prompt.map((old, i) => (i === place % prompt.length ? id : old)))]
        const rows = befores.map((before, i) => row(before, after, answers[i]!, i))
        const scores = await scored.score(prompts, rows)
        for (const [p, ids] of prompts.entries()) {
          const alone = await model.logLikelihoods(
            undefined,
            rows.map(({ before, after, answer }) => ({ context: [...before, ...ids, ...after], candidates: [{ ids: answer }] })),
          )
          for (const [r, { answer }] of rows.entries())
            expect(scores[p]!.rowLosses[r]).toBeCloseTo(-alone[r]![0]! / answer.length, 4)
          const mean = scores[p]!.rowLosses.reduce((sum, loss) => sum + loss, 0) / rows.length
          expect(scores[p]!.loss).toBeCloseTo(mean, 6)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('the fluency term is the mean likelihood of the free tokens; exact: every answer token is the likeliest', async () => {
    const { model, objective: scored } = await objective({ free: [0, 2], fluency: 0.5 })
    const [before, prompt, after] = [[3, 4], [10, 11, 12], [20]]
    const context = [...before, ...prompt, ...after]
    const [logits] = await model.logits([context])
    const at = (position: number) => logSoftmax(logits!.subarray((position - 1) * 96, position * 96))
    const best = at(context.length).indexOf(Math.max(...at(context.length)))
    const [score] = await scored.score([prompt], [row(before, after, [best])])
    expect(score!.exact).toBe(true)
    expect(score!.loss).toBeCloseTo(-at(context.length)[best]! - (0.5 * (at(2)[10]! + at(4)[12]!)) / 2, 4)
    const [other] = await scored.score([prompt], [row(before, after, [best === 7 ? 8 : 7])])
    expect(other!.exact).toBe(false)
  })

  test('mellowmax is of the negated logits', async () => {
    const { model, objective: scored } = await objective({ mellowmax: 2 })
    const [logits] = await model.logits([[3, 10, 20, 30]])
    const [a, b] = [logits![2 * 96 + 30]!, logits![3 * 96 + 31]!]
    const [score] = await scored.score([[10]], [row([3], [20], [30, 31])])
    expect(score!.loss).toBeCloseTo(Math.log((Math.exp(-2 * a) + Math.exp(-2 * b)) / 2) / 2, 5)
  })

  test('what is measured: right labels among the closed set, and how far they are ahead', async () => {
    const labels = { column: 'label', words: new Map(), candidates: ['a', 'b', 'c'] }
    const words = [[60], [61, 62], [63]]
    const rows = [
      { ...row([1, 2], [50], [60]), choices: { after: [50], words, target: 0 } },
      { ...row([3], [51], [63], 1), choices: { after: [51], words, target: 2 } },
    ]
    const { model } = await opened
    const prompts = [[20], [21, 22, 23], []]
    for (const prompt of prompts) {
      const alone = await model.logLikelihoods(
        undefined,
        rows.map(({ before, after }) => ({ context: [...before, ...prompt, ...after], candidates: words.map(ids => ({ ids })) })),
      )
      const shares = alone.map(scores => {
        const all = scores.reduce((sum, score) => sum + Math.exp(score), 0)
        return scores.map(score => Math.exp(score) / all)
      })
      const gaps = shares.map((share, r) => {
        const { target } = rows[r]!.choices
        return share[target]! - Math.max(...share.filter((_, i) => i !== target))
      })
      const [byGap] = await (await objective({ labels, measure: 'gap' })).objective.score([prompt], rows)
      for (const [r, gap] of gaps.entries()) expect(byGap!.rowLosses[r]).toBeCloseTo(gap > 0 ? -gap : -0.9 * gap, 5)
      const [byMistakes] = await (await objective({ labels, measure: 'mistakes' })).objective.score([prompt], rows)
      expect(byMistakes!.rowLosses).toEqual(gaps.map(gap => (gap > 0 ? 0 : 1)))
      expect(byMistakes!.exact).toBe(gaps.every(gap => gap > 0))
    }
    const free = await objective({ measure: 'mistakes' })
    const [logits] = await model.logits([[1, 2, 20, 50]])
    const last = logits!.subarray(3 * 96)
    const best = last.indexOf(Math.max(...last))
    const [right, wrong] = await Promise.all(
      [best, best === 7 ? 8 : 7].map(id => free.objective.score([[20]], [row([1, 2], [50], [id])])),
    )
    expect([right![0]!.loss, wrong![0]!.loss]).toEqual([0, 1])
  })

  test('fluency is of the searched tokens of each prompt, whatever its length', async () => {
    const free = (prompt: readonly number[]) => prompt.map((_, i) => i).slice(1)
    const { model, objective: scored } = await objective({ free, fluency: 0.5 })
    const rows = [row([3, 4], [20], [30])]
    const prompts = [
      [10, 11, 12],
      [10, 12],
    ]
    const scores = await scored.score(prompts, rows)
    for (const [p, prompt] of prompts.entries()) {
      const context = [3, 4, ...prompt, 20]
      const [logits] = await model.logits([context])
      const at = (position: number, id: number) => logSoftmax(logits!.subarray((position - 1) * 96, position * 96))[id]!
      const own = prompt.slice(1).map((id, i) => at(3 + i, id))
      const mean = own.reduce((sum, x) => sum + x, 0) / own.length
      expect(scores[p]!.loss).toBeCloseTo(-at(context.length, 30) - 0.5 * mean, 4)
    }
  })

  test('rows that candidates share are computed once', async () => {
    const rows = [row([1, 2, 3, 4, 5, 6, 7, 8], [50, 51], [60, 61])]
    const { objective: scored, budget } = await objective()
    const prompt = [20, 21, 22, 23]
    // One candidate changes the last token: 8 before and 3 of the prompt are shared, then 1 + 2 after + 1 of the answer each.
    await scored.score([prompt, [20, 21, 22, 40]], rows)
    expect(budget.spent.computedTokens).toBe(11 + 2 * 4)
  })
})

describe('gradients', () => {
  const options: [string, Partial<ObjectiveOptions>][] = [
    ['cross entropy', {}],
    ['fluency', { free: [0, 1, 2], fluency: 0.3 }],
    ['mellowmax', { mellowmax: 1.5 }],
    ['both', { free: [0, 1, 2], fluency: 0.3, mellowmax: 1.5 }],
  ]
  test.each(options)('%s: finite differences in the direction of the offsets', async (_, settings) => {
    const { model, objective: scored } = await objective(settings)
    const prompt = [20, 21, 22]
    const rows = [row([1, 2], [50], [60, 61]), row([1, 3, 4], [50], [62]), row([1, 2], [50], [63])]
    const { gradient, loss } = await scored.gradient([prompt], rows)
    const direction = Float32Array.from({ length: gradient.length }, (_, i) => Math.sin(i + 1))
    const along = direction.reduce((sum, x, i) => sum + x * gradient[i]!, 0)
    const step = 2e-3
    const at = async (sign: number) =>
      (await scored.gradient([prompt], rows, { offsets: [direction.map(x => sign * step * x)] })).loss
    expect(((await at(1)) - (await at(-1))) / (2 * step)).toBeCloseTo(along, 2)
    expect(along).not.toBeCloseTo(0, 2)
    if (settings.mellowmax === undefined) expect(loss).toBeCloseTo((await scored.score([prompt], rows))[0]!.loss, 5)
    expect(gradient.length).toBe(3 * model.config.hiddenSize)
  })

  test('of several prompts it is the mean, whether the prompt stands first or last', async () => {
    const { objective: scored } = await objective()
    for (const before of [[], [5, 6]]) {
      const rows = [row(before, [50, 51], [60]), row(before, [52], [61, 62])]
      const prompts = [
        [20, 21, 22],
        [20, 30, 22],
      ]
      const both = await scored.gradient(prompts, rows)
      const each = await Promise.all(prompts.map(prompt => scored.gradient([prompt], rows)))
      expect(both.loss).toBeCloseTo((each[0]!.loss + each[1]!.loss) / 2, 5)
      for (const [i, value] of both.gradient.entries())
        expect(value).toBeCloseTo((each[0]!.gradient[i]! + each[1]!.gradient[i]!) / 2, 5)
    }
  })
})

describe('proposals', () => {
  test('are the mean log-probabilities of the next token', async () => {
    const { model, objective: scored } = await objective()
    const rows = [row([1, 2], [50], [60]), row([3], [], [61])]
    const found = await scored.proposals([20, 21], rows, [1])
    const logits = await model.logits(rows.map(({ before }) => [...before, 20]))
    const each = logits.map((all, i) => logSoftmax(all.subarray(rows[i]!.before.length * 96)))
    for (let v = 0; v < 96; v++) expect(found[v]).toBeCloseTo((each[0]![v]! + each[1]![v]!) / 2, 4)
  })
})

test('a budget is asked before every run', async () => {
  const { objective: scored, budget } = await objective({}, { computedTokens: 1 })
  const rows = [row([1, 2], [], [60])]
  await scored.score([[20]], rows)
  expect(budget.spent.computedTokens).toBe(3)
  await expect(scored.score([[20]], rows)).rejects.toThrow(BudgetSpent)
})

test('a tree holds every distinct beginning once', () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 2, maxLength: 6 }), { minLength: 1 }), lists => {
      const sequences = lists.map(ids => ({ ids, reads: [{ position: ids.length - 1, id: ids.at(-1)! }] }))
      const beginnings = new Set(lists.flatMap(ids => ids.slice(0, -1).map((_, i) => ids.slice(0, i + 1).join())))
      const tree = new TokenTree(sharingOrder(sequences).map(i => sequences[i]!))
      expect(tree.rows - beginnings.size).toBeGreaterThanOrEqual(0)
      expect(tree.rows - beginnings.size).toBeLessThanOrEqual(1)
    }),
  )
})
