import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { GradpromptError } from '../../../errors.js'
import { byDefault, type JobOutcome, type QueueJob, takeJobs } from '../../../sweep/engines/queue.js'
import type { CommandFunction } from '../../terminal/command.js'
import { createOutput } from '../../terminal/output.js'
import { exitCodes, type Stop, stopSignals } from '../../terminal/stopping.js'

/** `gradprompt worker`: each job is a `gradprompt sweep FOLDER` in a process of its own. */

export const run: CommandFunction = async ({ options }) => {
  const output = createOutput(options)
  const stopping = new AbortController()
  let stoppedBy: Stop | undefined
  let child: ChildProcess | undefined
  const stop = (signal: Stop) => {
    stoppedBy ??= signal
    stopping.abort()
    // The first asks for a checkpoint, the second for an end.
    child?.kill(signal)
  }
  for (const signal of stopSignals) process.on(signal, stop)

  async function work({ directory, args }: QueueJob, name: string): Promise<JobOutcome> {
    refuseOther(args)
    if (stoppedBy !== undefined) return { isGivenBack: true }
    output.object({ event: 'job', name, directory, args })
    output.text(`works on ${args[1]}`)
    // Ctrl-C reaches every process of a terminal's group: this one passes it on, once. By the channel the other knows when this one is gone.
    child = spawn(process.execPath, [fileURLToPath(new URL('../../main.js', import.meta.url)), ...args], {
      cwd: directory,
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
    child = undefined
    if (code === 0) {
      output.text(`ended: ${args[1]}`)
      return { isGivenBack: false }
    }
    if (stoppedBy !== undefined) return { isGivenBack: true }
    throw new Error(`gradprompt ${args.join(' ')} ended with ${signal ?? `exit code ${code}`}`)
  }

  await takeJobs((options.queue as string | undefined) ?? byDefault.queue, {
    signal: stopping.signal,
    work,
    say: text => output.note(text),
  })
  return exitCodes[stoppedBy!]
}

/** What stands in a queue is somebody else's: nothing but a sweep is begun. @throws GradpromptError `invalid-job` */
export function refuseOther(args: readonly string[]): void {
  const [command, folder, ...rest] = args
  const known = /^( --quiet| --trials \d+| --max-failures \d+)*$/.test(rest.map(word => ` ${word}`).join(''))
  if (command === 'sweep' && folder !== undefined && !folder.startsWith('-') && known) return
  throw new GradpromptError('invalid-job', 'the job is no part in a sweep', {
    found: args.join(' '),
    expected: 'what gradprompt sweep --on bullmq hands in',
    exitCode: 1,
  })
}
