import { refuseUnread } from '../../config/call-options.js'
import type { RunCodeOptions, runCodeNames } from '../../evaluate/sandbox/running.js'
import type { OwnScorer } from '../../evaluate/scorer.js'
import type { OwnTask } from '../../evaluate/tasks/index.js'
import type { EvaluateOptions } from './evaluate.js'

/** What scores generated answers: what a call asks for, or else what its task has. Scorers and tasks are loaded where they are asked for. */

interface Asked extends RunCodeOptions {
  readonly scorer?: string | OwnScorer | undefined
  readonly task?: string | OwnTask | undefined
}

/** @throws GradpromptError `unknown-task` */
export const askedScorer = async ({ scorer, task }: Asked): Promise<string | OwnScorer | undefined> =>
  scorer ?? (task === undefined ? undefined : (await (await import('../../evaluate/tasks/index.js')).loadTask(task)).scorer)

/**
 * How programs are run says nothing where none is.
 * @throws GradpromptError `invalid-option`, `unknown-task`, `unknown-scorer`
 */
export async function refuseUnreadRunning(options: Asked): Promise<void> {
  const { allowRunningCode, interpreter, programSeconds, programMemory } = options
  const given = { allowRunningCode, interpreter, programSeconds, programMemory } satisfies Record<
    keyof typeof runCodeNames,
    unknown
  >
  if (Object.values(given).every(value => value === undefined || value === false)) return
  const { scorers } = await import('../../evaluate/scorer.js')
  const scorer = await askedScorer(options)
  if (scorer !== undefined && scorers.get(await scorers.load(scorer)).runsCode === true) return
  const running = scorers.values().flatMap(({ name, runsCode }) => (runsCode === true ? [name] : []))
  const what = typeof scorer === 'string' ? `the scorer ${scorer} runs no programs` : 'nothing runs programs of answers'
  refuseUnread(given, what, `a scorer that does: ${running.join(', ')}, or a task that has one`)
}

/**
 * What a task says itself, or has no use for. Its answers are written as `answer` has them where they are limited, or examples have words for labels.
 * @throws GradpromptError `invalid-option`
 */
export async function refuseUnreadOfTask(options: EvaluateOptions): Promise<void> {
  await refuseUnreadRunning(options)
  const { task, template, answer, ...others } = options
  if (task === undefined) return
  const readsAnswer = (['choices', 'regex', 'jsonSchema', 'labels'] as const).some(name => others[name] !== undefined)
  refuseUnread(
    { template, ...(!readsAnswer && { answer }) },
    'a task says itself what is asked and what is right',
    'a task, or template and answer',
  )
}
