import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { search } from '../../src/api/search.js'
import type { SearchConfigInput } from '../../src/search/config.js'
import type { SearchEvent } from '../../src/search/run/events.js'
import { temporaryFolder } from '../train/toy.js'
import { bestLoss, bestWords, knownModel } from './support/known-model.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)
let model: string
beforeAll(async () => {
  model = await knownModel(folder)
  writeFileSync(join(folder, 'data.tsv'), [...'abcdefghijkl'].map(letter => `${letter}\t!\n`).join(''))
})

const seeds = [1, 2, 3]
const CANDIDATES = 24
const STEPS = 16

/** The best loss of a search, and its prompt: 384 candidates out of 4,000 words at each of four places. */
async function run(type: string, seed: number, options: Record<string, unknown>) {
  let best: { objective: number; prompt: string } | undefined
  await search(
    {
      model,
      data: { train: join(folder, 'data.tsv'), split: { dev: 4 }, columns: ['text', 'label'] },
      template: '{text}{prompt}?',
      answer: '{label}',
      ...{ threads: 1, seed, out: join(folder, `${type}-${seed}`) },
      search: { type, prompt: 'xxxx', vocabulary: 'any', questions: 8, steps: STEPS, ...options },
    } as SearchConfigInput,
    {
      onEvent: (event: SearchEvent) => {
        if (event.event === 'step') best = event.best
      },
    },
  )
  return best!
}

test.each(seeds)(
  'searches by gradient find the best prompt, which the random control does not come near (seed %i)',
  async seed => {
    const control = await run('random-shortlist', seed, { candidates: CANDIDATES })
    for (const [type, options] of [
      ['gcg', { searchWidth: CANDIDATES, topk: 16, screening: 1, bufferSize: 1 }],
      ['autoprompt', { candidates: CANDIDATES }],
    ] as const) {
      const { prompt, objective } = await run(type, seed, options)
      expect([...prompt].sort(), type).toEqual(bestWords)
      expect(objective, type).toBeCloseTo(bestLoss(2), 4)
      expect(objective, type).toBeLessThan(control.objective - 1)
    }
  },
)
