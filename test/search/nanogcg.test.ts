import { readFileSync } from 'node:fs'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'
import { expect, test } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { gcg, gcgSchema } from '../../src/search/methods/gcg.js'
import { Budget } from '../../src/search/score/budget.js'
import { Objective } from '../../src/search/score/objective.js'
import { SearchPrograms } from '../../src/search/score/programs.js'
import type { Candidate } from '../../src/search/space/candidates.js'
import { contextOf } from './support/context.js'

interface Entry {
  readonly loss: number
  readonly ids: number[]
}

/** A step of nanoGCG; of each candidate, what it drew: positions of the prompt, and places among the best tokens of each. */
interface Step {
  readonly before: Entry[]
  readonly positions: number[][]
  readonly places: number[][]
  readonly candidates: number[][]
  readonly losses: number[]
  readonly behind: Entry[]
}

interface Recorded {
  readonly row: { before: number[]; after: number[]; answer: number[] }
  readonly runs: { replace: number; bufferSize: number; topk: number; steps: Step[] }[]
}

const { row, runs } = JSON.parse(readFileSync('test/fixtures/search/nanogcg.json', 'utf8')) as Recorded

/** Draws numbers below some bound that were drawn before. */
function playback(numbers: readonly number[]): RandomGenerator {
  const left = [...numbers]
  // The least number that `next` may give stands for 0.
  return { next: () => left.shift()! - 2 ** 31 } as RandomGenerator
}

/** What a step of ours draws for a candidate: each position among those still left, then a place for each. */
function drawn({ positions, places }: Step, promptLength: number): number[] {
  return positions.flatMap((chosen, candidate) => {
    const left = Array.from({ length: promptLength }, (_, position) => position)
    const at = chosen.map(position => {
      const index = left.indexOf(position)
      left.splice(index, 1)
      return index
    })
    return [...at, ...places[candidate]!]
  })
}

test.each(runs)('steps of nanoGCG, $replace of 4 tokens replaced, a buffer of $bufferSize', async ({ steps, ...options }) => {
  await using model = await LanguageModel.load('test/fixtures/models/llama-gqa', { threads: 1 })
  await using programs = new SearchPrograms(model)
  const objective = new Objective(model, programs, new Budget({}, () => 0), { free: [], fluency: 0 })
  const rows = [{ ...row, index: 0, text: { before: '', after: '' }, extractor: [] }]
  for (const step of steps) {
    const start = step.before[0]!.ids
    let scored: number[][] = []
    const { context } = contextOf(
      { costs: start.map(() => new Array<number>(96).fill(0)), start },
      {
        rows,
        objective,
        embedding: { hiddenSize: 32, vocabSize: 96, project: (vectors: Float32Array) => programs.project(vectors) },
        random: () => playback(drawn(step, start.length)),
        async score(candidates: readonly Candidate[]) {
          scored = candidates.map(({ ids }) => [...ids])
          const scores = await objective.score(scored, rows)
          return candidates.map((one, i) => ({ ...one, ...scores[i]! })).sort((a, b) => a.loss - b.loss)
        },
      },
    )
    const given = gcgSchema.parse({ type: 'gcg', screening: 1, searchWidth: step.candidates.length, ...options })
    const found = await gcg.step({ buffer: step.before }, given, context)
    const wanted = new Map(step.candidates.map((ids, i) => [ids.join(), step.losses[i]!]))
    wanted.delete(start.join())
    expect(scored.map(ids => ids.join())).toEqual([...wanted.keys()])
    for (const { ids, loss } of found.candidates) expect(loss).toBeCloseTo(wanted.get(ids.join())!, 4)
    const { buffer } = found.state as { buffer: Entry[] }
    expect(buffer.map(({ ids }) => ids)).toEqual(step.behind.map(({ ids }) => ids))
    for (const [i, { loss }] of buffer.entries()) expect(loss).toBeCloseTo(step.behind[i]!.loss, 4)
  }
})
