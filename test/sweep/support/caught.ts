import { GradpromptError } from '../../../src/errors.js'

/** The typed error that a call throws. */
export function caught(call: () => unknown): GradpromptError {
  try {
    call()
  } catch (error) {
    if (error instanceof GradpromptError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}
