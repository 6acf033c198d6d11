import { rowFormatFor, rowFormatNamed } from '../../../data/writers/index.js'
import { GradpromptError } from '../../../errors.js'
import { acquisitionRules } from '../../../evaluate/acquisition.js'
import { compute } from '../../computing/computation.js'
import type { LabelNextRequest, LabelNextResult } from '../../computing/messages.js'
import { readColumns, readLabels } from '../../show/column-options.js'
import { inRange, machineRequest, oneOf } from '../../show/engine-options.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { createOutput, plural, warningsTo } from '../../terminal/output.js'
import { createActivity } from '../../terminal/progress.js'

/** `gradprompt label-next RUN FILE` */
export const run: CommandFunction = async ({ argument, secondArgument, options }) => {
  const output = createOutput(options)
  const request = labelRequest(argument!, secondArgument!, options)
  using activity = createActivity()
  const result = await compute('labelNext', request, {
    readsInput: request.data === '-',
    onEvent: warningsTo(output),
    onProgress({ what, done, total }) {
      if (!output.quiet) activity.show(what, done, total)
    },
  })
  activity.clear()
  if ('output' in result) {
    output.object({ event: 'result', ...result })
    output.text(`${result.output}: ${describe(result)}`)
    return 0
  }
  // Rows on standard output are the result: nothing else stands among them.
  process.stdout.write(result.text)
  output.note(describe(result))
  return 0
}

/** @throws GradpromptError `invalid-option`, `unknown-format` */
function labelRequest(prompt: string, data: string, options: OptionValues): LabelNextRequest {
  const path = options.output as string | undefined
  const named = options.format as string | undefined
  const format =
    named !== undefined
      ? rowFormatNamed(named)
      : path !== undefined
        ? rowFormatFor(path)
        : rowFormatNamed(options.json === true ? 'jsonl' : 'csv')
  if (format.isBinary)
    throw new GradpromptError('invalid-option', 'rows that people label are written as text', {
      found: format.name,
      expected: 'csv or jsonl',
    })
  return {
    ...machineRequest(options),
    prompts: [prompt, ...((options.with as readonly string[] | undefined) ?? [])],
    data,
    output: path,
    format: format.name,
    count: inRange(options, 'count', { least: 1 }),
    by: oneOf(options, 'by', acquisitionRules),
    among: inRange(options, 'among', { least: 1 }),
    columns: readColumns(options.columns as string | undefined),
    template: options.template as string | undefined,
    answer: options.answer as string | undefined,
    labels: readLabels(options.labels as string | undefined),
    force: options.force === true,
    truncate: options.truncate === true || undefined,
    seed: inRange(options, 'seed', { least: 0, most: 0xffffffff }),
  }
}

function describe({ rows, pool, labelled, repeated, empty, by }: LabelNextResult): string {
  const out = [
    ...(labelled > 0 ? [`${plural(labelled, 'row')} with a label`] : []),
    ...(repeated > 0 ? [plural(repeated, 'repeated row')] : []),
    ...(empty > 0 ? [plural(empty, 'empty row')] : []),
  ]
  return `${plural(rows.length, 'row')} of ${pool} by ${by}${out.length > 0 ? `; left out: ${out.join(', ')}` : ''}`
}
