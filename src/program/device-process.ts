import { packError } from '../error-message.js'
import type { FromDevice, ToDevice } from './runtime/messages.js'
import { Session, type SessionOptions } from './session.js'

/** The process of a further device: it opens the programs that it is asked to run, and runs them. `runtime/device-processes.ts` starts it. */

const sessions = new Map<string, Promise<Session>>()

const answer = (message: FromDevice): void => {
  if (process.connected) process.send!(message)
}

process.on('message', async (message: ToDevice<SessionOptions>) => {
  if ('release' in message) {
    const session = sessions.get(message.release)
    sessions.delete(message.release)
    await session?.then(opened => opened.release()).catch(() => {})
    return
  }
  const { run, program, inputs, shapes } = message
  try {
    let session = sessions.get(program.path)
    if (session === undefined) {
      session = Session.open(program.path, program.options)
      sessions.set(program.path, session)
      session.catch(() => sessions.delete(program.path))
    }
    answer({ run, outputs: await (await session).run(inputs, shapes) })
  } catch (error) {
    answer({ run, error: packError(error) })
  }
})

// Whoever is asked to stop stops this process, too: a step that has begun is finished for its checkpoint.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
process.on('disconnect', () => process.exit())
