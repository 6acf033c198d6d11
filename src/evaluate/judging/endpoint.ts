import { setTimeout as sleep } from 'node:timers/promises'
import { GradpromptError, refuseAborted } from '../../errors.js'
import { type Judge, judgeText } from './judge.js'

/** An OpenAI-compatible endpoint as a judge: it is asked once for each order, and answers in words. */

export interface EndpointOptions {
  /** Up to and with `/v1`. */
  readonly url: string
  /** By the name that the endpoint knows it by. */
  readonly model: string
  /** Sent as the bearer of requests. */
  readonly key?: string | undefined
  readonly instruction: string
  readonly seed: number
}

const attempts = 4
const timeoutMilliseconds = 120_000
/** An answer of a few words is far shorter. */
const mostBytes = 1 << 20

export function endpointJudge({ url, model, key, instruction, seed }: EndpointOptions): Judge {
  const address = `${url.replace(/\/+$/, '')}/chat/completions`
  return {
    name: model,
    identity: address,
    async prefer(question, signal) {
      const messages = [{ role: 'user', content: judgeText(instruction, question) }]
      const body = JSON.stringify({ model, messages, temperature: 0, max_tokens: 16, seed })
      for (let attempt = 1; ; attempt++) {
        refuseAborted(signal)
        const outcome = await ask(address, body, key, signal)
        if (typeof outcome === 'string') return readVerdict(outcome)
        if (!outcome.again || attempt === attempts)
          throw new GradpromptError('judge-failed', `the judge at ${address} gives no answer`, {
            found: outcome.found,
            expected: 'a completion with choices[0].message.content',
            hint: 'is the address right up to /v1, the name of the model (--judge-model), and the key (GRADPROMPT_JUDGE_KEY)?',
          })
        await sleep(250 * 4 ** (attempt - 1), undefined, signal && { signal })
      }
    },
  }
}

interface Trouble {
  readonly found: string
  /** Another try may do. */
  readonly again: boolean
}

/** @returns what it says, or what is wrong */
async function ask(
  address: string,
  body: string,
  key: string | undefined,
  signal: AbortSignal | undefined,
): Promise<string | Trouble> {
  const limit = AbortSignal.timeout(timeoutMilliseconds)
  try {
    const response = await fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(key !== undefined && { authorization: `Bearer ${key}` }) },
      body,
      signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
    })
    const text = await limited(response)
    if (text === undefined) return { found: `more than ${mostBytes} bytes`, again: false }
    if (!response.ok)
      return { found: `HTTP ${response.status}: ${text.slice(0, 200)}`, again: response.status === 429 || response.status >= 500 }
    const content = (JSON.parse(text) as { choices?: { message?: { content?: unknown } }[] }).choices?.[0]?.message?.content
    return typeof content === 'string' ? content : { found: text.slice(0, 200), again: false }
  } catch (error) {
    refuseAborted(signal)
    const { message, cause } = error as Error
    return { found: cause instanceof Error ? `${message}: ${cause.message}` : message, again: !(error instanceof SyntaxError) }
  }
}

/** A response as text; undefined where it is too long. */
async function limited(response: Response): Promise<string | undefined> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of response.body ?? []) {
    size += (part as Uint8Array).length
    if (size > mostBytes) return undefined
    parts.push(part as Uint8Array)
  }
  return Buffer.concat(parts).toString('utf8')
}

/** `Output (a)` or `(b)` within a text, or nothing but a letter; 0.5 where it is neither, or both. */
export function readVerdict(text: string): number {
  const named = [...text.matchAll(/\(\s*([ab])\s*\)/gi)].map(([, letter]) => letter!.toLowerCase())
  const [, alone] = /^\W*(?:output\s*)?([ab])\W*$/i.exec(text) ?? []
  const letters = new Set(alone === undefined ? named : [alone.toLowerCase()])
  if (letters.size !== 1) return 0.5
  return letters.has('a') ? 1 : 0
}
