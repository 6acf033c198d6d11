import { GradpromptError } from '../../errors.js'
import type { Device } from '../../program/devices.js'
import { runTrial } from './trial.js'

/** The process of one trial: `isolated-trial.ts` starts it and hears one message. */

const device = process.argv[2] as Device
try {
  process.send!({ trial: await runTrial(device) })
} catch (error) {
  const { message } = error as Error
  process.send!({
    reason: error instanceof GradpromptError && error.found !== undefined ? `${message}: ${error.found}` : message,
  })
}
process.disconnect()
