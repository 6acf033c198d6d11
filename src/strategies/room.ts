import { GradpromptError } from '../errors.js'

/**
 * What a call comes to, or nothing where its text has no room in the model's context: what was answered until then counts, so that one long
 * row does not end an evaluation.
 */
export async function withRoom<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call()
  } catch (error) {
    if (error instanceof GradpromptError && error.code === 'context-exceeded') return undefined
    throw error
  }
}

/** Told of rows alone that something of theirs had no room. */
export const unlessRoom = (hasRoom: boolean): { readonly noRoom?: 1 } => (hasRoom ? {} : { noRoom: 1 })
