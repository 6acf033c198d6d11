import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeSelfTest, type PromptedModel } from '../../src/export/self-test.js'

const vocabSize = 6
/** Likes the sum of the row's ids, modulo the vocabulary; second is the id after it. */
const model: PromptedModel = {
  vocabSize,
  logits: async rows =>
    rows.map(row => {
      const logits = new Float32Array(row.length * vocabSize).fill(99)
      const last = logits.subarray((row.length - 1) * vocabSize)
      const best = row.reduce((sum, id) => sum + id, 0) % vocabSize
      last.forEach((_, id) => {
        last[id] = -((id - best + vocabSize) % vocabSize) / row.length
      })
      return logits
    }),
}

describe('makeSelfTest', () => {
  test('records greedy ids, the largest logits of the first step, and the least margin', async () => {
    const { cases, format } = await makeSelfTest(model, [[1, 2], [5]], { newTokens: 3 })
    expect(format).toBe('gradprompt-self-test-1')
    expect(cases[0]).toEqual({
      ids: [1, 2],
      greedy: [3, 0, 0],
      top: [
        { id: 3, logit: -0 },
        { id: 4, logit: -0.5 },
        { id: 5, logit: -1 },
        { id: 0, logit: -1.5 },
        { id: 1, logit: -2 },
      ],
      margin: 0.25,
    })
    expect(cases[1]).toMatchObject({ ids: [5], greedy: [5, 4, 2] })
  })

  test('reads only the last position, and the lower id of equals', async () => {
    const short: PromptedModel = { vocabSize: 3, logits: async rows => rows.map(() => Float32Array.of(1, 2, 2)) }
    const { cases } = await makeSelfTest(short, [[0]], { newTokens: 2 })
    expect(cases[0]).toEqual({
      ids: [0],
      greedy: [1, 1],
      top: [
        { id: 1, logit: 2 },
        { id: 2, logit: 2 },
        { id: 0, logit: 1 },
      ],
      margin: 0,
    })
  })

  test('the largest are those that sorting finds', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 5, maxLength: 60 }),
        async values => {
          const fixed: PromptedModel = {
            vocabSize: values.length,
            logits: async rows => rows.map(() => Float32Array.from(values)),
          }
          const { cases } = await makeSelfTest(fixed, [[0]], { newTokens: 1 })
          const sorted = values.map((logit, id) => ({ id, logit })).sort((a, b) => b.logit - a.logit || a.id - b.id)
          expect(cases[0]!.top.map(({ id }) => id)).toEqual(sorted.slice(0, 5).map(({ id }) => id))
        },
      ),
    )
  })

  test('refuses an empty input and a wrong number of logits', async () => {
    await expect(makeSelfTest(model, [[]])).rejects.toThrow('at least one token')
    const wrong: PromptedModel = { vocabSize: 4, logits: async () => [new Float32Array(6)] }
    await expect(makeSelfTest(wrong, [[1]])).rejects.toThrow('6 logits for a vocabulary of 4')
    await expect(makeSelfTest({ vocabSize: 4, logits: async () => [] }, [[1]])).rejects.toThrow('no logits')
  })
})
