import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { type ErrorMessage, unpackError } from '../../error-message.js'
import { GradpromptError } from '../../errors.js'
import { downloadLines } from '../../hub/news.js'
import { calledAs } from '../../own-command.js'
import type { GradpromptEvent } from '../../train/events.js'
import { Interrupted, plainText } from '../terminal/failure.js'
import { exitCodes, type Stop, stopSignals } from '../terminal/stopping.js'
import type { FromWorker, News, Progress, TaskName, Tasks, ToWorker } from './messages.js'

export interface ComputationOptions {
  readonly onEvent?: ((event: GradpromptEvent) => void) | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
  /** Hears that the user has asked to stop, before the computation has. */
  readonly onStopping?: (() => void) | undefined
  /** How to go on, once there is something to go on with. */
  readonly hint?: (() => string | undefined) | undefined
  /** The task reads standard input. */
  readonly readsInput?: boolean | undefined
  /** Kills the task when it takes longer. */
  readonly timeoutSeconds?: number | undefined
}

const tailLength = 4096
/** From SIGTERM to the end. */
const mostEndingMilliseconds = 8000

/**
 * Runs a task in a process of its own: native calls block their thread, and this one has to draw the progress line and to answer
 * Ctrl-C. The first Ctrl-C asks the task to stop with a checkpoint, the second kills it.
 * @throws GradpromptError what the task throws; `computation-died` when its process ends without a result
 * @throws Interrupted when it stopped because the user asked
 */
export async function compute<Name extends TaskName>(
  task: Name,
  request: Tasks[Name]['request'],
  {
    onEvent,
    onProgress,
    onNews,
    onStopping,
    hint,
    readsInput,
    timeoutSeconds,
  }: ComputationOptions & { readonly onNews?: (news: News<Name>) => void } = {},
): Promise<Tasks[Name]['result']> {
  const debug = Boolean(process.env.GRADPROMPT_DEBUG)
  // What libraries print belongs neither into the results nor across the progress line.
  const child = fork(fileURLToPath(new URL('./worker.js', import.meta.url)), [calledAs()], {
    stdio: [readsInput === true ? 'inherit' : 'ignore', debug ? 2 : 'pipe', debug ? 2 : 'pipe', 'ipc'],
    serialization: 'advanced',
  })
  const tail = tailOf(child)
  const onDownload = downloadLines()
  let interrupted: Stop | undefined
  const stop = (signal: Stop) => {
    if (interrupted !== undefined) {
      child.kill('SIGKILL')
      return
    }
    interrupted = signal
    onStopping?.()
    send(child, { abort: true })
    // Who sends this waits for the end: what does not come to a checkpoint in time goes back to the one before.
    if (signal === 'SIGTERM') ending = setTimeout(() => child.kill('SIGKILL'), mostEndingMilliseconds)
  }
  let ending: NodeJS.Timeout | undefined
  const timer = timeoutSeconds === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), timeoutSeconds * 1000)
  for (const signal of stopSignals) process.on(signal, stop)
  try {
    const outcome = await new Promise<{ result: unknown } | { error: ErrorMessage } | { died: string }>((resolve, reject) => {
      let last: { result: unknown } | { error: ErrorMessage } | undefined
      child.on('message', (message: FromWorker) => {
        if ('event' in message) (onEvent ?? tellWarning)(message.event)
        else if ('progress' in message) onProgress?.(message.progress)
        else if ('download' in message) onDownload(message.download)
        else if ('news' in message) onNews?.(message.news as News<Name>)
        else last = message
      })
      child.on('error', reject)
      // Messages that were sent are all delivered before `close`.
      child.on('close', (code, signal) => resolve(last ?? { died: signal ?? `exit code ${code}` }))
      send(child, { task, request })
    })
    if ('result' in outcome) return outcome.result as Tasks[Name]['result']
    if (interrupted !== undefined && ('died' in outcome || outcome.error.code === 'aborted'))
      throw new Interrupted(exitCodes[interrupted])
    if ('died' in outcome) throw died(outcome.died, tail(), hint?.())
    throw unpackError(outcome.error)
  } finally {
    clearTimeout(timer)
    clearTimeout(ending)
    for (const signal of stopSignals) process.off(signal, stop)
  }
}

/** Whoever listens to no events hears of warnings all the same. */
function tellWarning(event: GradpromptEvent): void {
  if (event.event === 'warning') process.stderr.write(`${plainText(`warning[${event.code}]: ${event.message}`)}\n`)
}

function send(child: ChildProcess, message: ToWorker): void {
  // A process that has just died is noticed when it closes.
  if (child.connected) child.send(message, () => {})
}

/** The last of what a process printed. */
function tailOf(child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-tailLength)
    })
  return () => text
}

function died(how: string, printed: string, hint: string | undefined): GradpromptError {
  const outOfMemory = how === 'SIGKILL' || /out of memory|bad_alloc/i.test(printed)
  const advice = outOfMemory ? 'memory may have run out: try a smaller --batch-size or --memory' : undefined
  const last = printed.trim().split('\n').at(-1)?.slice(0, 200)
  return new GradpromptError('computation-died', 'the process that computes has died', {
    found: last ? `${how}: ${last}` : how,
    hint:
      [hint, advice].filter(text => text !== undefined).join('; ') ||
      'set GRADPROMPT_DEBUG=1 and run it again for what it printed',
    exitCode: 1,
  })
}
