import { compute } from '../../computing/computation.js'
import type { CompressRequest, CompressResult } from '../../computing/messages.js'
import { inRange, machineRequest, oneOf } from '../../show/engine-options.js'
import { learningReport } from '../../show/learning.js'
import type { CommandFunction, OptionValues } from '../../terminal/command.js'
import { createOutput, plural } from '../../terminal/output.js'

/** `gradprompt compress FILE` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const request = compressRequest(argument!, options)
  const report = learningReport(output)
  let compressed: CompressResult | undefined
  const code = await report.of(
    compute('compress', request, report).then(result => {
      compressed = result
      return result.result
    }),
  )
  const { result: _, ...about } = compressed!
  output.object({ event: 'compressed', ...about })
  output.text(`\n${describe(compressed!)}`)
  return code
}

/** @throws GradpromptError `invalid-option` */
function compressRequest(file: string, options: OptionValues): CompressRequest {
  return {
    file,
    ...machineRequest(options),
    as: oneOf(options, 'as', ['keys', 'rows'] as const),
    tokens: inRange(options, 'tokens', { least: 1 }),
    conversations: inRange(options, 'conversations', { least: 2, most: 100_000 }),
    maxNewTokens: inRange(options, 'max-new-tokens', { least: 1 }),
    questions: options.questions as string | undefined,
    steps: inRange(options, 'steps', { least: 1 }),
    batchSize: inRange(options, 'batch-size', { least: 1 }),
    learningRate: inRange(options, 'learning-rate', { above: 0 }),
    seed: inRange(options, 'seed', { least: 0, most: 0xffffffff }),
    out: options.out as string | undefined,
  }
}

function describe({ textTokens, conversations, retained }: CompressResult): string {
  const { of, rows, without, inContext, compressed, share } = retained
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`
  const kept =
    share === undefined
      ? 'the text in the context does not make these answers likelier, so there is nothing to keep'
      : `kept of what the text gains: ${percent(share.value)} [${percent(share.low)}, ${percent(share.high)}]`
  const aside =
    of === 'questions'
      ? `${plural(rows, 'question')} of those given`
      : `${plural(rows, 'conversation')} set aside (--questions FILE measures by your own)`
  return [
    `a text of ${plural(textTokens, 'token')}; log-likelihood of an answer, over ${aside}:`,
    `  without the text ${without.toFixed(2)}, with it ${inContext.toFixed(2)}, compressed ${compressed.toFixed(2)}`,
    `  ${kept}`,
    `conversations: ${conversations}`,
  ].join('\n')
}
