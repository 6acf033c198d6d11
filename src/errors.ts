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

/** A text as one word of a command, so that a hint can be pasted into a shell: quoted where it has to be. */
export const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) && !text.startsWith('-') ? text : `'${text.replaceAll("'", `'\\''`)}'`

/** Names as one word of a command, for an option that takes `a,b` or a JSON list. */
export function listWord(names: readonly string[]): string {
  const isPlain = names.every(name => name !== '' && name === name.trim() && !/,|^\[/.test(name))
  return shellWord(isPlain ? names.join(',') : JSON.stringify(names))
}

/** @throws GradpromptError `aborted` */
export function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
}

/**
 * What is done, or that it was stopped: code of people's own may wait for something that never comes.
 * @throws GradpromptError `aborted`, and as `run` does
 */
export async function untilAborted<T>(signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
  refuseAborted(signal)
  if (signal === undefined) return run()
  let stop = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new GradpromptError('aborted', 'stopped', { exitCode: 1 }))
    signal.addEventListener('abort', stop)
  })
  try {
    return await Promise.race([run(), aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** What was disposed of was used again: a mistake of the program that uses it. */
export const disposedError = (what: string): GradpromptError =>
  new GradpromptError('disposed', `${what} was used after it had been disposed of`, {
    expected: 'every call before dispose()',
    hint: 'dispose of it when all that uses it has ended',
  })

const full = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

/** Whether it is the system's word for a disk, or a share of one, that is full. */
export const isFullDisk = (error: unknown): boolean =>
  error instanceof Error && 'syscall' in error && full.has((error as NodeJS.ErrnoException).code ?? '')

/** The typed error for what the system did not let be written: `disk-full` or `cannot-write`. Any other error stays as it is. */
export function writeError(error: unknown, path: string): unknown {
  if (error instanceof GradpromptError || !(error instanceof Error) || !('syscall' in error)) return error
  const isFull = isFullDisk(error)
  return new GradpromptError(isFull ? 'disk-full' : 'cannot-write', `${path} cannot be written`, {
    found: error.message,
    expected: isFull ? 'room on the disk, and files of that size allowed' : 'a folder that is there and can be written',
    hint: isFull ? 'free some space, or write elsewhere' : 'look whether the folder is still there, or write elsewhere',
    exitCode: 1,
    cause: error,
  })
}

/** The typed error for what the system did not let be read of a run: a folder in a file's place, permissions. Any other error stays as it is. */
export function readError(error: unknown, path: string): unknown {
  if (error instanceof GradpromptError || !(error instanceof Error) || !('syscall' in error)) return error
  return new GradpromptError('run-corrupt', `${path} cannot be read`, {
    found: error.message,
    expected: 'what gradprompt has written there',
    hint: 'look what stands there and who may read it, or restore it from a copy',
    cause: error,
  })
}

/** Leaves other errors to whoever says them better. @throws GradpromptError `disk-full` where that is what it was */
export function refuseFullDisk(error: unknown, path: string): void {
  const typed = writeError(error, path)
  if (typed instanceof GradpromptError && typed.code === 'disk-full') throw typed
}

/** Does what writes a file. @throws GradpromptError `disk-full`, `cannot-write` */
export function writing<T>(path: string, write: () => T): T {
  try {
    return write()
  } catch (error) {
    throw writeError(error, path)
  }
}

/**
 * The error for a name that is none of those there are: it lists them and says which was probably meant.
 * @param options.print how a name is written in the list and in the hint
 * @param options.also what may stand there beside the names
 * @param options.expected takes the list's place
 * @param options.hint where no name is near
 */
export function unknownName(
  code: string,
  message: string,
  found: string,
  known: readonly string[],
  options: {
    readonly print?: (name: string) => string
    readonly also?: string
    readonly expected?: string
    readonly hint?: string
  } = {},
): GradpromptError {
  const { print = (name: string) => name, also = '' } = options
  const hint = didYouMean(found, known, print) ?? options.hint
  return new GradpromptError(code, message, {
    found,
    expected: options.expected ?? `one of ${known.map(print).join(', ')}${also}`,
    ...(hint !== undefined && { hint }),
  })
}

/** The hint that names the one that was probably meant, where one is near. */
export function didYouMean(
  found: string,
  known: readonly string[],
  print: (name: string) => string = name => name,
): string | undefined {
  const meant = nearest(found, known)
  return meant === undefined ? undefined : `did you mean ${print(meant)}?`
}

const longestWord = 200

/** The member of `known` closest to `word` by edit distance, when it is close enough to be what was meant. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  // A name of megabytes is nothing to be compared letter by letter.
  if (word.length > longestWord) return undefined
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
