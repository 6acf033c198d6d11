import { GradpromptError } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import type { Generator } from '../../generate/request.js'
import type { Ask } from '../moves/writer.js'
import type { Budget } from '../score/budget.js'

/** What a model on this machine needs to write or to judge in a search: its engine, and how it is asked. */

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

export type AskTokenizer = Pick<
  Tokenizer,
  'encode' | 'decode' | 'applyChatTemplate' | 'chatTemplate' | 'vocabSize' | 'specialTokenIds'
>

/** One role of a search, in a model's engine. */
export abstract class EngineRole {
  protected readonly engine: Generator & { forget(): void }
  protected readonly tokenizer: AskTokenizer
  protected readonly options: WriterOptions

  constructor(engine: Generator & { forget(): void }, tokenizer: AskTokenizer, options: WriterOptions) {
    this.engine = engine
    this.tokenizer = tokenizer
    this.options = options
  }

  /** Begins a step, whose answers depend on nothing that was written before. */
  beginRound(_step: number): void {
    this.engine.forget()
  }

  /** @param room for new tokens @throws GradpromptError `context-exceeded` */
  protected encoded(ask: Ask, room: number): number[] {
    return encodeAsk(ask, this.tokenizer, this.options.contextLength - room)
  }
}

/**
 * A user's message with the beginning of the answer to it; of a model that knows no chat, one text.
 * @param most tokens that there is room for
 * @throws GradpromptError `context-exceeded`
 */
function encodeAsk(ask: Ask, tokenizer: AskTokenizer, most: number): number[] {
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
