import { compareConditions } from '../../src/evaluate/comparison.js'
import type { MetricValue } from '../../src/evaluate/intervals.js'
import type { StudyRun } from './results.js'

const baseline = 'prompt-tuning'

/**
 * The runs of one task as a Markdown table, best first. Intervals are the bootstrap's over rows and seeds; the difference from prompt
 * tuning is taken over the seeds that both have.
 */
export function markdownTable(title: string, runs: readonly StudyRun[]): string {
  const methods = [...new Set(runs.map(({ method }) => method))]
  const lines = methods.map(method => {
    const own = runs.filter(run => run.method === method)
    const { mean } = compareConditions([condition(own)], { seed: 13 }).conditions[0]!
    return { method, own, mean }
  })
  lines.sort((a, b) => b.mean.value - a.mean.value)
  return [
    `| ${title} | accuracy, % (95 % interval) | by seed | against prompt tuning, points | learned numbers | processor s/step | peak memory |`,
    '|---|---|---|---|---|---|---|',
    ...lines.map(({ method, own, mean }) => {
      const seeds = own.toSorted((a, b) => a.seed - b.seed).map(({ seed, test }) => `${percent(test.accuracy!.value)} (${seed})`)
      const cells = [
        method,
        `${percent(mean.value)} (${percent(mean.low)} to ${percent(mean.high)})`,
        own.every(({ settings }) => settings === undefined) && own.length === 1 ? '' : seeds.join(', '),
        difference(own, runs),
        middle(own.map(({ parameters }) => parameters))?.toLocaleString('en-GB') ?? '',
        middle(own.map(run => run.processorSecondsPerStep))?.toFixed(2) ?? '',
        `${(middle(own.map(run => run.peakMemoryBytes))! / 1e9).toFixed(2)} GB`,
      ]
      return `| ${cells.join(' | ')} |`
    }),
  ].join('\n')
}

const condition = (runs: readonly StudyRun[]) => ({
  name: runs[0]!.method,
  seeds: runs.map(({ right }) => [...right].map((digit, index) => ({ index, score: Number(digit) }))),
})

/** The zero-shot control is the same for all seeds. */
function difference(own: readonly StudyRun[], runs: readonly StudyRun[]): string {
  if (own[0]!.method === baseline) return ''
  const tuned = runs.filter(
    ({ method, seed }) => method === baseline && (hasNoSeed(own[0]!) || own.some(run => run.seed === seed)),
  )
  if (tuned.length === 0) return ''
  const paired = own.filter(({ seed }) => hasNoSeed(own[0]!) || tuned.some(run => run.seed === seed))
  const { difference: found } = compareConditions([condition(tuned), condition(paired)], { seed: 13 }).comparisons[0]!
  return `${signed(found.value)} (${signed(found.low)} to ${signed(found.high)})`
}

export const hasNoSeed = ({ method }: Pick<StudyRun, 'method'>) => method === 'zero-shot'

const percent = (x: MetricValue['value']) => (100 * x).toFixed(1)
const signed = (x: number) => `${x > 0 ? '+' : ''}${percent(x)}`

function middle(numbers: readonly (number | undefined)[]): number | undefined {
  const known = numbers.filter(x => x !== undefined).sort((a, b) => a - b)
  return known[known.length >> 1]
}
