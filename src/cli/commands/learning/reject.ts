import type { Measured } from '../../../api/foreign/measure.js'
import type { MetricValue } from '../../../evaluate/intervals.js'
import { ownCommand } from '../../../own-command.js'
import { compute } from '../../computing/computation.js'
import type { RejectRequest, RejectResult } from '../../computing/messages.js'
import { readColumns } from '../../show/column-options.js'
import { inRange, machineRequest } from '../../show/engine-options.js'
import { learningReport } from '../../show/learning.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { createOutput, plural, table } from '../../terminal/output.js'

/** `gradprompt reject RUN` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const request = rejectRequest(argument!, options)
  const report = learningReport(output)
  let taught: RejectResult | undefined
  const code = await report.of(
    compute('reject', request, report).then(result => {
      taught = result
      return result.result
    }),
  )
  const { result: _, ...about } = taught!
  output.object({ event: 'rejecting', ...about })
  output.text(`\n${describe(taught!)}`)
  return code
}

/** @throws GradpromptError `invalid-option` */
function rejectRequest(run: string, options: OptionValues): RejectRequest {
  return {
    run,
    ...machineRequest(options),
    foreign: options.foreign as readonly string[] | undefined,
    data: options.data as string | undefined,
    columns: readColumns(options.columns as string | undefined),
    labels: inRange(options, 'labels', { least: 1, most: 900 }),
    words: options.words as string | undefined,
    texts: inRange(options, 'texts', { least: 1 }),
    knownTexts: inRange(options, 'known-texts', { least: 0 }),
    maxNewTokens: inRange(options, 'max-new-tokens', { least: 1 }),
    groups: inRange(options, 'groups', { least: 1 }),
    share: inRange(options, 'share', { above: 0, most: 1 }),
    steps: inRange(options, 'steps', { least: 1 }),
    batchSize: inRange(options, 'batch-size', { least: 1 }),
    learningRate: inRange(options, 'learning-rate', { above: 0 }),
    seed: inRange(options, 'seed', { least: 0, most: 0xffffffff }),
    out: options.out as string | undefined,
  }
}

const scoreNames = {
  grouped: 'this run: grouped score',
  largestShare: 'the run before: largest probability',
  energy: 'the run before: energy',
} as const

function describe({ rejection, foreignLabels, texts, measured, result }: RejectResult): string {
  const shown = foreignLabels.slice(0, 8).join(', ')
  return [
    `${plural(foreignLabels.length, 'foreign label')}: ${shown}${foreignLabels.length > 8 ? ', …' : ''}`,
    `a text is none of these below ${shownThreshold(rejection.threshold)}, which ${(100 * rejection.share).toFixed(0)} % of ${plural(rejection.rows, 'held-out row')} reach`,
    ...measured.map(describeMeasured),
    `rows that were learned from: ${texts}`,
    `next  ${ownCommand`predict ${result.folder} FILE --reject`}`,
  ].join('\n')
}

/** Scores crowd below 1, where a threshold of three digits is that of other rows. */
export const shownThreshold = (threshold: number): string => {
  if (threshold < 0.9 || threshold >= 1) return threshold.toPrecision(3)
  return threshold.toFixed(Math.min(15, 2 - Math.floor(Math.log10(1 - threshold))))
}

function describeMeasured({ foreign, rows, scores, gains }: Measured): string {
  const figure = ({ value, low, high }: MetricValue, sign = '') =>
    `${sign && value > 0 ? sign : ''}${(100 * value).toFixed(1)} [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`
  const named = Object.entries(scoreNames) as [keyof typeof scoreNames, string][]
  const lines = named.map(([name, title]) => {
    const gain = gains[name]
    return [`  ${title}`, figure(scores[name].auroc), figure(scores[name].fpr95), gain ? figure(gain, '+') : '']
  })
  return [
    `${plural(rows.known, 'known row')} against ${rows.foreign} of ${foreign}; in %, with 95 % intervals`,
    table([['', 'AUROC', 'FPR at 95 % TPR', 'this run is above it by'], ...lines]),
  ].join('\n')
}
