import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { DataRecord } from '../data/readers/records.js'
import { withinTime } from '../formats/time-limit.js'
import { packageRoot } from '../package-root.js'

/**
 * Runs scorers of people's own under a limit of time for each row: modules in a thread, which is ended with whatever they do in it, and
 * functions in memory where they are, which stops what they compute at once but no loop behind an `await`. It knows neither registries
 * nor what becomes of a score.
 */

/** What a text counts for. */
export interface Score {
  /** Any finite number; the built-in scorers give 0 to 1. */
  readonly score: number
  /** Where the text is right or wrong. */
  readonly correct?: boolean
  /** Further scores by name. */
  readonly scores?: Readonly<Record<string, number>>
}

export type ScoreFunction = (row: DataRecord, text: string) => unknown

/** What one row may take, unless a scorer says otherwise. */
export const usualSeconds = 60

/** To the thread. */
export interface ScoringRequest {
  readonly id: number
  readonly row: Readonly<Record<string, unknown>>
  readonly text: string
}

/** From the thread. */
export type ScoringMessage =
  | { readonly loaded: true }
  | { readonly id: number; readonly begun: true }
  | { readonly id: number; readonly score: Score }
  | { readonly id: number; readonly error: string }

const tooLong = (seconds: number) => new Error(`the scorer took longer than ${seconds} s`)

/** A function in memory, under its limit. @throws what it throws, or that it took too long */
export async function scoreHere(score: ScoreFunction, row: DataRecord, text: string, seconds: number): Promise<unknown> {
  const given = withinTime(
    seconds * 1000,
    () => score({ ...row }, text),
    () => {
      throw tooLong(seconds)
    },
  )
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooLong(seconds)), seconds * 1000)
  })
  try {
    return await Promise.race([given, late])
  } finally {
    clearTimeout(timer)
  }
}

interface Waiting extends ScoringRequest {
  readonly resolve: (score: Score) => void
  readonly reject: (error: Error) => void
  watch?: NodeJS.Timeout
}

/** The scorer of a module, in a thread that begins with the first row and holds no process up. */
export class ScoringThread {
  readonly #path: string
  readonly #seconds: number
  readonly #waiting = new Map<number, Waiting>()
  #thread: Worker | undefined
  #loading: NodeJS.Timeout | undefined
  #asked = 0

  constructor(path: string, seconds: number) {
    this.#path = path
    this.#seconds = seconds
  }

  /** @throws Error what the scorer threw, in words; that it took too long; that it ended its thread */
  score(row: DataRecord, text: string): Promise<Score> {
    return new Promise((resolve, reject) => {
      const id = this.#asked++
      const waiting: Waiting = { id, row: { ...row }, text, resolve, reject }
      this.#waiting.set(id, waiting)
      this.#send(waiting)
    })
  }

  #send({ id, row, text }: Waiting): void {
    this.#thread ??= this.#start()
    // What waits for a score keeps the process alive, and nothing else of the thread does.
    this.#thread.ref()
    this.#thread.postMessage({ id, row, text } satisfies ScoringRequest)
  }

  #start(): Worker {
    // The built file: a thread runs no TypeScript.
    const file = join(packageRoot(), 'dist', 'src', 'evaluate', 'scoring-thread.js')
    // What a scorer prints is let go in the thread, and what is printed before goes nowhere.
    const thread = new Worker(file, { workerData: { path: this.#path }, stdout: true, stderr: true })
    this.#loading = setTimeout(
      () => this.#end(thread, new Error(`${tooLong(this.#seconds).message} to load`), true),
      1000 * this.#seconds,
    )
    thread.on('message', (message: ScoringMessage) => this.#hear(thread, message))
    thread.on('error', error => this.#end(thread, new Error(`the scorer failed outside a row: ${describeThrown(error)}`)))
    thread.on('exit', code => this.#end(thread, new Error(`the scorer ended its thread, with code ${code}`)))
    return thread
  }

  #hear(thread: Worker, message: ScoringMessage): void {
    if ('loaded' in message) {
      clearTimeout(this.#loading)
      return
    }
    const waiting = this.#waiting.get(message.id)
    if (waiting === undefined) return
    if ('begun' in message) {
      waiting.watch = setTimeout(() => this.#end(thread, tooLong(this.#seconds), false, waiting.id), 1000 * this.#seconds)
      return
    }
    clearTimeout(waiting.watch)
    this.#waiting.delete(message.id)
    if (this.#waiting.size === 0) thread.unref()
    if ('score' in message) waiting.resolve(message.score)
    else waiting.reject(new Error(message.error))
  }

  /**
   * Ends a thread. The rows that it had begun fail; or one of them, and the others begin anew in another thread.
   * @param all those that it has not begun fail as well
   */
  #end(thread: Worker, error: Error, all = false, only?: number): void {
    if (this.#thread !== thread) return
    this.#thread = undefined
    clearTimeout(this.#loading)
    void thread.terminate()
    const left = [...this.#waiting.values()]
    const begun = left.some(({ watch }) => watch !== undefined)
    for (const waiting of left) {
      clearTimeout(waiting.watch)
      const fails = all || !begun || (only === undefined ? waiting.watch !== undefined : waiting.id === only)
      delete waiting.watch
      if (!fails) continue
      this.#waiting.delete(waiting.id)
      waiting.reject(error)
    }
    for (const waiting of this.#waiting.values()) this.#send(waiting)
  }
}

/** @throws Error where it is none */
export function toScore(value: unknown): Score {
  if (typeof value === 'boolean') return { score: Number(value), correct: value }
  if (typeof value === 'number' && Number.isFinite(value)) return { score: value }
  if (typeof value !== 'object' || value === null || !('score' in value)) throw notAScore(value)
  const { score, correct, ...rest } = value as Readonly<Record<string, unknown>>
  if (typeof score === 'object' || (correct !== undefined && typeof correct !== 'boolean')) throw notAScore(value)
  const scores = Object.entries(rest).filter((entry): entry is [string, number] => Number.isFinite(entry[1]))
  return {
    ...toScore(score),
    ...(correct !== undefined && { correct }),
    ...(scores.length > 0 && { scores: Object.fromEntries(scores) }),
  }
}

const notAScore = (value: unknown) =>
  new Error(`the scorer gave ${describe(value)}; expected a number, a boolean, or { score, correct }`)

function describe(value: unknown): string {
  try {
    return (typeof value === 'object' ? JSON.stringify(value) : String(value)).slice(0, 80)
  } catch {
    return `the ${typeof value} ${Object.prototype.toString.call(value)}`
  }
}

/** What was thrown in words, whatever it is. */
export function describeThrown(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error)
  } catch {
    return `a thrown ${typeof error} that cannot be shown`
  }
}
