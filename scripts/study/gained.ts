/**
 * `node dist/scripts/study/gained.js BASELINE PREFERENCES`: on how many test pairs the chosen answer has gained more than the rejected one,
 * under two runs that began at one prompt. PREFERENCES is a run of a preference loss, whose test rows say by their rewards what the start
 * said of each answer; BASELINE a run of any loss over the same rows, whose gains are counted from that start as well.
 */
import { join } from 'node:path'
import { readTunedRun } from '../../src/api/runs/configs.js'
import { compareConditions } from '../../src/evaluate/comparison.js'
import { type RowResult, readRowResults } from '../../src/evaluate/row-results.js'
import { mean } from '../../src/numbers.js'

const [baseline, preferences] = process.argv.slice(2) as [string, string]
const { loss } = (await readTunedRun(preferences)).config.train as { loss: { beta: number } }
const rowsOf = (run: string) => readRowResults(join(run, 'predictions', 'test-tuned.jsonl'))

/** How much likelier a prompt has made the chosen answer than the rejected one, in nats, from what the start said of both. */
function gains(rows: readonly RowResult[], start: readonly RowResult[]): number[] {
  return rows.map(({ logProbability, scores }, i) => {
    const from = start[i]!
    const chosen = from.logProbability! - from.scores!.chosenReward! / loss.beta
    const rejected = from.scores!.rejectedLogProbability! - from.scores!.rejectedReward! / loss.beta
    return logProbability! - chosen - (scores!.rejectedLogProbability! - rejected)
  })
}

const told = await rowsOf(preferences)
const all = [
  { name: baseline, gained: gains(await rowsOf(baseline), told) },
  { name: preferences, gained: gains(told, told) },
]
const { conditions, comparisons } = compareConditions(
  all.map(({ name, gained }) => ({ name, seeds: [told.map((row, i) => ({ ...row, score: Number(gained[i]! > 0) }))] })),
  { seed: 13 },
)
const percent = (x: number) => (100 * x).toFixed(1)
for (const [i, { name, mean: share }] of conditions.entries())
  console.log(
    `${name}: ${percent(share.value)} % [${percent(share.low)}, ${percent(share.high)}], by ${mean(all[i]!.gained).toFixed(2)} nats`,
  )
const { difference, mcnemar } = comparisons[0]!
console.log(
  `difference: ${percent(difference.value)} points [${percent(difference.low)}, ${percent(difference.high)}], McNemar p ${mcnemar!.p.toPrecision(2)}`,
)
