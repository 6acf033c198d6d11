import { GradpromptError } from '../../src/errors.js'

/** The GradpromptError that `run` throws. */
export function problem(run: () => unknown): GradpromptError {
  try {
    run()
  } catch (error) {
    if (error instanceof GradpromptError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

/** The GradpromptError that a promise is rejected with. */
export async function problemOf(promise: Promise<unknown>): Promise<GradpromptError> {
  const error = await promise.then(
    () => new Error('nothing was thrown'),
    (cause: unknown) => cause,
  )
  if (error instanceof GradpromptError) return error
  throw error
}
