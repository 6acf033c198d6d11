import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { writing } from '../errors.js'
import { replaceText } from '../store/atomic.js'
import { wholeLines } from '../store/whole-lines.js'

/** What came of one request, as it stands in a run's `calls.jsonl`. Neither the key nor any header is part of it. */
export interface Call {
  /** SHA-256 of the request's body. */
  readonly request: string
  readonly role: string
  /** The model that the endpoint says it has asked. */
  readonly model: string
  readonly text: string
  readonly finishReason: string
  readonly promptTokens: number
  readonly generatedTokens: number
  readonly cost: number
  /** Times that it was sent. */
  readonly tries: number
}

/** What a role has spent. */
export interface Account {
  calls: number
  promptTokens: number
  generatedTokens: number
  cost: number
}

/**
 * Every reply of an endpoint, a line each, on the disk before it is used. A request that stands here is never sent again: it is a run's cache,
 * what a resumed run goes on with, and a recording that can be played without a network.
 */
export class CallJournal {
  readonly accounts = new Map<string, Account>()
  readonly #known = new Map<string, Call>()
  readonly #path: string | undefined

  private constructor(path: string | undefined, calls: readonly Call[]) {
    this.#path = path
    for (const call of calls) this.#keep(call)
  }

  /**
   * @param path where it stands; nothing is kept on disk without one
   * @throws GradpromptError `run-corrupt`, `cannot-write`
   */
  static async open(path?: string): Promise<CallJournal> {
    if (path === undefined) return new CallJournal(undefined, [])
    const calls = readCalls(path)
    // A line that a kill has torn goes, so that the next one begins on a line of its own.
    await replaceText(path, calls.map(call => `${JSON.stringify(call)}\n`).join(''))
    return new CallJournal(path, calls)
  }

  find(request: string): Call | undefined {
    return this.#known.get(request)
  }

  /** @throws GradpromptError `disk-full`, `cannot-write` */
  add(call: Call): void {
    const path = this.#path
    if (path !== undefined)
      writing(path, () => {
        const file = openSync(path, 'a')
        try {
          writeSync(file, `${JSON.stringify(call)}\n`)
          fsyncSync(file)
        } finally {
          closeSync(file)
        }
      })
    this.#keep(call)
  }

  /** What all roles have spent together. */
  get total(): Account {
    const sum = { calls: 0, promptTokens: 0, generatedTokens: 0, cost: 0 }
    for (const account of this.accounts.values())
      for (const name of Object.keys(sum) as (keyof Account)[]) sum[name] += account[name]
    return sum
  }

  #keep(call: Call): void {
    this.#known.set(call.request, call)
    const account = this.accounts.get(call.role) ?? { calls: 0, promptTokens: 0, generatedTokens: 0, cost: 0 }
    account.calls += call.tries
    account.promptTokens += call.promptTokens
    account.generatedTokens += call.generatedTokens
    account.cost += call.cost
    this.accounts.set(call.role, account)
  }
}

/** The calls that a file holds; lines that are none are left out. @throws GradpromptError `run-corrupt` */
export function readCalls(path: string): Call[] {
  return wholeLines(path).flatMap(line => {
    try {
      const call = JSON.parse(line) as Partial<Call> | null
      const isCall = typeof call?.request === 'string' && typeof call.text === 'string' && typeof call.role === 'string'
      if (!isCall) return []
      const number = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : 0)
      const { request, role, text } = call as Call
      return [
        {
          ...{ request, role, text },
          model: String(call.model ?? ''),
          finishReason: String(call.finishReason ?? ''),
          promptTokens: number(call.promptTokens),
          generatedTokens: number(call.generatedTokens),
          cost: number(call.cost),
          tries: number(call.tries),
        },
      ]
    } catch {
      return []
    }
  })
}
