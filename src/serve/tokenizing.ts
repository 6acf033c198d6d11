import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { GradpromptError } from '../errors.js'
import type { TokenizerSource } from '../formats/tokenizer.js'
import { packageRoot } from '../package-root.js'

/**
 * Tokenises long texts in a thread of their own, so that nobody else who asks the server has to wait for them. The thread is started when
 * the first long text comes, and reads the tokenizer once more. It knows neither requests nor models.
 */

/** To the thread. */
export interface LongText {
  readonly id: number
  readonly text: string
  readonly addSpecialTokens: boolean
}

/** From the thread. */
export type Tokenized =
  | { readonly id: number; readonly ids: readonly number[] }
  | {
      readonly id: number
      readonly error: { readonly code: string; readonly message: string; readonly found?: string | undefined }
    }

/** Texts shorter than this take few milliseconds, wherever they are tokenised. */
export const longText = 16_384

/** What a text may take: the longest that fits into any context takes a few seconds. */
const mostMilliseconds = 30_000

interface Waiting {
  readonly resolve: (ids: readonly number[]) => void
  readonly reject: (error: unknown) => void
}

export class TokenizingThread implements AsyncDisposable {
  readonly #source: TokenizerSource
  readonly #waiting = new Map<number, Waiting>()
  #thread: Worker | undefined
  #asked = 0
  #watch: NodeJS.Timeout | undefined

  constructor(source: TokenizerSource) {
    this.#source = source
  }

  /** @throws GradpromptError `tokenizer-too-slow`, and what the tokenizer throws */
  encode(text: string, { addSpecialTokens = true }: { readonly addSpecialTokens?: boolean } = {}): Promise<readonly number[]> {
    this.#thread ??= this.#start()
    const id = this.#asked++
    const asked: LongText = { id, text, addSpecialTokens }
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      if (this.#waiting.size === 1) this.#wind()
      this.#thread!.postMessage(asked)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end(new GradpromptError('aborted', 'stopped', { exitCode: 1 }))
  }

  #start(): Worker {
    // The built file: a thread runs no TypeScript.
    const thread = new Worker(join(packageRoot(), 'dist', 'src', 'serve', 'tokenizing-thread.js'), { workerData: this.#source })
    thread.unref()
    thread.on('message', (message: Tokenized) => {
      const waiting = this.#waiting.get(message.id)
      this.#waiting.delete(message.id)
      this.#wind()
      if ('ids' in message) waiting?.resolve(message.ids)
      else {
        const { code, message: text, found } = message.error
        waiting?.reject(new GradpromptError(code, text, found === undefined ? {} : { found }))
      }
    })
    const died = (error: unknown) => {
      if (this.#thread === thread) void this.#end(error)
    }
    thread.on('error', died)
    thread.on('exit', code => died(new Error(`the thread that tokenises ended with ${code}`)))
    return thread
  }

  /** Gives the text that is under way its time. */
  #wind(): void {
    clearTimeout(this.#watch)
    if (this.#waiting.size === 0) return
    this.#watch = setTimeout(() => {
      const found = `more than ${mostMilliseconds / 1000} s`
      void this.#end(new GradpromptError('tokenizer-too-slow', 'A text takes too long to be tokenised', { found }))
    }, mostMilliseconds)
    this.#watch.unref()
  }

  /** Those that wait are told; whoever asks next begins a new thread. */
  async #end(error: unknown): Promise<void> {
    clearTimeout(this.#watch)
    const thread = this.#thread
    this.#thread = undefined
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
    await thread?.terminate()
  }
}
