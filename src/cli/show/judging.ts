import type { Compared } from '../../api/compare.js'
import type { JudgedRuns } from '../../api/judge.js'
import { GradpromptError } from '../../errors.js'
import type { MetricValue } from '../../evaluate/intervals.js'
import { compute } from '../computing/computation.js'
import type { JudgeRequest } from '../computing/messages.js'
import type { OptionValues } from '../terminal/command.js'
import { count, type Output, plural, quoted, table, warningsTo } from '../terminal/output.js'
import { createActivity } from '../terminal/progress.js'
import { inRange, machineRequest } from './engine-options.js'

/** `gradprompt compare A B --judge WHO`: what is asked for, and what it came to, in words. */

/** @returns the exit code */
export async function judge(runs: readonly Compared[], options: OptionValues, output: Output): Promise<number> {
  const request = judgeRequest(runs, options)
  const activity = createActivity()
  try {
    const result = await compute('judge', request, {
      onEvent: warningsTo(output),
      onProgress({ what, done, total }) {
        if (!output.quiet) activity.show(`judged by ${what}`, done, total)
      },
    })
    activity.clear()
    output.object({ event: 'result', ...result })
    output.text(describe(result, request.judgements))
    return 0
  } catch (error) {
    activity.clear()
    throw error
  }
}

/** The environment variable that holds the key of a judge's endpoint. */
const judgeKey = 'GRADPROMPT_JUDGE_KEY'

/** @throws GradpromptError `invalid-option`, `missing-option` */
function judgeRequest(runs: readonly Compared[], options: OptionValues): JudgeRequest {
  if (runs.length !== 2)
    throw new GradpromptError('invalid-option', '--judge compares two results', { found: plural(runs.length, 'result') })
  const { model: _, ...machine } = machineRequest(options)
  const name = options['judge-model'] as string | undefined
  const judges = (options.judge as readonly string[]).map(given => {
    if (!/^https?:\/\//.test(given)) return given
    if (name === undefined)
      throw new GradpromptError('missing-option', 'a judge at an address needs the name of its model', {
        found: given,
        expected: '--judge-model NAME',
      })
    return { url: given, model: name, ...(process.env[judgeKey] && { key: judgeKey }) }
  })
  if (name !== undefined && judges.every(given => typeof given === 'string'))
    throw new GradpromptError('invalid-option', '--judge-model needs --judge with an address', { found: judges.join(', ') })
  return {
    ...machine,
    runs: runs as [Compared, Compared],
    judges,
    instruction: options.instruction as string | undefined,
    evaluation: options.evaluation as string | undefined,
    limit: inRange(options, 'limit', { least: 1 }),
    seed: options.seed as number | undefined,
    judgements: options.judgements as string | undefined,
  }
}

function describe({ baseline, other, instruction, judges, agreement }: JudgedRuns, path: string | undefined): string {
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`
  const interval = ({ value, low, high }: MetricValue) =>
    `${percent(value)} [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`
  const rows = judges.map(judged => [
    `  ${judged.name}`,
    interval(judged.winRate),
    `${count(judged.wins)} / ${count(judged.ties)} / ${count(judged.losses)}`,
    judged.signTest < 0.0001 ? judged.signTest.toExponential(1) : judged.signTest.toFixed(4),
    judged.lengthControlled === undefined ? '' : interval(judged.lengthControlled),
    percent(judged.consistency),
    percent(judged.firstRate),
    percent(judged.firstOfEqual),
  ])
  const head = [
    '',
    'win rate',
    'won / tied / lost',
    'sign test p',
    'at equal length',
    'orders agree',
    'took the first',
    'of equal ones',
  ]
  const longer = judges[0]!.longer
  const said = agreement?.flatMap((row, i) =>
    row.slice(i + 1).map(({ share, kappa }, j) => {
      const names = `${judges[i]!.name} and ${judges[i + 1 + j]!.name}`
      return `  ${names}: ${percent(share)}${kappa === undefined ? '' : `, kappa ${kappa.toFixed(2)}`}`
    }),
  )
  return [
    `${other} against ${baseline}, ${plural(judges[0]!.rows, 'row')} [95 % interval]; asked: ${quoted(instruction, 100)}`,
    table([head, ...rows]),
    '',
    'each pair is judged in both orders, and is a tie where these differ; 50 % is even',
    `answers of ${other} are ${plural(Math.round(Math.abs(longer)), 'character')} ${longer < 0 ? 'shorter' : 'longer'} on average; at equal length: by logistic regression`,
    ...(said ? ['agreement of judges on a pair:', ...said] : []),
    ...(path === undefined ? [] : [`judgements: ${path}`]),
  ].join('\n')
}
