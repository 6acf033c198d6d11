/**
 * A mistake that the user can mend: what went wrong, what was found, what was expected, and what to try next.
 * The command line prints these four and exits with `exitCode`; nothing else of the error is shown.
 */
export class GradpromptError extends Error {
  /** Stable, kebab-case, for programs: `file-not-found`, `unknown-architecture`, … */
  readonly code: string
  readonly found: string | undefined
  readonly expected: string | undefined
  readonly hint: string | undefined
  /** 2: the user's mistake. 1: the run failed. */
  readonly exitCode: 1 | 2

  constructor(
    code: string,
    message: string,
    details: { found?: string; expected?: string; hint?: string; exitCode?: 1 | 2; cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    // What listens for an abort by the platform's name for it finds it.
    this.name = code === 'aborted' ? 'AbortError' : 'GradpromptError'
    this.code = code
    this.found = details.found
    this.expected = details.expected
    this.hint = details.hint
    this.exitCode = details.exitCode ?? 2
  }

  /** The text for people: the message, then the parts that are known, one a line. */
  format(): string {
    const lines = [`error[${this.code}]: ${this.message}`]
    if (this.found !== undefined) lines.push(`  found: ${this.found}`)
    if (this.expected !== undefined) lines.push(`  expected: ${this.expected}`)
    if (this.hint !== undefined) lines.push(`  hint: ${this.hint}`)
    return lines.join('\n')
  }
}

/** @throws GradpromptError `aborted` */
export function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
}

/** What was disposed of was used again: a mistake of the program that uses it. */
export const disposedError = (what: string): GradpromptError =>
  new GradpromptError('disposed', `${what} was used after it had been disposed of`, {
    expected: 'every call before dispose()',
    hint: 'dispose of it when all that uses it has ended',
  })

/** The member of `known` closest to `word` by edit distance, when it is close enough to be what was meant. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      current[j] = Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    previous = current
  }
  return previous[b.length]!
}
