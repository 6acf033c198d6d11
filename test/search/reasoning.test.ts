import { describe, expect, test } from 'vitest'
import type { LanguageModel } from '../../src/model/language-model.js'
import type { SearchContext } from '../../src/search/moves/method.js'
import { proposeTokens } from '../../src/search/moves/proposals.js'
import { race } from '../../src/search/moves/race.js'
import { Budget } from '../../src/search/score/budget.js'
import { Objective } from '../../src/search/score/objective.js'
import type { SearchRow } from '../../src/search/space/token-space.js'
import { greedy, MAX, opened, prompt, reasoned, rows } from './support/reasoned.js'

describe('scores behind reasoning', () => {
  test('equal the likelihood of the answer behind greedy reasoning and the extractor', async () => {
    const { model, objective, reasoning, budget } = await reasoned()
    const others = [prompt, [20, 33, 22]]
    const scores = await objective.score(others, rows)
    for (const [p, ids] of others.entries())
      for (const [r, { before, after, extractor, answer }] of rows.entries()) {
        const context = [...before, ...ids, ...after]
        const written = await greedy(model, context, MAX)
        const [likelihoods] = await model.logLikelihoods(undefined, [
          { context: [...context, ...written, ...extractor], candidates: [{ ids: answer }] },
        ])
        expect(scores[p]!.rowLosses[r]).toBeCloseTo(-likelihoods![0]! / answer.length, 4)
      }
    expect(budget.spent.generatedTokens).toBe(2 * 3 * MAX)
    // What is known is not generated again.
    const again = await objective.score(others, rows.slice(1))
    expect(again[1]!.rowLosses).toEqual(scores[1]!.rowLosses.slice(1))
    expect(budget.spent.generatedTokens).toBe(2 * 3 * MAX)
    expect(reasoning.size).toBe(6)
  })

  test('behind held reasoning: those of the prompt that it was written under, of others without a new token', async () => {
    const { model, objective, budget } = await reasoned()
    const other = [20, 33, 22]
    const [own] = await objective.score([prompt], rows)
    const [again, changed] = await objective.scoreHeld([prompt, other], rows, prompt)
    expect(budget.spent.generatedTokens).toBe(3 * MAX)
    for (const [r, { before, after, extractor, answer }] of rows.entries()) {
      expect(again!.rowLosses[r]).toBeCloseTo(own!.rowLosses[r]!, 4)
      const written = await greedy(model, [...before, ...prompt, ...after], MAX)
      const context = [...before, ...other, ...after, ...written, ...extractor]
      const [likelihoods] = await model.logLikelihoods(undefined, [{ context, candidates: [{ ids: answer }] }])
      expect(changed!.rowLosses[r]).toBeCloseTo(-likelihoods![0]! / answer.length, 4)
    }
  })

  test('by probability: 1 minus that of the whole answer', async () => {
    const plain = await (await reasoned()).objective.score([prompt], rows)
    const scores = await (await reasoned({ measure: 'probability' })).objective.score([prompt], rows)
    for (const [r, { answer }] of rows.entries())
      expect(scores[0]!.rowLosses[r]).toBeCloseTo(1 - Math.exp(-plain[0]!.rowLosses[r]! * answer.length), 5)
  })

  test('the fluency term is the mean likelihood of the prompt before anything is written', async () => {
    const { model, objective } = await reasoned({ fluency: 0.5 })
    const plain = (await (await reasoned()).objective.score([prompt], rows))[0]!.loss
    const likelihoods = await model.logLikelihoods(
      undefined,
      rows.map(({ before }) => ({ context: before, candidates: [{ ids: prompt }] })),
    )
    const mean = likelihoods.reduce((sum, [value]) => sum + value! / 3 / rows.length, 0)
    expect((await objective.score([prompt], rows))[0]!.loss).toBeCloseTo(plain - 0.5 * mean, 4)
  })

  test.each(['cross-entropy', 'probability'] as const)(
    '%s: the gradient holds the reasoning fixed, as finite differences do',
    async measure => {
      const { objective, model } = await reasoned({ measure })
      const { gradient } = await objective.gradient([prompt], rows)
      // The loss that is differentiated: of the rows with their reasoning as context.
      const known = await (await reasoned()).reasoning.answers([prompt], rows, { budget: new Budget({}, () => 0) })
      const plain = new Objective(model, (await opened).programs, new Budget({}, () => 0), { free: [], fluency: 0 })
      const direction = Float32Array.from({ length: gradient.length }, (_, i) => Math.sin(i + 1))
      const step = 2e-3
      const at = async (sign: number) => {
        let sum = 0
        for (const [r, row] of rows.entries()) {
          const whole = { ...row, after: [...row.after, ...known[0]![r]!.reasoning] }
          const { loss } = await plain.gradient([prompt], [whole], { offsets: [direction.map(x => sign * step * x)] })
          sum += measure === 'probability' ? 1 - Math.exp(-loss * row.answer.length) : loss
        }
        return sum / rows.length
      }
      const along = direction.reduce((sum, x, i) => sum + x * gradient[i]!, 0)
      expect(((await at(1)) - (await at(-1))) / (2 * step) / along).toBeCloseTo(1, 1)
    },
  )
})

