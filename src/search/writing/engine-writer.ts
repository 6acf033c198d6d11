import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { randomGenerator, streams } from '../../data/random.js'
import { GradpromptError, refuseAborted } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import type { Generator } from '../../generate/request.js'
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

/**
 * Samples answers from a model's engine. The seed of an answer is a function of step and place alone, so that a search that goes on from
 * a checkpoint reads the same texts.
 */
export class EngineWriter implements Writer {
  private step = 0
  private calls = 0

  constructor(
    private readonly engine: Generator & { forget(): void },
    private readonly tokenizer: Pick<Tokenizer, 'encode' | 'applyChatTemplate' | 'chatTemplate'>,
    private readonly options: WriterOptions,
  ) {}

  /** Begins a step, whose answers depend on nothing that was written before. */
  beginRound(step: number): void {
    this.step = step
    this.calls = 0
    this.engine.forget()
  }

  async write(asks: readonly Ask[], { temperature, maxWrittenTokens }: WritingOptions): Promise<string[]> {
    const { seed, batchSize, budget, signal, onEntry, onProgress } = this.options
    const call = this.calls++
    const written: (string | undefined)[] = asks.map(() => undefined)
    let [next, done] = [0, 0]
    const places = Array.from({ length: Math.min(batchSize, asks.length) }, async () => {
      while (next < asks.length && !budget.isSpent) {
        const i = next++
        const ids = this.encode(asks[i]!, maxWrittenTokens)
        const answer = await this.engine.generate({
          ids,
          maxNewTokens: maxWrittenTokens,
          temperature,
          topP: TOP_P,
          // What comes behind a quotation that was begun for it is never read.
          ...(asks[i]!.begin.endsWith('"') && { stop: ['"\n'] }),
          seed: uniformInt(randomGenerator(seed, streams.writing, this.step, call, i), 0, 2 ** 31 - 1),
          ...(signal && { signal }),
        })
        refuseAborted(signal)
        budget.add({ generatedTokens: answer.ids.length, computedTokens: ids.length + answer.ids.length })
        written[i] = answer.text
        onProgress?.(++done, asks.length)
      }
    })
    const failed = (await Promise.allSettled(places)).find(result => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    if (written.includes(undefined)) budget.require()
    for (const [i, text] of written.entries()) onEntry?.({ step: this.step + 1, ...asks[i]!, text: text! })
    return written.map(text => text!)
  }

  /** A user's message with the beginning of the answer to it; of a model that knows no chat, one text. */
  private encode({ ask, begin }: Ask, maxWrittenTokens: number): number[] {
    const { tokenizer } = this
    const isChat = tokenizer.chatTemplate !== undefined
    const asked = isChat
      ? tokenizer.applyChatTemplate([{ role: 'user', content: ask }], { addGenerationPrompt: true })
      : `${ask}\n\n`
    const ids = tokenizer.encode(asked + begin, { addSpecialTokens: !isChat })
    if (ids.length + maxWrittenTokens <= this.options.contextLength) return ids
    throw new GradpromptError('context-exceeded', 'what the critic is asked does not fit into its context', {
      found: `${ids.length} tokens, and ${maxWrittenTokens} for its answer`,
      expected: `at most ${this.options.contextLength} in all`,
      hint: 'show it fewer questions, lower search.maxWrittenTokens, or name a search.optimizer with a longer context',
      exitCode: 1,
    })
  }
}
