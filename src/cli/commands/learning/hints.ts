import type { LearnedHints } from '../../../api/hints/hints.js'
import { type ConditionName, conditionNames } from '../../../api/hints/measure.js'
import type { MetricValue } from '../../../evaluate/intervals.js'
import { hintKinds } from '../../../hints/form.js'
import { ownCommand } from '../../../own-command.js'
import { compute } from '../../computing/computation.js'
import type { HintsRequest } from '../../computing/messages.js'
import { inRange, oneOf } from '../../show/engine-options.js'
import type { CommandFunction, Invocation } from '../../terminal/command.js'
import { Interrupted } from '../../terminal/failure.js'
import { createOutput, plural, table, warningsTo } from '../../terminal/output.js'
import { createActivity } from '../../terminal/progress.js'

/** `gradprompt hints` */
export const run: CommandFunction = async invocation => {
  const output = createOutput(invocation.options)
  const request = hintsRequest(invocation)
  using activity = createActivity()
  const warned = warningsTo(output)
  let steps = 0
  let folder: string | undefined
  const goOn = () => goingOn(request, folder)
  output.note('loading …')
  const result = await compute('hints', request, {
    onEvent(event) {
      warned(event)
      if (event.event === 'loaded') steps = event.steps
      else if (event.event === 'step' && !output.quiet) activity.show('learning, steps', event.step, steps)
    },
    onProgress(progress) {
      if ('folder' in progress && typeof progress.folder === 'string') folder = progress.folder
      if (!output.quiet) activity.show(progress.what, progress.done, progress.total)
    },
    hint: goOn,
  }).catch(error => {
    activity.clear()
    if (error instanceof Interrupted) output.note(`stopped; ${goOn()}`)
    throw error
  })
  activity.clear()
  output.object({ event: 'result', ...result })
  output.text(describeHints(result, request.configFile))
  return 0
}

/** A folder that nobody has named is another one the next time. */
export const goingOn = ({ flags }: Pick<HintsRequest, 'flags'>, folder: string | undefined): string =>
  flags.out !== undefined || folder === undefined ? 'the same command goes on' : `the same command goes on with --out ${folder}`

/** @throws GradpromptError `invalid-option` */
function hintsRequest({ options, flags, flagNames }: Invocation): HintsRequest {
  return {
    configFile: options.config as string | undefined,
    ...{ flags, flagNames },
    kind: oneOf(options, 'kind', Object.keys(hintKinds) as (keyof typeof hintKinds)[]),
    instruction: options.instruction as string | undefined,
    say: options.say as string | undefined,
    samples: inRange(options, 'samples', { least: 1 }),
    rounds: inRange(options, 'rounds', { least: 1 }),
    maxHintTokens: inRange(options, 'hint-tokens', { least: 1 }),
    temperature: inRange(options, 'temperature', { above: 0 }),
    fixedTexts: inRange(options, 'fixed-texts', { least: 1 }),
  }
}

const titles: Readonly<Record<ConditionName, string>> = {
  none: 'no hint',
  fixed: 'one hint for all rows',
  untrained: 'hints of the model as it is',
  policy: 'hints of the learned policy',
}

/** Of classes it names them: a small model goes on with the text otherwise. */
export function nextCommand({ folder, classes }: Pick<LearnedHints, 'folder' | 'classes'>, configFile: string): string {
  const from = `from=${folder}`
  // `--choices` is split at commas.
  return classes === undefined || classes.some(word => word.includes(','))
    ? ownCommand`evaluate --config ${configFile} --strategy hints --strategy-option ${from}`
    : ownCommand`evaluate --config ${configFile} --strategy hints --strategy-option ${from} --choices ${classes.join(',')}`
}

/** What was learned, and what it comes to. */
export function describeHints(result: LearnedHints, configFile: string | undefined): string {
  const { rounds, policy, fixed, conditions, differences, rows, of, trainingRows } = result
  const signed = ({ value, low, high }: MetricValue, digits: number) =>
    `${value > 0 ? '+' : ''}${value.toFixed(digits)} [${low.toFixed(digits)}, ${high.toFixed(digits)}]`
  const percent = ({ value, low, high }: MetricValue) =>
    `${(100 * value).toFixed(1)} [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`
  const isClasses = conditions.none.accuracy !== undefined
  const answer = isClasses ? 'the right class among the classes' : 'a token of the answer'
  const measured = conditionNames.map(name => {
    const { score, accuracy, raised, tokens, calls, leaked } = conditions[name]
    const above = name === 'policy' ? '' : signed(differences[name].score, 3)
    return [
      titles[name],
      score.value.toFixed(3),
      above,
      ...(isClasses ? [percent(accuracy!)] : []),
      raised === undefined ? '' : percent(raised),
      `${calls}, ${tokens.toFixed(0)}`,
      String(leaked),
    ]
  })
  return [
    ...rounds.map(
      ({ texts, empty, leaked, helping, gain, kept, keptGain, tokens }, i) =>
        `round ${i + 1}: ${plural(texts, 'text')} (${tokens} tokens), ${leaked} that say the answer, ${empty} empty; ${helping} help; mean gain ${gain.toFixed(3)}; ` +
        `learned from ${kept} of ${plural(trainingRows, 'row')}, mean gain ${keptGain.toFixed(3)}`,
    ),
    policy === null
      ? 'no text made any answer likelier: nothing was learned, and the method is the base model'
      : `the policy: ${policy}`,
    fixed.hint === ''
      ? 'no text is better than none before all training rows'
      : `one hint for all rows: ${JSON.stringify(fixed.hint)}, mean gain ${fixed.gain.toFixed(3)}`,
    '',
    `${plural(rows, `${of} row`)}; mean log-probability of ${answer}, in nats, with 95 % intervals`,
    table([
      [
        '',
        'mean',
        'the policy is above it by',
        ...(isClasses ? ['right, %'] : []),
        'likelier than without, %',
        'calls, tokens of a hint',
        'say the answer',
      ],
      ...measured,
    ]),
    ...(policy === null || configFile === undefined ? [] : [`next  ${nextCommand(result, configFile)}`]),
  ].join('\n')
}
