import { defaultSeed } from '../../../config/call-options.js'
import { GradpromptError } from '../../../errors.js'
import { exists } from '../../../files.js'
import type { GenerationSettings } from '../../../generate/settings.js'
import { ownCommand } from '../../../own-command.js'
import { compute } from '../../computing/computation.js'
import type { GenerateRequest, GenerateResult } from '../../computing/messages.js'
import { objectIn, readColumns, readValues } from '../../show/column-options.js'
import { arithmetic, engineRequest, inexactNote, inRange } from '../../show/engine-options.js'
import { readLimits } from '../../show/limit-options.js'
import { readStrategy } from '../../show/strategy-options.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { Interrupted, plainText } from '../../terminal/failure.js'
import { createOutput, type Output, plural, quoted, warningsTo } from '../../terminal/output.js'
import { createActivity, formatDuration } from '../../terminal/progress.js'

/** `gradprompt generate TEXT`, or `--input` and `--output` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const request = await generateRequest(argument, options)
  if (argument !== undefined && request.prompt !== undefined && request.raw !== true && objectIn(argument) !== undefined)
    warningsTo(output)(objectAsText)
  if ('asked' in request.source) await answerText(request, output)
  else await answerFile(request, request.source.output, output)
  return 0
}

const objectAsText = {
  event: 'warning',
  code: 'object-as-text',
  message: 'TEXT is a JSON object, and stands in the template as it is written: as values of columns it is given by --columns',
}

async function answerText(request: GenerateRequest, output: Output): Promise<void> {
  const stream = output.json ? process.stderr : process.stdout
  const isSilent = output.json && output.quiet
  const activity = createActivity()
  let lineOpen = false
  const endLine = () => {
    if (lineOpen) stream.write('\n')
    lineOpen = false
  }
  try {
    const result = await compute('generate', request, {
      onEvent: warningsTo(output),
      onProgress({ what, done, total }) {
        if (!output.quiet) activity.show(what, done, total)
      },
      onNews({ text }) {
        activity.clear()
        if (isSilent) return
        stream.write(plainText(text))
        lineOpen = true
      },
    })
    endLine()
    const { answer, ...about } = result
    output.object({ event: 'result', ...answer, ...about })
    const cut =
      request.strategy === undefined
        ? 'stopped by --max-new-tokens'
        : 'cut short: by --max-new-tokens, or by what the strategy may take'
    output.note(describe(result, answer!.finishReason === 'length' ? cut : 'ended by the model'))
    noteArithmetic(request, result, output)
  } catch (error) {
    endLine()
    throw error
  }
}

async function answerFile(request: GenerateRequest, path: string, output: Output): Promise<void> {
  const activity = createActivity()
  try {
    const result = await compute('generate', request, {
      readsInput: 'input' in request.source && request.source.input === '-',
      onEvent: warningsTo(output),
      onProgress({ what, done, total }) {
        if (!output.quiet) activity.show(what, done, total)
      },
      onStopping() {
        activity.clear()
        output.note('stopping; Ctrl-C again stops at once')
      },
      hint: () => `finished rows stand in ${path}.partial: the same command goes on`,
    })
    activity.clear()
    const { file, ...about } = result
    output.object({ event: 'result', ...file, ...about })
    const before = file!.resumed > 0 ? ` (${file!.resumed} of them before)` : ''
    output.text(`${path}: ${plural(file!.rows, 'row')}${before}`)
    output.note(describe(result))
    noteArithmetic(request, result, output)
  } catch (error) {
    activity.clear()
    if (error instanceof Interrupted) output.note(`stopped; finished rows stand in ${path}.partial: the same command goes on`)
    throw error
  }
}

/** Exact arithmetic is the default: where it was not taken, that is said. */
function noteArithmetic({ weights: asked = 'auto' }: GenerateRequest, { weights }: GenerateResult, output: Output): void {
  if (asked === 'auto' && weights === 'stored') output.note(inexactNote)
}

function describe({ model, weights, seconds, tokens, answer }: GenerateResult, ending?: string): string {
  const by = typeof answer?.stoppedBy === 'string' ? `stopped by ${quoted(answer.stoppedBy, 40)}` : ending
  return [
    `${plural(tokens, 'new token')} in ${formatDuration(seconds)}, ${(tokens / seconds).toFixed(1)} a second`,
    ...(answer?.severally ? [plural(answer.severally.calls, 'call')] : []),
    ...(by === undefined ? [] : [by]),
    ...(answer?.rejectedMass === undefined
      ? []
      : [`left alone, the model would have left the limit with a probability of ${answer.rejectedMass.toPrecision(4)}`]),
    `${model}, ${arithmetic(weights)}`,
  ].join('; ')
}

