import { packError } from '../../error-message.js'
import { GradpromptError } from '../../errors.js'

/** The user stopped the command: nothing more is said. */
export class Interrupted extends Error {
  constructor(readonly exitCode: number) {
    super('interrupted')
  }
}

/** An error as a line of `--json`, behind all events of what came before it. */
export function errorEvent(error: unknown) {
  const { kind, code, message, found, expected, hint, exitCode } = packError(error)
  return { event: 'error', code: kind === 'internal' ? 'internal' : code, message, found, expected, hint, exitCode }
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
