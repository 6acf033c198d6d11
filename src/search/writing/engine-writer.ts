import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { GradpromptError, refuseAborted } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import type { Generator } from '../../generate/request.js'
import { randomGenerator, streams } from '../../random.js'
import type { Ask, Writer, WritingOptions } from '../moves/writer.js'
import type { Budget } from '../score/budget.js'

/** An answer, as it stands in a run's `written.jsonl`. */
export interface WrittenEntry extends Ask {
  /** Counted from 1. */
  readonly step: number
  readonly text: string
}

export interface WriterOptions {
  readonly contextLength: number
  readonly seed: number
  /** Answers that are written at the same time. */
  readonly batchSize: number
  readonly budget: Budget
  readonly signal?: AbortSignal | undefined
  /** Hears of every answer, in the order of the asks. */
  readonly onEntry?: (entry: WrittenEntry) => void
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

const TOP_P = 0.95

export type AskTokenizer = Pick<Tokenizer, 'encode' | 'applyChatTemplate' | 'chatTemplate'>

/**
 * Samples answers from a model's engine. The seed of an answer is a function of step and place alone, so that a search that goes on from
 * a checkpoint reads the same texts.
 */
export class EngineWriter implements Writer {
  #step = 0
  #calls = 0

  readonly #engine: Generator & { forget(): void }
  readonly #tokenizer: AskTokenizer
  readonly #options: WriterOptions

  constructor(engine: Generator & { forget(): void }, tokenizer: AskTokenizer, options: WriterOptions) {
    this.#engine = engine
    this.#tokenizer = tokenizer
    this.#options = options
  }

  /** Begins a step, whose answers depend on nothing that was written before. */
  beginRound(step: number): void {
    this.#step = step
    this.#calls = 0
    this.#engine.forget()
  }

  async write(asks: readonly Ask[], { temperature, maxWrittenTokens }: WritingOptions): Promise<string[]> {
    const { seed, batchSize, budget, signal, onEntry, onProgress } = this.#options
    const call = this.#calls++
    const written: (string | undefined)[] = asks.map(() => undefined)
    let [next, done] = [0, 0]
    const places = Array.from({ length: Math.min(batchSize, asks.length) }, async () => {
      while (next < asks.length && !budget.isSpent) {
        const i = next++
        const ids = encodeAsk(asks[i]!, this.#tokenizer, this.#options.contextLength - maxWrittenTokens)
        const answer = await this.#engine.generate({
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

/**
 * A user's message with the beginning of the answer to it; of a model that knows no chat, one text.
 * @param most tokens that there is room for
 * @throws GradpromptError `context-exceeded`
 */
export function encodeAsk(ask: Ask, tokenizer: AskTokenizer, most: number): number[] {
  const isChat = tokenizer.chatTemplate !== undefined
  const ids = tokenizer.encode(askText(ask, tokenizer), { addSpecialTokens: !isChat })
  if (ids.length <= most) return ids
  throw new GradpromptError('context-exceeded', 'what the critic is asked does not fit into its context', {
    found: `${ids.length} tokens`,
    expected: `at most ${most}, and room for its answer`,
    hint: 'show it fewer questions, lower search.maxWrittenTokens, or name a search.optimizer with a longer context',
    exitCode: 1,
  })
}

export const askText = ({ ask, begin }: Ask, tokenizer: AskTokenizer): string =>
  (tokenizer.chatTemplate === undefined
    ? `${ask}\n\n`
    : tokenizer.applyChatTemplate([{ role: 'user', content: ask }], { addGenerationPrompt: true })) + begin
