#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { typedError } from '../error-message.js'
import { GradpromptError, writeError } from '../errors.js'
import { callAs } from '../own-command.js'
import { packageRoot } from '../package-root.js'
import { commands } from './commands.js'
import { parseArguments, programHelp } from './parse.js'
import { commandCalled } from './terminal/called-as.js'
import { describeError, errorEvent, Interrupted } from './terminal/failure.js'

// Where files may not grow beyond a limit, a write says so, which is told; the signal would end the process without a word.
process.on('SIGXFSZ', () => {})

callAs(commandCalled(process.argv[1] ?? '', { env: process.env, folder: process.cwd() }))

let hasLeft = false
/** Nobody hears of this command any more: what computes stops as it does when it is asked to, with its checkpoint and without its lock. */
function leave(): void {
  if (hasLeft) return
  hasLeft = true
  if (process.listenerCount('SIGTERM') > 0) process.emit('SIGTERM', 'SIGTERM')
  else process.exit(0)
}
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // A reader that has seen enough (`| head`) is no failure, but the end.
    if (error.code === 'EPIPE') return leave()
    process.stderr.write(`${describeError(writeError(error, 'the output'))}\n`)
    process.exit(1)
  })
// Whoever has started this command over a channel, as the page does, is gone.
process.on('disconnect', leave)
process.channel?.unref()

// A module of people's own that ends the process has not done what was asked for.
const early = (code: number) => {
  if (hasLeft || code !== 0) return
  say(
    new GradpromptError('ended-early', 'the command was ended before it was done', {
      found: 'a call of process.exit',
      hint: 'a module of your own may not end the process',
      exitCode: 1,
    }),
    process.argv.slice(2),
  )
  process.exitCode = 1
}
process.on('exit', early)
process.exitCode = await main(process.argv.slice(2))
process.off('exit', early)

async function main(argv: readonly string[]): Promise<number> {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string }
  if (argv.length === 0) {
    process.stderr.write(programHelp(version))
    return 2
  }
  try {
    const wantsConfigHelp =
      ['tune', 'search'].includes(argv[0]!) && argv.some(argument => argument === '--help' || argument === '-h')
    const help = wantsConfigHelp ? await (await import('./show/config-help.js')).configHelp(argv[0]!, argv) : undefined
    const parsed = parseArguments(argv, { version, help, write: text => process.stdout.write(text) })
    if (parsed === undefined) return 0
    const { run } = await parsed.command.load()
    return await run({ ...parsed.invocation, commands })
  } catch (given) {
    if (given instanceof Interrupted) return hasLeft ? 0 : given.exitCode
    const error = typedError(given)
    say(error, argv)
    return error instanceof GradpromptError ? error.exitCode : 1
  }
}

function say(error: unknown, argv: readonly string[]): void {
  if (wantsJson(argv)) process.stdout.write(`${JSON.stringify(errorEvent(error))}\n`)
  process.stderr.write(`${describeError(error)}\n`)
}

/** Also of arguments that cannot be read: what stands behind `--` is none. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--')
  return argv.slice(0, end === -1 ? undefined : end).includes('--json')
}
