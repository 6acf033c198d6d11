import { GradpromptError, writeError } from './errors.js'

/** Errors as messages between processes, which lose nothing of what a user is told. */

/** An error on its way from one process to another. */
export interface ErrorMessage {
  readonly kind: 'user' | 'internal'
  /** An error's name, when it is none of ours. */
  readonly code: string
  readonly message: string
  readonly found?: string | undefined
  readonly expected?: string | undefined
  readonly hint?: string | undefined
  readonly exitCode: 1 | 2
  readonly stack?: string | undefined
}

export function packError(given: unknown): ErrorMessage {
  const error = typedError(given)
  if (error instanceof GradpromptError) {
    const { code, message, found, expected, hint, exitCode, stack } = error
    return { kind: 'user', code, message, found, expected, hint, exitCode, stack }
  }
  const known = error instanceof Error ? error : new Error(String(error))
  return { kind: 'internal', code: known.name, message: known.message, exitCode: 1, stack: known.stack }
}

/** A full disk is the user's to mend, whatever was being written. */
export function typedError(error: unknown): unknown {
  const { path = 'what was computed' } = (error ?? {}) as NodeJS.ErrnoException
  const typed = writeError(error, path)
  return typed instanceof GradpromptError && typed.code === 'disk-full' ? typed : error
}

/** The error that was packed. */
export function unpackError({ kind, code, message, found, expected, hint, exitCode, stack }: ErrorMessage): Error {
  const details = Object.fromEntries(Object.entries({ found, expected, hint }).filter(([, value]) => value !== undefined))
  const error = kind === 'user' ? new GradpromptError(code, message, { ...details, exitCode }) : new Error(message)
  if (kind === 'internal') error.name = code
  if (stack !== undefined) error.stack = stack
  return error
}
