import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { startUi } from '../../../ui/server.js'
import { inRange } from '../../show/engine-options.js'
import type { CommandFunction } from '../../terminal/command.js'
import { describeError } from '../../terminal/failure.js'
import { createOutput } from '../../terminal/output.js'
import { exitCodes, type Stop, stopSignals } from '../../terminal/stopping.js'

const defaultPort = 8090

/** `gradprompt ui [FOLDER]` */
export const run: CommandFunction = async ({ argument, options }) => {
  const output = createOutput(options)
  const token = randomBytes(24).toString('base64url')
  // Whoever has read the address may end the page at once.
  const stopped = new Promise<Stop>(resolve => {
    for (const name of stopSignals) process.once(name, () => resolve(name))
  })
  const ui = await startUi({
    folder: argument ?? '.',
    host: (options.host as string | undefined) ?? '127.0.0.1',
    port: inRange(options, 'port', { least: 0, most: 65535 }) ?? defaultPort,
    token,
    commandLine: { program: process.execPath, args: [fileURLToPath(new URL('../../main.js', import.meta.url))] },
    onError: error => output.note(describeError(error)),
  })
  output.object({ event: 'listening', url: ui.url, port: ui.port })
  output.text(ui.url)
  output.note(
    'open this address in a browser of this machine; Ctrl-C ends the page, and stops with a checkpoint what it has started',
  )
  const signal = await stopped
  await ui.stop()
  return exitCodes[signal]
}
