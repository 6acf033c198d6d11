import type { GeneratedFigures, TestTimeFigures } from '../../../api/evaluation/evaluate.js'
import { answerTypes } from '../../../data/texts/answer-type.js'
import { GradpromptError } from '../../../errors.js'
import { choices } from '../../../evaluate/score.js'
import { exists } from '../../../files.js'
import { weightChoices } from '../../../generate/width.js'
import { keepingChoices } from '../../../program/keeping.js'
import { precisions } from '../../../program/precision.js'
import { compute } from '../../computing/computation.js'
import type { EvaluateRequest, EvaluateResult } from '../../computing/evaluation-request.js'
import { readColumns, readLabels } from '../../show/column-options.js'
import { arithmetic, chosenDevice, inRange, oneOf, readRunning, runningNames } from '../../show/engine-options.js'
import { limitNames, readLimits } from '../../show/limit-options.js'
import { readStrategy } from '../../show/strategy-options.js'
import { readTestTime } from '../../show/test-time-options.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { Interrupted } from '../../terminal/failure.js'
import { confusionTable, metricsTable, verdictLines } from '../../terminal/figures.js'
import { createOutput, plural, quoted, warningsTo } from '../../terminal/output.js'

/** `gradprompt evaluate RUN` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const request = await requestOf(argument, options)
  // Rows that were answered stand in a file as soon as they are scored; likelihoods are written together.
  const isKept = (request.generation ?? request.testTime) !== undefined && (request.rows ?? argument) !== undefined
  const goOn = 'finished rows are kept: the same command goes on'
  let shownAt = performance.now()
  const evaluating = compute('evaluate', request, {
    onEvent: warningsTo(output),
    onProgress({ what, done, total }) {
      if (done < total && performance.now() - shownAt < 5000) return
      shownAt = performance.now()
      output.note(`${done}/${total} ${what}`)
    },
    onStopping: () => output.note('stopping; Ctrl-C again stops at once'),
    hint: () => (isKept ? goOn : undefined),
  })
  const result = await evaluating.catch((error: unknown) => {
    if (error instanceof Interrupted && isKept) output.note(`stopped; ${goOn}`)
    throw error
  })
  const { threshold } = options
  const passed = typeof threshold === 'number' ? reaches(threshold, result) : undefined
  output.object({ event: 'result', ...result, ...(passed !== undefined && { threshold, passed }) })
  output.text(describe(request, result))
  if (passed !== false) return 0
  output.note(`accuracy is below ${threshold}`)
  return 1
}

async function requestOf(argument: string | undefined, options: OptionValues): Promise<EvaluateRequest> {
  const text = (name: string) => options[name] as string | undefined
  const number = (name: string) => options[name] as number | undefined
  const given = text('prompt')
  if (argument !== undefined && given !== undefined) {
    throw new GradpromptError('invalid-option', 'RUN and --prompt exclude each other', {
      found: `${argument} and --prompt ${given}`,
      hint: 'name the run, or give a prompt file with --prompt',
    })
  }
  if (argument !== undefined && !(await exists(argument))) {
    throw new GradpromptError('not-a-run', `there is no run at ${argument}`, {
      found: 'no such folder',
      expected: 'the folder of an earlier gradprompt tune',
      hint: 'a plain model is scored with --model',
    })
  }
  const device = chosenDevice(options)
  const { threshold } = options
  if (typeof threshold === 'number' && !(threshold >= 0 && threshold <= 1)) {
    throw new GradpromptError('invalid-option', '--threshold is not valid', {
      found: String(threshold),
      expected: 'a share from 0 to 1, such as 0.9',
    })
  }
  return {
    configFile: text('config'),
    prompt: argument ?? given,
    model: text('model'),
    families: options.family as readonly string[] | undefined,
    data: text('data'),
    template: text('template'),
    answer: text('answer'),
    answerEnd: text('answer-end'),
    columns: readColumns(text('columns')),
    labels: readLabels(text('labels')),
    answerType: oneOf(options, 'answer-type', answerTypes),
    instruction: text('instruction'),
    choose: oneOf(options, 'choose', choices),
    testTime: readTestTime(options),
    ensemble: inRange(options, 'ensemble', { least: 1 }),
    limit: number('limit'),
    seed: number('seed'),
    batchSize: number('batch-size'),
    force: options.force === true,
    strength: number('strength'),
    device,
    threads: number('threads'),
    memory: number('memory'),
    keepWeights: oneOf(options, 'keep-weights', keepingChoices),
    precision: oneOf(options, 'precision', precisions),
    control: options['no-control'] !== true,
    rows: text('rows'),
    report: text('report'),
    generation: await generationOf(options),
  }
}

/** A task, or anything else that belongs to generated answers, asks for them. */
async function generationOf(options: OptionValues): Promise<EvaluateRequest['generation']> {
  const own = [
    'generate',
    'task',
    'examples',
    'shots',
    'scorer',
    'max-new-tokens',
    'temperature',
    'weights',
    ...limitNames,
    ...runningNames,
    'against',
    'contrast',
    'strategy',
    'strategy-option',
  ]
  if (own.every(name => options[name] === undefined)) return undefined
  return {
    task: options.task as string | undefined,
    examples: options.examples as string | undefined,
    shots: options.shots as number | undefined,
    scorer: options.scorer as string | undefined,
    weights: oneOf(options, 'weights', weightChoices),
    maxNewTokens: options['max-new-tokens'] as number | undefined,
    temperature: options.temperature as number | undefined,
    ...(await readLimits(options)),
    ...readRunning(options),
    against: options.against as string | undefined,
    contrast: inRange(options, 'contrast', { least: 0 }),
    strategy: readStrategy(options),
  }
}

