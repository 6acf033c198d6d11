import type { ServerResponse } from 'node:http'
import type { Overview } from './overview.js'
import { signatureOf } from './overview.js'
import type { Places } from './places.js'

/**
 * Tells browsers that something has changed, over server-sent events. What has changed they ask for anew, so that nothing can be missed, told
 * twice or told in the wrong order, and a browser that comes back after an hour has lost nothing. Files are looked at only while somebody listens.
 */

const everyMilliseconds = 200
/** A look at every folder takes longer. */
const listEvery = 5
const silenceMilliseconds = 15_000
const mostListeners = 64

interface Listener {
  readonly response: ServerResponse
  /** What is watched; undefined: the list of everything. */
  readonly id: string | undefined
  seen: string | undefined
  spoke: number
}

export class Live {
  readonly #places: Places
  readonly #overview: Overview
  readonly #listeners = new Set<Listener>()
  #timer: NodeJS.Timeout | undefined
  #turn = 0

  constructor(places: Places, overview: Overview) {
    this.#places = places
    this.#overview = overview
  }

  get listeners(): number {
    return this.#listeners.size
  }

  /** @param id of a run or a sweep; undefined: the list @returns whether there was room */
  add(response: ServerResponse, id: string | undefined): boolean {
    if (this.#listeners.size >= mostListeners) return false
    const listener: Listener = { response, id, seen: undefined, spoke: Date.now() }
    this.#listeners.add(listener)
    response.on('close', () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.stop()
    })
    response.write('retry: 1000\n\n')
    this.#timer ??= setTimeout(() => void this.#tick(), 0)
    return true
  }

  /** Ends every stream. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const { response } of this.#listeners) response.end()
    this.#listeners.clear()
  }

  async #tick(): Promise<void> {
    const isListTurn = this.#turn++ % listEvery === 0
    const listeners = [...this.#listeners]
    const ids = new Set(listeners.flatMap(({ id }) => id ?? []))
    const signatures = new Map<string, string>()
    for (const id of ids) {
      const place = await this.#places.place(id).catch(() => undefined)
      signatures.set(id, place === undefined ? 'gone' : (await signatureOf(place)).signature)
    }
    if (isListTurn && listeners.some(({ id }) => id === undefined)) void this.#overview.look().catch(() => {})
    for (const listener of listeners) {
      const now = listener.id === undefined ? String(this.#overview.version) : signatures.get(listener.id)!
      if (now !== listener.seen) {
        if (listener.seen !== undefined) this.#say(listener, 'event: changed\ndata: {}\n\n')
        listener.seen = now
      } else if (Date.now() - listener.spoke > silenceMilliseconds) this.#say(listener, ': still here\n\n')
    }
    if (this.#listeners.size > 0) this.#timer = setTimeout(() => void this.#tick(), everyMilliseconds)
  }

  #say(listener: Listener, text: string): void {
    // Who does not read is told again when there is room.
    if (listener.response.writableNeedDrain) return
    listener.spoke = Date.now()
    listener.response.write(text)
  }
}
