import type { RunCodeOptions } from '../../evaluate/code/running.js'
import type { OptionValues } from '../terminal/command.js'

/** Whether and how code of answers is run, as flags say it. */

export const runningNames = ['allow-running-code', 'interpreter', 'program-seconds', 'program-memory']

export const readRunning = (options: OptionValues): RunCodeOptions => ({
  allowRunningCode: options['allow-running-code'] === true || undefined,
  interpreter: options.interpreter as string | undefined,
  programSeconds: options['program-seconds'] as number | undefined,
  programMemory: options['program-memory'] as number | undefined,
})
