import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtemp } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { GradpromptError } from '../../errors.js'
import { folderPrefix, isFull, live, removeFolder, sweepFolders } from './folders.js'
import { sandboxProgram } from './sandbox-program.js'

/**
 * Runs programs that a model wrote: each in a process of its own, with limits, in an empty folder that is removed. It knows neither rows nor
 * tests, and judges a program by whether it came to its end.
 */

export interface SandboxSettings {
  /** Words of the command that starts Python 3; by default `python3`. */
  readonly interpreter: readonly string[]
  /** What a program may take, in seconds of a processor; by the clock twice as much and two more, since others compute as well. */
  readonly seconds: number
  /** In MiB. */
  readonly memory: number
  /** Of one file that it writes, in MiB. */
  readonly fileSize: number
}

export const sandboxDefaults: SandboxSettings = { interpreter: ['python3'], seconds: 10, memory: 1024, fileSize: 16 }

/** How a program ended. */
export interface Ending {
  /** It came to its end, and nothing was thrown. */
  readonly passed: boolean
  /** `time`, `output`, `files`, where one of these limits ended it; else what was thrown, or how it ended. */
  readonly how: string
  /** What the process closed itself off from: `limits` of the process, `files` outside its folder, the `system` (processes, signals, sockets). */
  readonly kept: readonly string[]
}

export interface Sandbox {
  /** What this machine does not close off, in words; nothing where all is. */
  readonly open: readonly string[]
  /** It never rejects: a program that cannot be started has failed. */
  run(program: string): Promise<Ending>
}

const layers: Readonly<Record<string, string>> = {
  limits: 'memory, processor time and sizes of files have no limit',
  files: 'files outside the folder of a program can be written by it',
  system: 'the network, other processes and signals to them are open to a program',
}

/** Output that is more than that ends a program; nobody reads it. */
const mostOutput = 1 << 20

/**
 * Starts nothing yet but a program that does nothing, to see what the machine can close off.
 * @param onLeft hears of a program's folder that could not be removed
 * @throws GradpromptError `no-interpreter`, `invalid-option`
 */
export async function openSandbox(given: Partial<SandboxSettings> = {}, onLeft?: (folder: string) => void): Promise<Sandbox> {
  const settings = { ...sandboxDefaults, ...given }
  await sweepFolders()
  const run = inTurn(program => runOne(program, settings, onLeft), Math.max(1, availableParallelism() - 1))
  const { passed, how, kept } = await runOne('', settings, onLeft)
  if (!passed)
    throw new GradpromptError('no-interpreter', 'the programs of the answers cannot be run', {
      found: `${settings.interpreter.join(' ')}: ${how}`,
      expected: 'the command of a Python 3',
      hint: 'install Python 3, or name it with --interpreter',
    })
  return { open: Object.entries(layers).flatMap(([layer, words]) => (kept.includes(layer) ? [] : [words])), run }
}

/** At most so many at once: what a program may take is by the clock. */
function inTurn<T>(run: (program: string) => Promise<T>, most: number): (program: string) => Promise<T> {
  const waiting: (() => void)[] = []
  let running = 0
  return async program => {
    if (running >= most) await new Promise<void>(resolve => waiting.push(resolve))
    else running++
    try {
      return await run(program)
    } finally {
      // The place is handed on.
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}

async function runOne(program: string, settings: SandboxSettings, onLeft?: (folder: string) => void): Promise<Ending> {
  const folder = await mkdtemp(join(tmpdir(), folderPrefix))
  live.add(folder)
  try {
    return await inFolder(program, folder, settings)
  } finally {
    if (!(await removeFolder(folder))) onLeft?.(folder)
    live.delete(folder)
  }
}

async function inFolder(program: string, folder: string, settings: SandboxSettings): Promise<Ending> {
  const [command = '', ...words] = settings.interpreter
  const { seconds, memory, fileSize } = settings
  // Nothing of the environment is the program's, keys in it least of all.
  const env = { PATH: process.env.PATH ?? '', HOME: folder, TMPDIR: folder, OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' }
  const child = spawn(command, [...words, '-I', '-B', '-X', 'utf8', '-c', sandboxProgram], {
    cwd: folder,
    // A group of its own, which is ended as one.
    ...{ detached: true, env, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] },
  })
  let ended: string | undefined
  const end = (how: string) => {
    ended ??= how
    killGroup(child)
  }
  let printed = 0
  for (const stream of [child.stdout!, child.stderr!])
    stream.on('data', (bytes: Buffer) => {
      printed += bytes.length
      if (printed > mostOutput) end('output')
    })
  let told = ''
  const control = child.stdio[3] as Readable
  control.setEncoding('utf8').on('data', (text: string) => {
    if (told.length < 4096) told += text
  })
  // What it does not read is no error of ours.
  for (const stream of [child.stdin!, child.stdout!, child.stderr!, control]) stream.on('error', () => undefined)
  const done = randomUUID()
  child.stdin!.end(JSON.stringify({ program, folder, done, seconds, memory, fileSize }))
  const clock = setTimeout(() => end('time'), 1000 * (2 * seconds + 2))
  const watch = setInterval(async () => {
    if (await isFull(folder)) end('files')
  }, 250)
  try {
    const how = await endOf(child, control)
    // Whatever it has started ends with it.
    killGroup(child)
    const [first = '', ...lines] = told.split('\n')
    const kept = first.startsWith('[') ? (JSON.parse(first) as string[]) : []
    const passed = ended === undefined && lines[0] === done
    return { passed, how: passed ? 'passed' : (ended ?? lines[0]?.replace(/^failed /, '').slice(0, 80)) || how, kept }
  } finally {
    clearTimeout(clock)
    clearInterval(watch)
  }
}

/** How a process ended, once what it told is there; something that holds its pipe open is not waited for. */
const endOf = (child: ChildProcess, control: Readable): Promise<string> =>
  new Promise(resolve => {
    const closed = new Promise<void>(done => control.once('close', done))
    child.once('error', error => resolve(error.message))
    child.once('exit', async (code, signal) => {
      await Promise.race([closed, new Promise(late => setTimeout(late, 500))])
      resolve(signal === 'SIGXCPU' ? 'time' : signal === null ? `ended with code ${code}` : `ended by ${signal}`)
    })
  })

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  } catch {
    // It is gone, or the system knows no groups.
    child.kill('SIGKILL')
  }
}