describe('proposals', () => {
  const context = async () => {
    const { objective, model } = await reasoned()
    const allowed = Int32Array.from({ length: 60 }, (_, i) => i + 5)
    return { objective, model, context: { objective, allowed, rows, random: () => undefined } as unknown as SearchContext }
  }
  const likelihoods = async (model: LanguageModel, position: number) => {
    const all: Float64Array[] = []
    for (const { before } of rows) {
      const [logits] = await model.logits([[...before, ...prompt.slice(0, position)]])
      const last = Float64Array.from(logits!.subarray(-model.config.vocabSize))
      const most = Math.max(...last)
      const normaliser = most + Math.log(last.reduce((sum, x) => sum + Math.exp(x - most), 0))
      all.push(last.map(x => x - normaliser))
    }
    return all
  }

  test('the mean takes the tokens of the best mean log-probability, but never the token before', async () => {
    const { model, context: given } = await context()
    const found = await proposeTokens(prompt, [1, 3], rows, { proposals: 'mean', topk: 6, mu: 1 }, given)
    for (const [j, position] of [1, 3].entries()) {
      const all = await likelihoods(model, position)
      const mean = (id: number) => all.reduce((sum, own) => sum + own[id]!, 0)
      const ids = Array.from(given.allowed).filter(id => id !== prompt[position - 1])
      expect(found[j]).toEqual(ids.sort((a, b) => mean(b) - mean(a)).slice(0, 6))
    }
  })

  test('the intersection is what all sampled questions propose, with k as large as it takes', async () => {
    const { model, context: given } = await context()
    const [found] = await proposeTokens(prompt, [2], rows, { proposals: 'intersection', topk: 2, mu: 2 }, given)
    const all = await likelihoods(model, 2)
    const ids = Array.from(given.allowed).filter(id => id !== prompt[1])
    const common = (k: number) => {
      const tops = all.map(own => [...ids].sort((a, b) => own[b]! - own[a]!).slice(0, k))
      return ids.filter(id => tops.every(top => top.includes(id)))
    }
    let k = 2
    while (common(k).length < 4) k += 2
    expect([...found!].sort((a, b) => a - b)).toEqual(common(k))
  })
})

test('a race gives up what is behind, after the questions so far', async () => {
  // Losses by prompt and question: the second is worse everywhere, the third and the fourth better.
  const losses: Record<number, number> = { 1: 0.5, 2: 0.9, 3: 0.4, 4: 0.3 }
  const asked: number[][] = []
  const context = {
    rows,
    seed: 1,
    step: 0,
    objective: {
      score: (prompts: number[][], own: SearchRow[]) => {
        asked.push(own.map(({ index }) => index))
        return Promise.resolve(prompts.map(([id]) => ({ loss: losses[id!]!, rowLosses: [], exact: false, exactRows: 0 })))
      },
    },
  } as unknown as SearchContext
  const candidates = [2, 3, 4].map(id => ({ ids: [id], swaps: [] }))
  const current = { ids: [1], swaps: [], loss: 0.5, rowLosses: [], exact: false, exactRows: 0 }
  const { finalists, eliminated } = await race(current, candidates, 3, context)
  expect(finalists.map(({ ids }) => ids[0])).toEqual([4])
  expect(eliminated.map(({ ids, questions }) => [ids[0], questions])).toEqual([
    [2, 1],
    [3, 2],
  ])
  expect(asked.map(({ length }) => length)).toEqual([1, 2])
})
