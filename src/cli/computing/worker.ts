import { Worker } from 'node:worker_threads'
import { packError } from '../../error-message.js'
import { hearDownloads } from '../../hub/news.js'
import { callAs } from '../../own-command.js'
import type { FromWorker, ToWorker } from './messages.js'

/** The process that computes: it takes one task, reports events, and ends with a result or an error. See computation.ts. */

if (process.argv[2] !== undefined) callAs(process.argv[2])

// Ctrl-C reaches every process of a terminal's group; the parent says what to do about it.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})

// A write says that a file has reached its limit; the signal would end the process without a word.
process.on('SIGXFSZ', () => {})

const controller = new AbortController()
process.on('SIGTERM', () => controller.abort())

// Without its parent the work has no one to report to. A native call blocks this thread, so another one watches: the run must be free
// for `resume` as soon as its command is gone.
process.on('disconnect', () => process.exit(1))
new Worker(
  `const parent = process.ppid
   setInterval(() => process.ppid === parent || process.kill(process.pid, 'SIGKILL'), 100)`,
  { eval: true, resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 2, stackSizeMb: 1 } },
).unref()

const send = (message: FromWorker, done?: () => void) => {
  if (process.connected) process.send?.(message, undefined, undefined, done)
  else done?.()
}

// What the library has to say beside its results, such as of a damaged cache.
process.on('warning', warning => {
  const { name, message, code = 'warning' } = warning as Error & { code?: string }
  if (name === 'GradpromptWarning') send({ event: { event: 'warning', code, message } })
})

hearDownloads({ onDownload: download => send({ download }), signal: controller.signal })

process.on('message', async (message: ToWorker) => {
  if ('abort' in message) {
    controller.abort()
    return
  }
  const outcome = await import('./tasks.js')
    .then(({ runTask }) =>
      runTask(message.task, message.request, {
        signal: controller.signal,
        onEvent: event => send({ event }),
        onProgress: progress => send({ progress }),
        // Who says much waits until it is heard.
        onNews: news => new Promise<void>(resolve => send({ news }, resolve)),
      }),
    )
    .then(
      (result: unknown): FromWorker => ({ result }),
      (error: unknown): FromWorker => ({ error: packError(error) }),
    )
  // Native threads may keep a process alive that has nothing left to do.
  send(outcome, () => process.exit(0))
})
