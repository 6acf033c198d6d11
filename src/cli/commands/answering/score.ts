import { scorePredictions } from '../../../api/evaluation/score.js'
import { GradpromptError } from '../../../errors.js'
import { readColumns, readLabels } from '../../show/column-options.js'
import { readRunning } from '../../show/engine-options.js'
import type { CommandFunction } from '../../terminal/command.js'
import { Interrupted } from '../../terminal/failure.js'
import { metricsTable } from '../../terminal/figures.js'
import { createOutput, plural, warningsTo } from '../../terminal/output.js'
import { createActivity } from '../../terminal/progress.js'
import { exitCodes, type Stop, stopSignals } from '../../terminal/stopping.js'

/** `gradprompt score FILE` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const text = (name: string) => options[name] as string | undefined
  const data = text('data')
  if (data === undefined)
    throw new GradpromptError('missing-option', 'there is nothing to hold the answers against', {
      found: 'no --data',
      expected: '--data FILE with the rows that were answered',
    })
  const onEvent = warningsTo(output)
  const stopping = new AbortController()
  let stoppedBy: Stop | undefined
  const stop = (signal: Stop) => {
    stoppedBy = signal
    stopping.abort()
    output.note('stopping; Ctrl-C again stops at once')
  }
  for (const signal of stopSignals) process.once(signal, stop)
  using activity = createActivity()
  const { results: _, ...scored } = await scorePredictions({
    ...{ predictions: argument!, data, task: text('task'), answer: text('answer') },
    ...{ columns: readColumns(text('columns')), labels: readLabels(text('labels')), scorer: text('scorer') },
    ...{ seed: options.seed as number | undefined, rows: text('rows') },
    ...readRunning(options),
    onWarning: warning => onEvent({ event: 'warning', ...warning }),
    onProgress: (done, total) => {
      if (!output.quiet) activity.show('rows', done, total)
    },
    signal: stopping.signal,
  })
    .catch((error: unknown) => {
      activity.clear()
      if (stoppedBy === undefined || !(error instanceof GradpromptError) || error.code !== 'aborted') throw error
      output.note(`${error.message}; ${error.hint ?? 'nothing is kept without --rows'}`)
      // What a row still computes, in a thread or as a program, is not waited for.
      setTimeout(() => process.exit(), 200).unref()
      throw new Interrupted(exitCodes[stoppedBy])
    })
    .finally(() => {
      for (const signal of stopSignals) process.off(signal, stop)
    })
  activity.clear()
  output.object({ event: 'result', ...scored, ...(text('rows') !== undefined && { results: text('rows') }) })
  const { errors } = scored
  output.text(
    [
      `${argument}, ${plural(scored.rows, 'row')} of ${data} [95 % interval]`,
      metricsTable([{ name: scored.task, metrics: scored.metrics }]),
      ...errors.slice(0, 3).map(({ index, message }) => `row ${index + 1} could not be scored: ${message}`),
      ...(errors.length > 3 ? [`and ${errors.length - 3} more`] : []),
      ...(text('rows') === undefined ? [] : ['', `rows: ${text('rows')}`]),
    ].join('\n'),
  )
  return 0
}
