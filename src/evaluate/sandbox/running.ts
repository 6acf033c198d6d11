import type { DataNotice } from '../../data/readers/reader.js'
import { GradpromptError } from '../../errors.js'
import { openSandbox, type Sandbox } from './sandbox.js'

/** What is asked for where programs of answers are run. */
export interface RunCodeOptions {
  /** Run the code that answers hold, which a model wrote; where a scorer needs that, it is refused without. */
  readonly allowRunningCode?: boolean | undefined
  /** The command of a Python 3 that runs it, by default `python3`. */
  readonly interpreter?: string | undefined
  /** Seconds of a processor that a program may take, by the clock twice as many and two more; from 1 to 3600, by default 10. */
  readonly programSeconds?: number | undefined
  /** MiB that a program may have, from 64; by default 1024. */
  readonly programMemory?: number | undefined
}

export const runCodeNames = {
  allowRunningCode: true,
  interpreter: true,
  programSeconds: true,
  programMemory: true,
} as const satisfies Required<Readonly<Record<keyof RunCodeOptions, true>>>

/**
 * A sandbox as it is asked for; what this machine does not close off is said.
 * @param what runs the code, for the message
 * @throws GradpromptError `running-code-not-allowed`, `no-interpreter`, `invalid-option`
 */
export async function sandboxFor(
  what: string,
  { allowRunningCode, interpreter, programSeconds: seconds = 10, programMemory: memory = 1024 }: RunCodeOptions,
  onWarning?: (warning: DataNotice) => void,
): Promise<Sandbox> {
  if (allowRunningCode !== true)
    throw new GradpromptError('running-code-not-allowed', `${what} runs the code that a model writes`, {
      found: 'no permission for that',
      expected: '--allow-running-code',
      hint: 'docs/code.md says what a program can do and what it cannot',
    })
  for (const [name, value, least, most] of [
    ['program-seconds', seconds, 1, 3600],
    // Python itself does not start in less.
    ['program-memory', memory, 64, 1 << 20],
  ] as const)
    if (!(Number.isInteger(value) && value >= least && value <= most))
      throw new GradpromptError('invalid-option', `--${name} is not valid`, {
        found: String(value),
        expected: `a whole number from ${least} to ${most}`,
      })
  if (interpreter?.trim() === '')
    throw new GradpromptError('invalid-option', '--interpreter is not valid', {
      found: 'an empty text',
      expected: 'the command of a Python 3',
    })
  const words = interpreter?.split(/\s+/).filter(word => word !== '')
  const sandbox = await openSandbox({ seconds, memory, ...(words && { interpreter: words }) }, folder =>
    onWarning?.({ code: 'folder-left', message: `the folder of a program could not be removed: ${folder}` }),
  )
  if (sandbox.open.length > 0)
    onWarning?.({
      code: 'sandbox-open',
      message: `programs of the answers are not closed in wholly on this machine: ${sandbox.open.join('; ')}. Run them where nothing is to be lost`,
    })
  return sandbox
}
