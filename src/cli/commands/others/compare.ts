import { type Compared, compareRuns } from '../../../api/compare.js'
import { GradpromptError } from '../../../errors.js'
import { type Comparison, measureOf, type PairedComparison } from '../../../evaluate/comparison.js'
import type { MetricValue } from '../../../evaluate/intervals.js'
import { exists } from '../../../files.js'
import { ownCommand } from '../../../own-command.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { count, createOutput, plural, table } from '../../terminal/output.js'

/** `gradprompt compare A B …` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  // An argument whose name ends in dots comes as a list.
  const given = [argument ?? []].flat()
  if (given.length < 2) {
    throw new GradpromptError('missing-argument', 'gradprompt compare needs two results or more', {
      found: given.join(' '),
      expected: 'runs or .jsonl files',
      hint: ownCommand`compare runs/base runs/tuned`,
    })
  }
  if (options.judge !== undefined) {
    const { judge } = await import('../../show/judging.js')
    return judge(await Promise.all(given.map(readSource)), options, output)
  }
  refuseWithoutJudge(options)
  const { report, replaced, ...comparison } = await compareRuns(await Promise.all(given.map(readSource)), {
    evaluation: options.evaluation as string | undefined,
    seed: options.seed as number | undefined,
    report: options['no-report'] !== true && ((options.report as string | undefined) ?? true),
  })
  output.object({ event: 'result', ...comparison, ...(report !== undefined && { report }), ...(replaced && { replaced }) })
  const place = replaced ? ' (in place of the page that stood there; --report FILE writes elsewhere)' : ''
  output.text(describe(comparison) + (report === undefined ? '' : `\n\nreport: ${report}${place}`))
  return 0
}

/** @throws GradpromptError `invalid-option` */
function refuseWithoutJudge(options: OptionValues): void {
  const alone = ['judge-model', 'instruction', 'limit', 'judgements'].find(name => options[name] !== undefined)
  if (alone !== undefined)
    throw new GradpromptError('invalid-option', `--${alone} needs --judge`, { hint: ownCommand`compare A B --judge MODEL` })
}

/** `name=path,path`: whatever of it is the name of a file or a folder is just that. */
async function readSource(text: string): Promise<Compared> {
  if (await exists(text)) return { paths: [text] }
  const [, name, rest] = /^([^=/\\]+)=(.+)$/s.exec(text) ?? [undefined, undefined, text]
  return { name, paths: (await exists(rest!)) ? [rest!] : rest!.split(',').filter(path => path !== '') }
}

function describe(comparison: Comparison): string {
  const { rows, binary, conditions, comparisons, unnamed } = comparison
  const interval = ({ value, low, high }: MetricValue, sign = false) => {
    const digits = (x: number) => {
      const text = binary ? (100 * x).toFixed(1) : x.toFixed(4)
      return sign && x > 0 && Number(text) !== 0 ? `+${text}` : text
    }
    return `${digits(value)}${binary ? (sign ? '' : ' %') : ''} [${digits(low)}, ${digits(high)}]`
  }
  const several = conditions.some(({ seeds }) => seeds > 1)
  const measure = measureOf(comparison)
  const test = ({ mcnemar }: PairedComparison) =>
    mcnemar === undefined ? '' : `${probability(mcnemar.p)} (+${count(mcnemar.onlyOther)} -${count(mcnemar.onlyBaseline)})`
  const lines = conditions.map(({ name, seeds, mean, seedDeviation }, i) => {
    const against = comparisons[i - 1]
    const spread = seedDeviation === undefined ? '' : (seedDeviation * (binary ? 100 : 1)).toFixed(binary ? 1 : 4)
    return [
      `  ${name}`,
      ...(several ? [String(seeds), spread] : []),
      interval(mean),
      ...(against === undefined
        ? []
        : [
            interval(against.difference, true),
            test(against),
            against.rowsNeeded === null ? 'none differs' : count(against.rowsNeeded),
          ]),
    ]
  })
  const head = ['', ...(several ? ['seeds', 'deviation'] : []), measure, 'difference', 'McNemar p', 'rows needed']
  const known = comparisons.some(({ mcnemar }) => mcnemar !== undefined)
  const notes = [
    `differences are paired, against ${conditions[0]!.name}${binary ? ', in points' : ''}`,
    ...(known ? [`McNemar p: exact, two-sided (rows that the other alone gets right, and ${conditions[0]!.name} alone)`] : []),
    ...(unnamed ? [`no scorer is named in the rows of ${unnamed.join(', ')}: they are taken for ${measure}`] : []),
    'rows needed: to find such a difference at 5 % with a power of 80 %',
  ]
  return [`${plural(rows, 'row')} [95 % interval]`, table([head, ...lines]), '', ...notes].join('\n')
}

const probability = (p: number): string => (p < 0.0001 ? p.toExponential(1) : p.toFixed(4))
