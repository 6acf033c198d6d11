import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeSelfTest, type PromptedModel } from '../../src/export/self-test.js'

const vocabSize = 6
/** Likes the sum of the ids up to a position, modulo the vocabulary; second is the id after it. */
const model: PromptedModel = {
  vocabSize,
  logits: async rows =>
    rows.map(row =>
      Float32Array.from({ length: row.length * vocabSize }, (_, at) => {
        const length = Math.floor(at / vocabSize) + 1
        const best = row.slice(0, length).reduce((sum, id) => sum + id, 0) % vocabSize
        return -(((at % vocabSize) - best + vocabSize) % vocabSize) / length
      }),
    ),
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

  test('guesses save runs of the model, and change nothing else', async () => {
    const inputs = [[1, 2], [5], [2, 2, 1]]
    const runs: number[] = []
    const counted: PromptedModel = {
      vocabSize,
      logits(rows, last) {
        runs.push(rows.length)
        return model.logits(rows, last)
      },
    }
    const guessed = async (guesses: number[][]) => {
      runs.length = 0
      return { made: await makeSelfTest(counted, inputs, { newTokens: 6, guesses }), count: runs.length }
    }
    const plain = await guessed([])
    const { cases } = plain.made
    // Continued by hand: each token is the sum of all before it.
    for (const { ids, greedy } of cases)
      for (const [i, id] of greedy.entries())
        expect(id).toBe([...ids, ...greedy.slice(0, i)].reduce((sum, other) => sum + other, 0) % vocabSize)
    const right = await guessed(cases.map(({ greedy }) => [...greedy]))
    expect(right.count).toBe(1)
    const half = await guessed(cases.map(({ greedy }) => greedy.slice(0, 3)))
    expect(half.count).toBeLessThan(6)
    expect([right.made, half.made]).toEqual([plain.made, plain.made])
  })

  test('reads only the last positions, and the lower id of equals', async () => {
    const repeated = (last: number) => Float32Array.from({ length: 3 * last }, (_, i) => (i % 3 === 0 ? 1 : 2))
    const short: PromptedModel = { vocabSize: 3, logits: async (rows, last) => rows.map(() => repeated(last)) }
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
        async drawn => {
          // Where a program has run, the processor takes what is smaller for zero.
          const values = drawn.map(x => (Math.abs(x) < 2 ** -126 ? 0 : x))
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
    await expect(makeSelfTest(wrong, [[1]])).rejects.toThrow('6 logits for 8 positions of a vocabulary of 4')
    await expect(makeSelfTest({ vocabSize: 4, logits: async () => [] }, [[1]])).rejects.toThrow('no logits')
  })
})
