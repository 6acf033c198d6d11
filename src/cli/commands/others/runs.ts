import { type RunSummaries, type RunSummary, summarizeRuns, writeRunsPage } from '../../../api/runs/summary.js'
import { GradpromptError } from '../../../errors.js'
import { exists } from '../../../files.js'
import { ownCommand } from '../../../own-command.js'
import { metricNames } from '../../../report/parts/presentation.js'
import type { CommandFunction } from '../../terminal/command.js'
import { formatMetric } from '../../terminal/figures.js'
import { createOutput, plural, shorten, table } from '../../terminal/output.js'

const defaultFolder = 'runs'

/** `gradprompt runs [FOLDER]` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const folder = argument ?? defaultFolder
  if (argument !== undefined && !(await exists(argument))) {
    throw new GradpromptError('file-not-found', `there is no folder ${argument}`, {
      found: 'nothing',
      expected: 'a folder with runs in it',
      hint: `without one, ${ownCommand`runs`} lists those of ${defaultFolder}/`,
    })
  }
  const summaries = await summarizeRuns(folder)
  for (const summary of summaries.runs) output.object({ event: 'run', ...summary })
  for (const { folder, error } of summaries.unreadable) {
    output.object({ event: 'warning', code: error.code, message: `${folder} cannot be read: ${error.message}` })
    output.note(`warning[${error.code}]: ${folder} cannot be read: ${error.message}`)
  }
  output.text(describe(folder, summaries))
  if (options.html === true && summaries.runs.length + summaries.unreadable.length > 0) {
    const page = await writeRunsPage(folder, summaries)
    output.object({ event: 'result', page })
    output.text(`\npage: ${page}`)
  }
  return 0
}

function describe(folder: string, { runs }: RunSummaries): string {
  if (runs.length === 0) return `no runs in ${folder}`
  const heads = ['run', 'state', 'method', 'result [95 % interval]', 'verdict', 'model', 'began']
  return `${plural(runs.length, 'run')} in ${folder}, the latest first\n${table([heads, ...runs.map(line)])}`
}

function line({ name, state, steps, method, metric, verdict, model, began }: RunSummary): string[] {
  const figure =
    metric &&
    `${metricNames[metric.name] ?? metric.name} ${formatMetric(metric.name, metric)}${metric.of === 'dev' ? ' (dev)' : ''}`
  return [
    shorten(name, 40),
    state === 'finished' ? state : `${state} at step ${steps}`,
    method,
    figure ?? '',
    verdict ?? '',
    shorten(model, 36),
    began === undefined ? '' : began.slice(0, 16).replace('T', ' '),
  ]
}
