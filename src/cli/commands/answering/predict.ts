import { stat } from 'node:fs/promises'
import { answerTypes } from '../../../data/texts/answer-type.js'
import { rowFormatFor, rowFormatNamed } from '../../../data/writers/index.js'
import { GradpromptError } from '../../../errors.js'
import { choices } from '../../../evaluate/score.js'
import { weightChoices } from '../../../generate/width.js'
import { ownCommand } from '../../../own-command.js'
import { keepingChoices } from '../../../program/keeping.js'
import { precisions } from '../../../program/precision.js'
import { compute } from '../../computing/computation.js'
import type { PredictRequest, PredictResult } from '../../computing/messages.js'
import { namesOf, readColumns, readLabels } from '../../show/column-options.js'
import { arithmetic, chosenDevice, inexactNote, inRange, oneOf } from '../../show/engine-options.js'
import { readTestTime } from '../../show/test-time-options.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { createOutput, plural } from '../../terminal/output.js'
import { createActivity, formatDuration } from '../../terminal/progress.js'

/** `gradprompt predict RUN FILE` */
export const run: CommandFunction = async ({ argument, secondArgument, options }) => {
  const request = await predictRequest(argument!, secondArgument!, options)
  const { output: path } = request
  const output = createOutput({ json: options.json, quiet: options.quiet })
  const activity = createActivity()
  const started = performance.now()
  try {
    const result = await compute('predict', request, {
      readsInput: request.data === '-',
      onEvent(event) {
        if (event.event !== 'warning') return
        activity.clear()
        if (path !== undefined) output.object(event)
        output.note(`warning[${event.code}]: ${event.message}`)
      },
      onProgress({ what, done, total }) {
        // What takes no longer needs no word.
        if (output.quiet || performance.now() - started < silentMilliseconds) return
        activity.show(total > 0 ? what : `${what} ${done}`, done, total)
      },
      onNews({ text }) {
        activity.clear()
        process.stdout.write(text)
      },
      onStopping() {
        activity.clear()
        output.note('stopping; Ctrl-C again stops at once')
      },
    })
    activity.clear()
    // Rows on standard output are the result: nothing else stands among them.
    if (path !== undefined) output.object({ event: 'result', ...result })
    const summary = describe(request, result)
    if (path === undefined) output.note(summary)
    else output.text(`${path}: ${summary}`)
    if (result.weights === 'stored' && (request.weights ?? 'auto') === 'auto') output.note(inexactNote)
    return 0
  } catch (error) {
    activity.clear()
    throw error
  }
}

const silentMilliseconds = 2000

function describe({ ensemble }: PredictRequest, { rows, model, weights, seconds, labels }: PredictResult): string {
  const pace = rows > 0 ? `, ${(rows / Math.max(seconds, 1e-6)).toFixed(1)} a second` : ''
  const what = labels === undefined ? 'free text' : plural(labels.length, 'label')
  const by = ensemble === undefined ? '' : `the mean of an ensemble of ${plural(ensemble, 'prompt')}; `
  return `${plural(rows, 'row')} in ${formatDuration(seconds)}${pace}; ${what}; ${by}${model}, ${arithmetic(weights)}`
}

/** @throws GradpromptError `invalid-option`, `unknown-format`, `not-a-run`, `file-exists` */
export async function predictRequest(prompt: string, data: string, options: OptionValues): Promise<PredictRequest> {
  const text = (name: string) => options[name] as string | undefined
  if ((await stat(prompt).catch(() => undefined)) === undefined) {
    throw new GradpromptError('not-a-run', `there is no run at ${prompt}`, {
      found: 'no such file or folder',
      expected: 'a run folder, a prompt.safetensors, or the folder of a PEFT adapter',
      hint: ownCommand`predict RUN FILE`,
    })
  }
  const output = text('output')
  const given = text('format')
  const format =
    given === undefined
      ? output === undefined
        ? rowFormatNamed(options.json === true ? 'jsonl' : 'csv')
        : rowFormatFor(output)
      : rowFormatNamed(given)
  if (output === undefined && format.isBinary) {
    throw new GradpromptError('invalid-option', `${format.name} does not go to standard output`, {
      found: `--format ${format.name}`,
      expected: 'a file for it, or a format of text: csv, jsonl',
      hint: `--output predictions.${format.extensions[0]}`,
    })
  }
  const keep = text('keep')
  return {
    prompt,
    data,
    output,
    format: format.name,
    keep: keep === undefined || keep === 'all' ? undefined : keep === 'none' ? [] : namesOf(keep, 'keep'),
    model: text('model'),
    families: options.family as readonly string[] | undefined,
    template: text('template'),
    answer: text('answer'),
    labels: readLabels(text('labels')),
    answerType: oneOf(options, 'answer-type', answerTypes),
    columns: readColumns(text('columns')),
    choose: oneOf(options, 'choose', choices),
    reject: inRange(options, 'reject-below', { least: 0, most: 1 }) ?? (options.reject === true || undefined),
    testTime: readTestTime(options),
    ensemble: inRange(options, 'ensemble', { least: 1 }),
    truncate: options.truncate === true || undefined,
    force: options.force === true,
    strength: options.strength as number | undefined,
    promptTask: text('prompt-task'),
    maxNewTokens: inRange(options, 'max-new-tokens', { least: 1 }),
    weights: oneOf(options, 'weights', weightChoices),
    batchSize: inRange(options, 'batch-size', { least: 1 }),
    device: chosenDevice(options),
    threads: inRange(options, 'threads', { least: 1 }),
    memory: inRange(options, 'memory', { above: 0 }),
    keepWeights: oneOf(options, 'keep-weights', keepingChoices),
    precision: oneOf(options, 'precision', precisions),
  }
}
