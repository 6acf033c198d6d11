import { ownCommand } from '../../../own-command.js'
import { compute } from '../../computing/computation.js'
import type { Tasks } from '../../computing/messages.js'
import { namesOf, objectIn } from '../../show/column-options.js'
import { inRange, machineRequest } from '../../show/engine-options.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { createOutput, plural, warningsTo } from '../../terminal/output.js'
import { createActivity } from '../../terminal/progress.js'

/** `gradprompt synthesize TASK` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const request = synthesizeRequest(argument!, options)
  using activity = createActivity()
  const result = await compute('synthesize', request, {
    onEvent: warningsTo(output),
    onProgress({ what, done, total }) {
      if (!output.quiet) activity.show(what, done, total)
    },
    hint: () => 'the same command goes on with what was written',
  })
  activity.clear()
  output.object({ event: 'result', ...result })
  output.text(describe(result))
  return 0
}

/** @throws GradpromptError `invalid-option` */
function synthesizeRequest(task: string, options: OptionValues): Tasks['synthesize']['request'] {
  const labels = options.labels as string | undefined
  return {
    ...machineRequest(options),
    task,
    labels:
      labels === undefined ? undefined : ((objectIn(labels) as Record<string, string> | undefined) ?? namesOf(labels, 'labels')),
    rows: inRange(options, 'rows', { least: 1 }),
    model: options.model as string | undefined,
    examples: options.examples as string | undefined,
    columns: options.columns === undefined ? undefined : namesOf(options.columns as string, 'columns'),
    output: (options.output as string | undefined) ?? 'synthetic.csv',
    temperature: inRange(options, 'temperature', { least: 0 }),
    maxNewTokens: inRange(options, 'max-new-tokens', { least: 1 }),
    similar: inRange(options, 'similar', { above: 0, most: 1 }),
    onlyAgreed: options['only-agreed'] === true || undefined,
    seed: inRange(options, 'seed', { least: 0, most: 0xffffffff }),
  }
}

function describe({
  output,
  rows,
  counts,
  written,
  rejected,
  fidelity,
  fidelityOf,
  diversity,
  model,
}: Tasks['synthesize']['result']): string {
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`
  const { empty, echoed, repeated, copied, surplus, disagreed } = rejected
  const out = [
    ...(repeated > 0 ? [`${repeated} like another`] : []),
    ...(copied > 0 ? [`${copied} like yours`] : []),
    ...(disagreed > 0 ? [`${disagreed} taken for another class`] : []),
    ...(echoed > 0 ? [`${echoed} that say a class or the task`] : []),
    ...(surplus > 0 ? [`${surplus} more than were wanted`] : []),
    ...(empty > 0 ? [`${empty} empty`] : []),
  ]
  const classes = Object.entries(counts).map(
    ([name, count]) => `${name} ${count}${fidelityOf === undefined ? '' : ` (${percent(fidelityOf[name]!)})`}`,
  )
  return [
    `${output}: ${plural(rows, 'row')}${classes.length === 0 ? '' : `: ${classes.join(', ')}`}`,
    `${plural(written, 'text')} written by ${model}${out.length === 0 ? '' : `; left out: ${out.join(', ')}`}`,
    ...(fidelity === undefined
      ? []
      : [
          `taken by ${model} for what they were to be: ${percent(fidelity.value)} [${percent(fidelity.low)}, ${percent(fidelity.high)}]`,
        ]),
    `two texts differ in ${percent(diversity.distance)} of their runs of three words, in the mean; ${percent(diversity.distinctPairs)} of the word pairs are distinct`,
    'texts and labels are what the model believes: look through them, and evaluate on rows of people',
    `next  ${ownCommand`tune --train ${output}`} --template '{text} ->' --answer ' {${fidelity === undefined ? 'answer' : 'label'}}'`,
  ].join('\n')
}
