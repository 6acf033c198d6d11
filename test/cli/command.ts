import { type ChildProcess, spawn } from 'node:child_process'
import { openSync } from 'node:fs'
import { resolve } from 'node:path'

export const program = resolve('dist/src/cli/main.js')

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** Standard output as JSON, an object a line. */
  readonly lines: readonly Line[]
}

export type Line = { readonly event: string; readonly step?: number } & Record<string, unknown>

export interface CommandOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** What stands on its standard input. */
  readonly input?: string
  /** A file that standard output goes to, instead of being heard. */
  readonly stdout?: string
  /** The most KiB that a file may come to (`ulimit -f`). */
  readonly largestFile?: number
  /** Hears of the process when there is one. */
  readonly onStart?: (child: ChildProcess) => void
  /** Hears of each line of JSON as it comes. */
  readonly onLine?: (line: Line, child: ChildProcess) => void
}

/** Runs the built command line to its end. */
export function command(
  args: readonly string[],
  { cwd, env, input, stdout: file, largestFile, onStart, onLine }: CommandOptions = {},
): Promise<Outcome> {
  return new Promise((done, fail) => {
    const output = file === undefined ? 'pipe' : openSync(file, 'w')
    const node = [process.execPath, program, ...args] as const
    const [run, ...given] =
      largestFile === undefined ? node : (['bash', '-c', `ulimit -f ${largestFile}; exec "$0" "$@"`, ...node] as const)
    const child = spawn(run, given, {
      stdio: [input === undefined ? 'ignore' : 'pipe', output, 'pipe'],
      // As `npx` calls it, wherever the tests run.
      env: { ...process.env, NO_COLOR: '1', npm_config_user_agent: 'npm/11', ...env },
      ...(cwd !== undefined && { cwd }),
    })
    onStart?.(child)
    child.stdin?.end(input)
    let [stdout, stderr, rest] = ['', '', '']
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      const whole = (rest + text).split('\n')
      rest = whole.pop()!
      if (onLine !== undefined) for (const line of whole) onLine(JSON.parse(line) as Line, child)
    })
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.on('error', fail)
    child.on('close', code =>
      done({
        code,
        stdout,
        stderr,
        get lines() {
          return stdout
            .split('\n')
            .filter(line => line !== '')
            .map(line => JSON.parse(line) as Line)
        },
      }),
    )
  })
}
