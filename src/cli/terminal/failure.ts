import { GradpromptError, writeError } from '../../errors.js'

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

/** The user stopped the command: nothing more is said. */
export class Interrupted extends Error {
  constructor(readonly exitCode: number) {
    super('interrupted')
  }
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

/** Text for a terminal: file contents that reach a message must not move the cursor, set colours, or turn the reading direction. */
export const plainText = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to take out
  text.replace(/\r\n?/g, '\n').replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '')

/**
 * What people read of an error: message, what was found and expected, hint. Of an error that is ours and not theirs one line, and how to
 * see more; `GRADPROMPT_DEBUG` shows the stack of either.
 */
export function describeError(error: unknown, debug = Boolean(process.env.GRADPROMPT_DEBUG)): string {
  const known = error instanceof Error ? error : new Error(String(error))
  const isUsers = known instanceof GradpromptError
  const text = isUsers ? known.format() : `internal error: ${known.name}: ${known.message.split('\n')[0]}`
  const below = debug ? (known.stack ?? '') : isUsers ? '' : '  hint: set GRADPROMPT_DEBUG=1 and run it again for the details'
  return plainText(below === '' ? text : `${text}\n${below}`)
}