/** @throws GradpromptError `invalid-option`, `missing-argument`, `file-exists` */
export async function generateRequest(text: string | undefined, options: OptionValues): Promise<GenerateRequest> {
  const source = await sourceOf(text, options)
  const system = options.system as string | undefined
  if (options.raw === true && (options.chat === true || system !== undefined)) {
    throw new GradpromptError('invalid-option', `--raw and --${options.chat === true ? 'chat' : 'system'} exclude each other`, {
      hint: 'without --raw, text goes through the chat template',
    })
  }
  const promptTask = options['prompt-task'] as string | undefined
  if (promptTask !== undefined && options.prompt === undefined) {
    throw new GradpromptError('invalid-option', '--prompt-task needs --prompt', {
      hint: 'name the run of a prompt of several tasks: --prompt RUN',
    })
  }
  return {
    ...engineRequest(options),
    prompt: options.prompt as string | undefined,
    promptTask,
    strength: options.strength as number | undefined,
    against: options.against as string | undefined,
    contrast: inRange(options, 'contrast', { least: 0 }),
    strategy: readStrategy(options),
    source,
    chat: options.chat === true ? true : options.raw === true ? false : undefined,
    raw: options.raw === true || undefined,
    ...(await readLimits(options)),
    system,
    variables: readVariables((options.variable ?? []) as readonly string[]),
    maxNewTokens: inRange(options, 'max-new-tokens', { least: 1 }),
    settings: readSettings(options),
  }
}

function readSettings(options: OptionValues): GenerationSettings {
  const topP = inRange(options, 'top-p', { above: 0, most: 1 })
  const topK = inRange(options, 'top-k', { least: 1 })
  const minP = inRange(options, 'min-p', { least: 0, most: 1 })
  const samples = topP !== undefined || topK !== undefined || minP !== undefined
  const stop = (options.stop ?? []) as readonly string[]
  if (stop.includes('')) {
    throw new GradpromptError('invalid-option', '--stop is empty', { expected: 'a text that ends an answer' })
  }
  return {
    temperature: inRange(options, 'temperature', { least: 0 }) ?? (samples ? 1 : 0),
    topP,
    topK,
    minP,
    repetitionPenalty: inRange(options, 'repetition-penalty', { above: 0 }),
    seed: (options.seed as number | undefined) ?? defaultSeed,
    stop: stop.length > 0 ? stop : undefined,
    logProbabilities: options.logprobs === true || undefined,
  }
}

async function sourceOf(text: string | undefined, options: OptionValues): Promise<GenerateRequest['source']> {
  const input = options.input as string | undefined
  const output = options.output as string | undefined
  if (text !== undefined && (input ?? output) !== undefined) {
    throw new GradpromptError('invalid-option', `TEXT and --${input === undefined ? 'output' : 'input'} exclude each other`, {
      hint: 'the answer to one text is printed; the answers to the rows of --input go to --output',
    })
  }
  const columns = options.columns as readonly string[] | undefined
  if (text !== undefined && columns !== undefined) {
    throw new GradpromptError('invalid-option', 'TEXT and --columns exclude each other', {
      hint: 'a text stands in the only column of a template; of several each is given by its name',
    })
  }
  if (text === '-') {
    throw new GradpromptError('invalid-option', 'TEXT is -, which nobody asks', {
      found: '-',
      expected: 'a text; rows of standard input are answered by --input - --output FILE',
      hint: 'a text from standard input: "$(cat)"',
    })
  }
  if (text !== undefined) return { asked: text }
  if (input === undefined && output === undefined && columns !== undefined) return { asked: readValues(columns) }
  if (input === undefined || output === undefined) {
    const both = input === output
    const missing = both ? 'a TEXT, or --input and --output' : input === undefined ? '--input' : '--output'
    throw new GradpromptError(both ? 'missing-argument' : 'missing-option', `gradprompt generate needs ${missing}`, {
      found: 'nothing',
      expected: 'a text to answer, or a file of rows and a file for their answers',
      hint: ownCommand`generate --input questions.jsonl --output answers.jsonl`,
    })
  }
  if (await exists(output)) {
    throw new GradpromptError('file-exists', `there is already a file ${output}`, {
      found: output,
      expected: 'a new name: nothing is overwritten',
      hint: 'name another with --output, or remove it',
    })
  }
  return { input, output, columns: readColumns(columns?.join(',')) }
}

/** `enable_thinking=false`: JSON where it is, otherwise text. */
function readVariables(given: readonly string[]): Record<string, unknown> {
  const pairs = given.map((text): [string, unknown] => {
    const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(text) ?? []
    if (name === undefined || value === undefined) {
      throw new GradpromptError('invalid-option', '--variable is not valid', {
        found: text,
        expected: 'name=value, such as enable_thinking=false',
      })
    }
    try {
      return [name, JSON.parse(value)]
    } catch {
      return [name, value]
    }
  })
  return Object.fromEntries(pairs)
}
