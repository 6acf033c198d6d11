import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { readReply } from '../../data/texts/reply.js'
import type { Endpoint } from '../../endpoint/client.js'
import { randomGenerator, streams } from '../../random.js'
import type { Ask, Judge, Writer, WritingOptions } from '../moves/writer.js'
import type { WrittenEntry } from './engine-role.js'

export interface EndpointWriterOptions {
  readonly seed: number
  /** Requests at the same time. */
  readonly parallel: number
  readonly onEntry?: (entry: WrittenEntry) => void
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/**
 * Answers of a model behind an endpoint. It cannot be made to go on with the beginning of an answer, so it is asked to; an answer that begins
 * otherwise is read by itself. Seeds are those of a step and a place, so that a resumed search asks for what it has asked for already.
 */
export class EndpointWriter implements Writer {
  #step = 0
  #calls = 0

  readonly #endpoint: Endpoint
  readonly #options: EndpointWriterOptions

  constructor(endpoint: Endpoint, options: EndpointWriterOptions) {
    this.#endpoint = endpoint
    this.#options = options
  }

  beginRound(step: number): void {
    this.#step = step
    this.#calls = 0
  }

  async write(asks: readonly Ask[], { temperature, maxWrittenTokens }: WritingOptions): Promise<string[]> {
    const { seed, parallel, onEntry, onProgress } = this.#options
    const call = this.#calls++
    const written: string[] = []
    let [next, done] = [0, 0]
    let failed = false
    const places = Array.from({ length: Math.min(parallel, asks.length) }, async () => {
      while (next < asks.length && !failed) {
        const i = next++
        const { ask, begin } = asks[i]!
        const wanted = begin === '' ? '' : `\n\nBegin your answer with: ${begin}`
        try {
          const { text } = await this.#endpoint.chat({
            messages: [{ role: 'user', content: ask + wanted }],
            temperature,
            maxTokens: maxWrittenTokens,
            seed: uniformInt(randomGenerator(seed, streams.writing, this.#step, call, i), 0, 2 ** 31 - 1),
          })
          written[i] = goneOn(text, begin)
        } catch (error) {
          failed = true
          throw error
        }
        onProgress?.(++done, asks.length)
      }
    })
    const failure = (await Promise.allSettled(places)).find(result => result.status === 'rejected')
    if (failure !== undefined) throw failure.reason
    for (const [i, text] of written.entries()) onEntry?.({ step: this.#step + 1, ...asks[i]!, text })
    return written
  }
}

/** What follows the beginning that was asked for: where it is missing, the prompt that the reply has in it. */
export function goneOn(text: string, begin: string): string {
  if (begin === '') return text
  const trimmed = text.trimStart()
  if (trimmed.toLowerCase().startsWith(begin.toLowerCase())) return trimmed.slice(begin.length)
  if (!/["<>]$/u.test(begin)) return text
  const prompt = readReply(text)
  return prompt === undefined ? '' : begin.endsWith('"') ? `<prompt>${prompt}</prompt>` : prompt
}

/** Compares by the letter that a model says. */
export class EndpointJudge implements Judge {
  readonly #endpoint: Endpoint
  readonly #parallel: number

  constructor(endpoint: Endpoint, parallel: number) {
    this.#endpoint = endpoint
    this.#parallel = parallel
  }

  beginRound(): void {}

  async prefer(asks: readonly Ask[]): Promise<number[]> {
    const preferred: number[] = []
    for (let start = 0; start < asks.length; start += this.#parallel)
      preferred.push(
        ...(await Promise.all(
          asks.slice(start, start + this.#parallel).map(async ({ ask }) => {
            const messages = [{ role: 'user' as const, content: `${ask}\n\nAnswer with the letter alone: A or B.` }]
            const { text } = await this.#endpoint.chat({ messages, temperature: 0, maxTokens: 16, seed: 0 })
            return letterOf(text)
          }),
        )),
      )
    return preferred
  }

  async choose(asks: readonly Ask[], labels: readonly string[]): Promise<(string | undefined)[]> {
    const chosen: (string | undefined)[] = []
    for (let start = 0; start < asks.length; start += this.#parallel)
      chosen.push(
        ...(await Promise.all(
          asks.slice(start, start + this.#parallel).map(async ({ ask }) => {
            const messages = [
              { role: 'user' as const, content: `${ask}\n\nAnswer with one of these alone: ${labels.join(', ')}.` },
            ]
            const { text } = await this.#endpoint.chat({ messages, temperature: 0, maxTokens: 64, seed: 0 })
            return labelIn(text, labels)
          }),
        )),
      )
    return chosen
  }
}

/** The one label that a reply names, as words of their own; what stands within a longer label that is named does not count. */
export function labelIn(text: string, labels: readonly string[]): string | undefined {
  let left = text.toLowerCase()
  const found = [...labels]
    .sort((a, b) => b.length - a.length)
    .filter(label => {
      const word = label.toLowerCase().replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
      const pattern = new RegExp(`(?<![\\p{L}\\p{N}])${word}(?![\\p{L}\\p{N}])`, 'gu')
      const isThere = pattern.test(left)
      left = left.replaceAll(pattern, ' ')
      return isThere
    })
  return found.length === 1 ? found[0] : undefined
}

/** 1 for A, -1 for B, 0 where a reply says neither, or both. */
export function letterOf(text: string): number {
  const said = new Set([...text.matchAll(/(?<![\p{L}\p{N}'])([AB])(?![\p{L}\p{N}'])/gu)].map(([, letter]) => letter))
  return said.size !== 1 ? 0 : said.has('A') ? 1 : -1
}
