import { basename } from 'node:path'
import { GradpromptError, shellWord } from '../../errors.js'
import { type Engine, shellLine } from './engine.js'

/**
 * A job array of Slurm: a task for each worker. Two minutes before its time is over a task is told so; its worker then leaves its trial with a
 * checkpoint, and the task goes back into the queue. One whose node is lost is queued again by Slurm, and its trial is taken up by whoever is free.
 */

/** From the signal to the end of the time: a trial of a large model writes its checkpoint within that. */
const secondsBefore = 120
/** Slurm looks at times once a minute, so that it may tell a task a minute earlier. */
const leastMinutes = 4
/** What the script says itself. */
const own = new Set(['array', 'output', 'requeue', 'open-mode', 'signal', 'chdir', 'job-name', 'wrap', 'parsable'])

export const slurm: Engine = {
  name: 'slurm',
  description: 'a job array, handed in by sbatch; --set time=4:00:00 and any other option of sbatch',
  file: 'slurm.sh',
  text({ folder, directory, command, workers, settings }) {
    for (const [name, value] of Object.entries(settings)) {
      if (!/^[a-z][a-z0-9-]*$/.test(name) || own.has(name))
        throw new GradpromptError('invalid-option', `--set ${name} is no option of sbatch that is free`, {
          found: name,
          expected: `a long one, such as time, partition, gres, cpus-per-task, mem, account; ${[...own].join(', ')} are set already`,
        })
      refuseOdd(`--set ${name}`, value)
    }
    const minutes = minutesOf(settings.time)
    if (minutes < leastMinutes)
      throw new GradpromptError('invalid-option', '--set time leaves a worker no time to work', {
        found: `${settings.time}: ${minutes} minutes, of which the last two or three are for the checkpoint`,
        expected: `at least ${leastMinutes} minutes; 4:00:00 are four hours, 4:00 are four minutes`,
      })
    refuseOdd('the folder of the sweep', folder)
    refuseOdd('the working directory', directory)
    const options = [
      `job-name=${`gradprompt-${basename(folder)}`.replace(/[^\w.-]+/g, '-').slice(0, 60)}`,
      `array=0-${workers - 1}`,
      `output="${folder}/slurm-%A_%a.log"`,
      'open-mode=append',
      'requeue',
      `signal=B:TERM@${secondsBefore}`,
      ...Object.entries(settings).map(([name, value]) => (value === '' ? name : `${name}="${value}"`)),
    ]
    return `#!/bin/bash
${options.map(option => `#SBATCH --${option}\n`).join('')}
# Each task is a worker of the sweep: it takes trials until none is left.
cd ${shellWord(directory)} || exit 2
${shellLine(command)} &
worker=$!
told=
# Slurm tells the script alone, and a shell hears of it between commands: so it waits for its worker, and waits again. At SIGHUP a worker
# takes the time that its checkpoint needs; at SIGTERM a few seconds.
trap 'told=1; kill -HUP "$worker" 2>/dev/null' TERM
wait "$worker"
code=$?
if [ -n "$told" ]; then
  wait "$worker"
  scontrol requeue "\${SLURM_ARRAY_JOB_ID}_\${SLURM_ARRAY_TASK_ID}"
  exit 0
fi
exit "$code"
`
  },
  submit: path => ['sbatch', '--parsable', path],
}

/** `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours[:minutes[:seconds]]`; infinite for what Slurm itself has to judge. */
function minutesOf(time: string | undefined): number {
  const [, days, first = '', second, third] = /^(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$/.exec(time ?? '') ?? []
  if (first === '') return Number.POSITIVE_INFINITY
  if (days !== undefined) return Number(days) * 1440 + Number(first) * 60 + Number(second ?? 0) + Number(third ?? 0) / 60
  if (third !== undefined) return Number(first) * 60 + Number(second) + Number(third) / 60
  return Number(first) + Number(second ?? 0) / 60
}

/** A directive is read by Slurm, which knows no escapes. */
function refuseOdd(what: string, value: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what cannot stand there
  const [odd] = /["\\%\u0000-\u001f]/.exec(value) ?? []
  if (odd === undefined) return
  throw new GradpromptError('invalid-option', `${what} cannot stand in a script for Slurm`, {
    found: `${JSON.stringify(odd)} in ${JSON.stringify(value)}`,
    expected: 'no quotes, backslashes, per cent signs or line breaks',
  })
}
