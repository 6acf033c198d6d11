import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { refuseAborted } from '../../errors.js'
import { randomGenerator, streams } from '../../random.js'
import type { Ask, Writer, WritingOptions } from '../moves/writer.js'
import { EngineRole } from './engine-role.js'

const TOP_P = 0.95

/**
 * Samples answers from a model's engine. The seed of an answer is a function of step and place alone, so that a search that goes on from
 * a checkpoint reads the same texts.
 */
export class EngineWriter extends EngineRole implements Writer {
  #step = 0
  #calls = 0

  /** Begins a step, whose answers depend on nothing that was written before. */
  override beginRound(step: number): void {
    super.beginRound(step)
    this.#step = step
    this.#calls = 0
  }

  async write(asks: readonly Ask[], { temperature, maxWrittenTokens }: WritingOptions): Promise<string[]> {
    const { seed, batchSize, budget, signal, onEntry, onProgress } = this.options
    const call = this.#calls++
    const written: (string | undefined)[] = asks.map(() => undefined)
    let [next, done] = [0, 0]
    const places = Array.from({ length: Math.min(batchSize, asks.length) }, async () => {
      while (next < asks.length && !budget.isSpent) {
        const i = next++
        const ids = this.encoded(asks[i]!, maxWrittenTokens)
        const answer = await this.engine.generate({
          ids,
          maxNewTokens: maxWrittenTokens,
          temperature,
          topP: TOP_P,
          // What comes behind a quotation that was begun for it is never read.
          ...stopOf(asks[i]!),
          seed: uniformInt(randomGenerator(seed, streams.writing, this.#step, call, i), 0, 2 ** 31 - 1),
          ...(signal && { signal }),
        })
        refuseAborted(signal)
        budget.addCall('optimizer', { promptTokens: ids.length, generatedTokens: answer.ids.length })
        written[i] = answer.text
        onProgress?.(++done, asks.length)
      }
    })
    const failed = (await Promise.allSettled(places)).find(result => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    if (written.includes(undefined)) budget.require()
    for (const [i, text] of written.entries()) onEntry?.({ step: this.#step + 1, ...asks[i]!, text: text! })
    return written.map(text => text!)
  }
}

/** What ends an answer that was begun so: nothing behind it is read. */
const stopOf = ({ begin }: Ask) => {
  const tag = /<(\w+)>$/u.exec(begin)?.[1]
  return begin.endsWith('"') ? { stop: ['"\n'] } : tag === undefined ? {} : { stop: [`</${tag}>`] }
}
