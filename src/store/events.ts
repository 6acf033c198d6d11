import { closeSync, fstatSync, openSync, writeSync } from 'node:fs'
import { GradpromptError, readError, writing } from '../errors.js'
import { textOfFile } from '../files.js'
import { replaceText } from './atomic.js'

/** A line of `events.jsonl`. `step` counts from 1; an event without one belongs to the step before it. */
export interface RunEvent {
  readonly event: string
  readonly step?: number | undefined
}

export interface CheckpointEvent {
  readonly event: 'checkpoint'
  readonly step: number
}

export interface WarningEvent {
  readonly event: 'warning'
  /** Kebab-case, as an error's. */
  readonly code: string
  readonly message: string
}

export type StoredEvent = RunEvent & Record<string, unknown>

/** The log of a run: one JSON object a line, appended in a single write each, so that a kill tears at most the last one. */
export class EventLog {
  readonly path: string
  #file: number | undefined

  constructor(path: string) {
    this.path = path
  }

  /** @throws GradpromptError `run-deleted` when somebody has removed the log, `disk-full`, `cannot-write` */
  append(event: RunEvent): void {
    writing(this.path, () => {
      this.#file ??= openSync(this.path, 'a')
      // What is written to a file without a name is lost.
      if (fstatSync(this.#file).nlink === 0) throw deleted(this.path)
      const bytes = Buffer.from(`${JSON.stringify(event)}\n`)
      // A disk that has room for a part takes that, and refuses the rest.
      for (let written = 0; written < bytes.length; ) written += writeSync(this.#file, bytes, written)
    })
  }

  /**
   * All events in order; a torn or broken line is left out. Empty when there is no file.
   * @throws GradpromptError `run-corrupt` where it is none that can be read
   */
  async read(): Promise<StoredEvent[]> {
    let text: string
    try {
      text = await textOfFile(this.path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw readError(error, this.path)
    }
    return text.split('\n').flatMap(line => parseEvent(line) ?? [])
  }

  /**
   * Drops everything that was logged after a step: the first event of a later step, the result, and what follows them.
   * A run that goes on from that step then has the log of one that never stopped.
   */
  async truncate(afterStep: number): Promise<void> {
    this.close()
    const events = await this.read()
    const end = events.findIndex(event => event.event === 'result' || (event.step ?? 0) > afterStep)
    const kept = end === -1 ? events : events.slice(0, end)
    await replaceText(this.path, kept.map(event => `${JSON.stringify(event)}\n`).join(''))
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }
}

const deleted = (path: string) =>
  new GradpromptError('run-deleted', 'the folder of the run was deleted while it ran', {
    found: `no ${path} any more`,
    expected: 'the folder stays until the run has ended',
    hint: 'begin the run anew',
    exitCode: 1,
  })

function parseEvent(line: string): StoredEvent | undefined {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== 'object' || value === null || !('event' in value) || typeof value.event !== 'string') return undefined
    if ('step' in value && !Number.isSafeInteger(value.step)) return undefined
    return value as StoredEvent
  } catch {
    return undefined
  }
}
