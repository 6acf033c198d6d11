import { GradpromptError } from '../errors.js'
import type { Checkpoint } from './checkpoints.js'
import type { RunEvent, StoredEvent } from './events.js'
import type { Run } from './run-folder.js'

/**
 * One sitting of a run: what tuning and searching alike do with the folder that they write and the caller who listens. Events go to the
 * log and then to the hearer, time is counted over all sittings, and whoever may stop the work (the caller's signal, a hearer that
 * throws or rejects) stops it in one way. It knows neither what is learned nor what the events say.
 */

/** Who listens to a run, and may stop it. */
export interface Hearer<Event, Activity> {
  /** Hears of everything as it happens; the same lines stand in `events.jsonl`. One that throws, or rejects, stops the run. */
  readonly onEvent?: ((event: Event) => unknown) | undefined
  /** Hears how far a long part of the work has come. */
  readonly onProgress?: ((activity: Activity) => unknown) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface SittingOptions<Event, Activity> extends Hearer<Event, Activity> {
  /** When the work began, on the clock of `performance.now()`. */
  readonly started: number
  /** Seconds of work in earlier sittings. */
  readonly earlier?: number | undefined
}

export class RunSession<Event extends RunEvent = RunEvent, Activity = unknown> {
  /** Of the caller, and of a hearer that has failed. */
  readonly signal: AbortSignal
  readonly #run: Run
  readonly #options: SittingOptions<Event, Activity>
  readonly #failed = new AbortController()
  readonly #listening = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | undefined

  constructor(run: Run, options: SittingOptions<Event, Activity>) {
    this.#run = run
    this.#options = options
    this.signal = options.signal === undefined ? this.#failed.signal : AbortSignal.any([options.signal, this.#failed.signal])
  }

  get folder(): string {
    return this.#run.folder
  }

  get promptPath(): string {
    return this.#run.promptPath
  }

  /** Logs an event, then tells it. @throws what the hearer throws, or has rejected with since */
  emit(event: Event): void {
    this.#run.appendEvent(event)
    this.tell(event)
  }

  /** Tells an event that is not logged. @throws as `emit` does */
  tell(event: Event): void {
    this.#hear(this.#options.onEvent?.(event))
  }

  /** @throws as `emit` does */
  progress(activity: Activity): void {
    this.#hear(this.#options.onProgress?.(activity))
  }

  /** Seconds of work so far, over all sittings. */
  elapsed(): number {
    return (this.#options.earlier ?? 0) + this.sitting()
  }

  /** Seconds of this sitting. */
  sitting(): number {
    return (performance.now() - this.#options.started) / 1000
  }

  readEvents(): Promise<StoredEvent[]> {
    return this.#run.readEvents()
  }

  writeCheckpoint(checkpoint: Checkpoint): Promise<void> {
    return this.#run.writeCheckpoint(checkpoint)
  }

  /** @throws GradpromptError `checkpoint-corrupt` */
  readCheckpoint(step: number): Promise<Checkpoint> {
    return this.#run.readCheckpoint(step)
  }

  writeResult(result: unknown): Promise<void> {
    return this.#run.writeResult(result)
  }

  /**
   * Does the work. It ends when those who listen have heard all of it.
   * @param stopped what to say where it was stopped: how far it came, and how to go on
   * @throws GradpromptError `aborted`; what a hearer threw or rejected with, and what `work` throws
   */
  async attempt<Result>(
    work: () => Promise<Result>,
    stopped: () => { readonly message: string; readonly hint: string },
  ): Promise<Result> {
    try {
      const result = await work()
      await this.#settled()
      return result
    } catch (error) {
      if (this.#failure !== undefined) throw this.#failure.error
      if (!(error instanceof GradpromptError && error.code === 'aborted')) throw error
      const { message, hint } = stopped()
      throw new GradpromptError('aborted', message, { hint, exitCode: 1, cause: error })
    }
  }

  #hear(heard: unknown): void {
    if (this.#failure !== undefined) throw this.#failure.error
    if (!isPromise(heard)) return
    const listening = Promise.resolve(heard).then(
      () => {},
      (error: unknown) => {
        this.#failure ??= { error }
        this.#failed.abort()
      },
    )
    this.#listening.add(listening)
    void listening.finally(() => this.#listening.delete(listening))
  }

  async #settled(): Promise<void> {
    await Promise.all(this.#listening)
    if (this.#failure !== undefined) throw this.#failure.error
  }
}

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
