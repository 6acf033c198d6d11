import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { Refusal } from './guard.js'

/**
 * Commands that the page has started: each is `gradprompt` in a process of its own, with its output as JSON, so that whatever can be done here
 * can be typed as well. They end with the page, those that learn with a checkpoint.
 */

export interface CommandLine {
  readonly program: string
  /** Before the arguments of a command. */
  readonly args: readonly string[]
}

export interface Job {
  readonly id: string
  readonly command: string
  readonly args: readonly string[]
  state: 'running' | 'done' | 'failed' | 'stopped'
  /** The run or sweep that it works on, as the command names it. */
  folder: string | undefined
  /** The events that were not too many, the last at the end. */
  readonly events: JobEvent[]
  /** What stands on standard error, its end. */
  notes: string
}

export interface JobEvent {
  readonly event: string
  readonly [name: string]: unknown
}

const mostRunning = 8
const mostKept = 100
const mostEvents = 50
const longestLine = 8 * 2 ** 20
const longestNotes = 8192
/** From being asked to stop until it is ended. */
const mostEndingMilliseconds = 10_000

/**
 * Ctrl-C in the terminal of the page is told to the page alone, which asks each command once; a command whose page is gone hears that by the
 * channel.
 */
export const apart = {
  stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  detached: process.platform !== 'win32',
  windowsHide: true,
} satisfies SpawnOptions

export class Jobs {
  readonly #commandLine: CommandLine
  readonly #root: string
  readonly #jobs = new Map<string, Job>()
  readonly #children = new Map<string, ChildProcess>()
  #count = 0

  constructor(commandLine: CommandLine, root: string) {
    this.#commandLine = commandLine
    this.#root = root
  }

  get all(): Job[] {
    return [...this.#jobs.values()].reverse()
  }

  /** @throws Refusal `not-found` */
  get(id: string): Job {
    const job = this.#jobs.get(id)
    if (job === undefined) throw new Refusal(404, 'not-found', 'there is no such command any more')
    return job
  }

  /** @param onEnd called once, when the process is gone @throws Refusal `busy` */
  start(args: readonly string[], onEnd: () => void = () => {}): Job {
    if (this.#children.size >= mostRunning)
      throw new Refusal(429, 'busy', `${mostRunning} commands of this page are running: wait for one, or stop it`)
    const { program, args: before } = this.#commandLine
    const job: Job = {
      ...{ id: String(++this.#count), command: args[0]!, args, state: 'running', folder: undefined, events: [], notes: '' },
    }
    const child = spawn(program, [...before, ...args, '--json'], { cwd: this.#root, ...apart })
    this.#jobs.set(job.id, job)
    this.#children.set(job.id, child)
    let text = ''
    let isWithin = false
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      // Looking for the ends of lines copies the whole text.
      const lines = chunk.includes('\n') ? text.split('\n') : [text]
      text = lines.pop()!
      // What is left of a line that was too long is no event.
      if (isWithin && lines.length > 0) {
        isWithin = false
        lines.shift()
      }
      for (const line of lines) hear(job, line)
      if (text.length <= longestLine) return
      if (!isWithin) note(job, tooLong)
      isWithin = true
      text = ''
    })
    child.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
      note(job, chunk)
      if (job.command === 'sweep') job.folder ??= /^sweep: (.+)$/m.exec(job.notes)?.[1]
    })
    let ended = false
    const end = (state: Job['state']) => {
      if (ended) return
      ended = true
      job.state = state
      this.#children.delete(job.id)
      this.#forget()
      onEnd()
    }
    child.on('error', error => {
      note(job, error.message)
      end('failed')
    })
    child.on('close', (code, signal) => end(code === 0 ? 'done' : code === 130 || signal === 'SIGINT' ? 'stopped' : 'failed'))
    return job
  }

  #forget(): void {
    for (const [id, { state }] of this.#jobs) {
      if (this.#jobs.size <= mostKept) return
      if (state !== 'running') this.#jobs.delete(id)
    }
  }

  /** Asks for a stop, with a checkpoint where there is something to keep; the second time there is no more asking. */
  stop(id: string): void {
    const child = this.#children.get(id)
    child?.kill(child.killed ? 'SIGKILL' : 'SIGINT')
  }

  /** Stops everything, and waits for it. */
  async end(): Promise<void> {
    const children = [...this.#children.values()]
    for (const child of children) child.kill('SIGINT')
    const gone = Promise.all(children.map(child => new Promise(resolve => child.once('close', resolve))))
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, mostEndingMilliseconds)
    })
    await Promise.race([gone, late])
    clearTimeout(timer)
    for (const child of this.#children.values()) child.kill('SIGKILL')
  }
}

const tooLong = `a line of more than ${longestLine / 2 ** 20} MiB is left out of what the command said: typed into a terminal, it says all of it\n`

function note(job: Job, text: string): void {
  job.notes = (job.notes + text).slice(-longestNotes)
}

/** Their events name the run. */
const learns: ReadonlySet<string> = new Set(['tune', 'search', 'resume'])

function hear(job: Job, line: string): void {
  let event: JobEvent
  try {
    event = JSON.parse(line) as JobEvent
  } catch {
    return
  }
  if (typeof event?.event !== 'string') return
  if (learns.has(job.command) && typeof event.folder === 'string') job.folder ??= event.folder
  // Steps stand in the run's own log.
  if (event.event === 'step') return
  job.events.push(event)
  if (job.events.length > mostEvents) job.events.splice(1, 1)
}
