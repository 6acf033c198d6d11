import { expect } from 'vitest'
import { GradpromptError } from '../../src/errors.js'

/** The typed error that `work` ends with, checked to say what was found, what was expected, and what to try. */
export async function failure(work: () => unknown): Promise<GradpromptError> {
  const outcome = await Promise.resolve()
    .then(work)
    .catch((error: unknown) => error)
  if (!(outcome instanceof GradpromptError)) throw new Error('no GradpromptError', { cause: outcome })
  for (const part of [outcome.message, outcome.found, outcome.expected, outcome.hint]) expect(part).toBeTruthy()
  expect(outcome.exitCode).toBe(2)
  return outcome
}
