import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { refuseAborted } from '../../errors.js'
import { randomGenerator, streams } from '../../random.js'
import type { Ask, TokenWriter, Writer, WritingOptions } from '../moves/writer.js'
import { EngineRole } from './engine-role.js'

const TOP_P = 0.95

/**
 * Samples answers from a model's engine. The seed of an answer is a function of step and place alone, so that a search that goes on from
 * a checkpoint reads the same texts.
 */
export class EngineWriter extends EngineRole implements Writer, TokenWriter {
  #step = 0
  #calls = 0

  /** Begins a step, whose answers depend on nothing that was written before. */
  override beginRound(step: number): void {
    super.beginRound(step)
    this.#step = step
    this.#calls = 0
  }

  get tokens(): TokenWriter {
    return this
  }

  get vocabulary(): number {
    return this.tokenizer.vocabSize
  }

  isEnd(id: number): boolean {
    return this.tokenizer.specialTokenIds.has(id)
  }

  read(ids: readonly number[]): string {
    return this.tokenizer.decode(ids)
  }

  async next(
    asks: readonly Ask[],
    begun: readonly number[],
    seeds: readonly number[],
    { temperature }: { temperature: number },
  ): Promise<number[]> {
    const { budget, onProgress } = this.options
    const tokens = await this.#together(asks, async (ask, i, done) => {
      const ids = [...this.encoded(ask, begun.length + 1), ...begun]
      const answer = await this.engine.generate({
        ...{ ids, maxNewTokens: 1, temperature, seed: seeds[i]! },
        ...(this.options.signal && { signal: this.options.signal }),
      })
      refuseAborted(this.options.signal)
      budget.addCall('optimizer', { promptTokens: ids.length, generatedTokens: 1 })
      onProgress?.(done(), asks.length)
      // An end token is no part of what was written.
      return answer.ids[0] ?? Number(answer.stoppedBy)
    })
    return tokens
  }

  /** Does what is to be done of each ask, several at a time. @throws BudgetSpent, and the first failure */
  async #together<Result>(
    asks: readonly Ask[],
    one: (ask: Ask, place: number, done: () => number) => Promise<Result>,
  ): Promise<Result[]> {
    const { batchSize, budget } = this.options
    const results: Result[] = new Array(asks.length)
    let [next, done] = [0, 0]
    const places = Array.from({ length: Math.min(batchSize, asks.length) }, async () => {
      while (next < asks.length && !budget.isSpent) {
        const i = next++
        results[i] = await one(asks[i]!, i, () => ++done)
      }
    })
    const failed = (await Promise.allSettled(places)).find(result => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    if (done < asks.length) budget.require()
    return results
  }

  async write(asks: readonly Ask[], { temperature, maxWrittenTokens }: WritingOptions): Promise<string[]> {
    const { seed, budget, signal, onEntry, onProgress } = this.options
    const call = this.#calls++
    const written = await this.#together(asks, async (ask, i, done) => {
      const ids = this.encoded(ask, maxWrittenTokens)
      const answer = await this.engine.generate({
        ids,
        maxNewTokens: maxWrittenTokens,
        temperature,
        topP: TOP_P,
        // What comes behind a quotation that was begun for it is never read.
        ...stopOf(ask),
        seed: uniformInt(randomGenerator(seed, streams.writing, this.#step, call, i), 0, 2 ** 31 - 1),
        ...(signal && { signal }),
      })
      refuseAborted(signal)
      budget.addCall('optimizer', { promptTokens: ids.length, generatedTokens: answer.ids.length })
      onProgress?.(done(), asks.length)
      return answer.text
    })
    for (const [i, text] of written.entries()) onEntry?.({ step: this.#step + 1, ...asks[i]!, text })
    return written
  }
}

/** What ends an answer that was begun so: nothing behind it is read. */
const stopOf = ({ begin }: Ask) => {
  const tag = /<(\w+)>$/u.exec(begin)?.[1]
  return begin.endsWith('"') ? { stop: ['"\n'] } : tag === undefined ? {} : { stop: [`</${tag}>`] }
}