function reaches(threshold: number, { metrics }: EvaluateResult): boolean {
  const { accuracy } = metrics
  if (accuracy !== undefined) return accuracy.value >= threshold
  throw new GradpromptError('invalid-option', '--threshold needs an accuracy', {
    found: `figures without one: ${Object.keys(metrics).join(', ')}`,
    expected: 'answers of a closed set (data.labels)',
  })
}

function describe({ prompt, instruction }: EvaluateRequest, result: EvaluateResult): string {
  const { control } = result
  const words = prompt === undefined ? instruction : control?.instruction
  // Where every row is from before, nothing was computed.
  const pace = result.rowsPerSecond > 0 ? `, ${result.rowsPerSecond.toFixed(1)} rows/s` : ''
  const sections = [
    `${result.data}, ${plural(result.rows, 'row')} on ${result.model}${pace} [95 % interval]`,
    metricsTable([
      ...(control === undefined ? [] : [{ name: control.name, metrics: control.metrics }]),
      ...(result.testTime?.averaged ? [result.testTime.averaged] : []),
      { name: result.condition, metrics: result.metrics },
    ]),
    ...(result.verdict ? ['', ...verdictLines(result.verdict)] : []),
    ...(result.confusion && result.labels ? ['', confusionTable(result.confusion, result.labels)] : []),
    ...(typeof words === 'string' ? ['', `instruction: ${quoted(words, 120)}`] : []),
    '',
    ...(result.testTime ? [tunedLine(result.testTime)] : []),
    ...(result.generated ? generatedLines(result.generated) : [arithmetic(result.weights)]),
    ...(result.results || result.report ? [''] : []),
    ...(result.results ? [`rows: ${result.results}`] : []),
    ...(result.report ? [`report: ${result.report}`] : []),
  ]
  return sections.join('\n')
}

const tunedLine = ({ how, views, resumed }: TestTimeFigures) =>
  `tuned at test time: ${how}; ${views.toFixed(1)} views of a row${resumed > 0 ? `, ${plural(resumed, 'row')} from before` : ''}`

function generatedLines({
  task,
  weights,
  generatedTokens,
  resumed,
  unextracted,
  cut,
  rules,
  errors,
}: GeneratedFigures): string[] {
  const found = Object.entries(rules).map(([rule, count]) => `${rule} ${count}`)
  return [
    `${task}, ${plural(generatedTokens, 'token')} generated in ${arithmetic(weights)}${resumed > 0 ? `, ${plural(resumed, 'row')} from before` : ''}`,
    `answers found by: ${found.join(', ') || 'no rule'}${unextracted > 0 ? `; none in ${plural(unextracted, 'row')}` : ''}`,
    ...(cut > 0 ? [`${plural(cut, 'answer')} ended by the token budget`] : []),
    ...errors.slice(0, 3).map(({ index, message }) => `row ${index + 1} could not be scored: ${message}`),
    ...(errors.length > 3 ? [`and ${errors.length - 3} more`] : []),
  ]
}
