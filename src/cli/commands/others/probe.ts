import type { Probed } from '../../../api/probe.js'
import type { MetricValue } from '../../../evaluate/intervals.js'
import { compute } from '../../computing/computation.js'
import { inRange, machineRequest } from '../../show/engine-options.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput, plural, table, warningsTo } from '../../terminal/output.js'
import { createActivity } from '../../terminal/progress.js'

/** `gradprompt probe RUN` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const request = {
    run: argument!,
    ...machineRequest(options),
    data: options.data as string | undefined,
    limit: inRange(options, 'limit', { least: 3 }),
    seed: inRange(options, 'seed', { least: 0, most: 0xffffffff }),
  }
  using activity = createActivity()
  const probed = await compute('probe', request, {
    onEvent: warningsTo(output),
    onProgress({ what, done, total }) {
      if (!output.quiet) activity.show(what, done, total)
    },
  })
  activity.clear()
  output.object({ event: 'result', ...probed })
  output.text(probed.texts.map(describe).join('\n\n'))
  const isLess = probed.texts.some(({ verdict }) => verdict === 'hidden' || verdict === 'lost')
  return options.gate === true && isLess ? 1 : 0
}

const verdicts = {
  kept: 'kept: nothing is lost for certain',
  hidden: 'hidden: lost when it is asked plainly, and less so in another way',
  lost: 'lost: in every way of asking',
  unknown: 'unknown: the model does not do it without the prompt either',
}

function describe({ of, verdict, results }: Probed['texts'][number]): string {
  const points = ({ value, low, high }: MetricValue, sign = '') =>
    `${sign && value > 0 ? sign : ''}${(100 * value).toFixed(1)} [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`
  const rows = results.map(({ form, without, under, forgotten }) => [
    `  ${form}`,
    points(without),
    points(under),
    points(forgotten, '+'),
  ])
  const texts = of === 'run' ? 'texts like those of the run' : 'made sentences'
  return [
    `${texts}, ${plural(results[0]!.rows, 'question')} in each way; right answers in % [95 % interval]`,
    table([['', 'without the prompt', 'under it', 'forgotten, points'], ...rows]),
    `  ${verdicts[verdict]}`,
  ].join('\n')
}
