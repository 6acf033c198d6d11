import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { isWhole } from '../support/whole.js'

/** What a batch is expected to take, against the most that a process of its own has held. */

const run = promisify(execFile)

const program = `
import { loadModel } from ${JSON.stringify(resolve('dist/src/index.js'))}
import { comparedPairs } from ${JSON.stringify(resolve('dist/src/model/memory.js'))}
import { peakMemory } from ${JSON.stringify(resolve('dist/src/store/environment.js'))}
const [job, count, length, keepWeights, recompute] =
  [process.argv[1], Number(process.argv[2]), Number(process.argv[3]), process.argv[4], process.argv[5] === 'again']
const model = await loadModel('models/smollm2-135m-instruct', { threads: 2, keepWeights })
const rows = Array.from({ length: count }, (_, i) => {
  const ids = Array.from({ length }, (_, j) => 100 + ((i * 7919 + j * 104729) % 40000))
  return { ids, labels: ids.map((id, j) => (j >= length - 2 ? id : -100)) }
})
const d = model.config.hiddenSize
if (job === 'train') await model.lossAndGradient({ softPrompt: { data: new Float32Array(20 * d).fill(0.01), shape: [20, d] }, rows, recompute })
else await model.logLikelihoods(undefined, rows.map(({ ids }) => ({ context: ids.slice(0, -2), candidates: [{ ids: ids.slice(-2) }] })))
const shared = job === 'train' ? 20 : 0
const compared = comparedPairs(count, length, shared)
const estimate = model.memory.estimate(count * length + shared, 2 * count, job === 'train', compared, recompute)
console.log(JSON.stringify({ estimate, peak: peakMemory() }))
process.exit(0)
`

type Size = [job: string, count: number, length: number, keeping: string, layers: string]

const larger: Size[] = [
  ['train', 16, 60, 'fp32', 'kept'],
  ['train', 16, 60, 'compact', 'kept'],
  ['train', 1, 600, 'fp32', 'again'],
  ['train', 1, 1500, 'fp32', 'kept'],
]

describe('the estimate of a batch lies near the measured peak', () => {
  test.each<Size>([
    ['train', 8, 60, 'compact', 'kept'],
    ['train', 1, 500, 'fp32', 'again'],
    ['score', 1, 700, 'fp32', 'kept'],
    ...(isWhole ? larger : []),
  ])('%s: %i rows of %i tokens, weights in %s, layers %s', { timeout: 240_000 }, async (job, count, length, keeping, layers) => {
    const { stdout } = await run(process.execPath, [
      '--input-type=module',
      '--eval',
      program,
      job,
      `${count}`,
      `${length}`,
      keeping,
      layers,
    ])
    const { estimate, peak } = JSON.parse(stdout) as { estimate: number; peak: number }
    expect(estimate / peak).toBeGreaterThan(0.85)
    expect(estimate / peak).toBeLessThan(1.15)
  })
})
