import type { ServerResponse } from 'node:http'
import { type Overview, signatureOf } from './overview.js'
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
  seen: string
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

  /**
   * Begins to tell a browser. Its stream opens when what stands on the disk has been looked at, so that what it asks for then is not older.
   * @param id of a run or a sweep; undefined: the list
   * @returns whether there was room
   */
  async add(response: ServerResponse, id: string | undefined): Promise<boolean> {
    if (this.#listeners.size >= mostListeners) return false
    const listener: Listener = { response, id, seen: '', spoke: Date.now() }
    this.#listeners.add(listener)
    response.on('close', () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.stop()
    })
    listener.seen = await this.#state(id)
    response.write('retry: 1000\n\n')
    if (this.#listeners.size > 0) this.#timer ??= setTimeout(() => void this.#tick(), everyMilliseconds)
    return true
  }

  /** What changes when something has changed. */
  async #state(id: string | undefined): Promise<string> {
    if (id === undefined) return String(this.#overview.version)
    const place = await this.#places.place(id).catch(() => undefined)
    return place === undefined ? 'gone' : (await signatureOf(place)).signature
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
    const isListed = listeners.some(({ id }) => id === undefined)
    // A look at every folder is not waited for; one at those under way is short, and their curves are followed.
    if (isListed && isListTurn) void this.#overview.look().catch(() => {})
    else if (isListed) await this.#overview.glance().catch(() => {})
    const ids = new Set(listeners.map(({ id }) => id))
    const states = new Map<string | undefined, string>()
    for (const id of ids) states.set(id, await this.#state(id))
    for (const listener of listeners) {
      const now = states.get(listener.id)!
      if (now !== listener.seen) {
        if (this.#say(listener, 'event: changed\ndata: {}\n\n')) listener.seen = now
      } else if (Date.now() - listener.spoke > silenceMilliseconds) this.#say(listener, ': still here\n\n')
    }
    if (this.#listeners.size > 0) this.#timer = setTimeout(() => void this.#tick(), everyMilliseconds)
  }

  /** @returns whether it could be said: who does not read is told when there is room */
  #say(listener: Listener, text: string): boolean {
    if (listener.response.writableNeedDrain) return false
    listener.spoke = Date.now()
    listener.response.write(text)
    return true
  }
}
