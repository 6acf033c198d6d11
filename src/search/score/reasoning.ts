import { refuseAborted } from '../../errors.js'
import type { Tokenizer } from '../../formats/tokenizer.js'
import type { GenerationEngine } from '../../generate/engine/engine.js'
import type { Reasoned } from '../space/row-sequence.js'
import type { SearchRow } from '../space/token-space.js'
import type { Budget } from './budget.js'

/** An entry of what is known, as it stands in a run's `reasoning.jsonl`. */
export interface ReasoningEntry extends Reasoned {
  readonly prompt: readonly number[]
  /** The question's place among the training rows. */
  readonly question: number
}

export interface ReasoningOptions {
  /** Of the reasoning alone. */
  readonly maxNewTokens: number
  /** Questions that are answered at the same time. */
  readonly batchSize: number
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/**
 * Greedy reasoning of the frozen model, and the likelihood of the right answer behind it. What is known of a prompt and a question is
 * never generated again: the reasoning of a prompt that wins is that of the next step's incumbent.
 */
export class Reasoning {
  readonly #known = new Map<string, Reasoned>()

  readonly #engine: GenerationEngine
  readonly #tokenizer: Tokenizer
  /** Hears of every new entry. */
  readonly #onEntry: ((entry: ReasoningEntry) => void) | undefined

  constructor(
    engine: GenerationEngine,
    tokenizer: Tokenizer,
    readonly options: ReasoningOptions,
    onEntry?: (entry: ReasoningEntry) => void,
    known: readonly ReasoningEntry[] = [],
  ) {
    this.#engine = engine
    this.#tokenizer = tokenizer
    this.#onEntry = onEntry
    for (const { prompt, question, ...reasoned } of known) this.#known.set(keyOf(prompt, question), reasoned)
  }

  /** Entries so far: a checkpoint counts them. */
  get size(): number {
    return this.#known.size
  }

  /** Computes what the questions begin with, once for the whole search. */
  async prepare(rows: readonly SearchRow[]): Promise<void> {
    await this.#engine.remember(rows.map(({ before }) => before))
  }

  /** Begins a round whose results depend on nothing but the entries: a resumed search comes to the same bits. */
  beginRound(): void {
    this.#engine.forget()
  }

  /**
   * Answers each question of the search under each prompt, all of them at once.
   * @returns [prompts.length][rows.length]
   * @throws BudgetSpent with up to one batch more done than the budget has paid for; what is done stays known. GradpromptError
   *   `context-exceeded`, `aborted`
   */
  async answers(
    prompts: readonly (readonly number[])[],
    rows: readonly SearchRow[],
    { budget, signal }: { readonly budget: Budget; readonly signal?: AbortSignal | undefined },
  ): Promise<Reasoned[][]> {
    const wanted = new Map<string, { prompt: readonly number[]; row: SearchRow }>()
    for (const prompt of prompts)
      for (const row of rows) {
        const key = keyOf(prompt, row.index)
        if (!this.#known.has(key)) wanted.set(key, { prompt, row })
      }
    const made = await this.#generateAll([...wanted.values()], budget, signal)
    // In the order of the questions, whatever the order in which they were done.
    let i = 0
    for (const [key, { prompt, row }] of wanted) {
      const reasoned = made[i++]
      if (reasoned === undefined) continue
      this.#known.set(key, reasoned)
      this.#onEntry?.({ prompt, question: row.index, ...reasoned })
    }
    if (made.includes(undefined)) budget.require()
    return prompts.map(prompt => rows.map(row => this.#known.get(keyOf(prompt, row.index))!))
  }

  /** The same for rows that are not the search's questions; nothing is kept. */
  async judge(
    prompt: readonly number[],
    rows: readonly SearchRow[],
    { budget, signal }: { readonly budget: Budget; readonly signal?: AbortSignal | undefined },
  ): Promise<Reasoned[]> {
    const made = await this.#generateAll(
      rows.map(row => ({ prompt, row })),
      budget,
      signal,
    )
    return made.map(reasoned => reasoned!)
  }

  /** @returns undefined for those that the budget did not pay for */
  async #generateAll(
    wanted: readonly { readonly prompt: readonly number[]; readonly row: SearchRow }[],
    budget: Budget,
    signal: AbortSignal | undefined,
  ): Promise<(Reasoned | undefined)[]> {
    const made: (Reasoned | undefined)[] = wanted.map(() => undefined)
    let next = 0
    let done = 0
    const places = Array.from({ length: Math.min(this.options.batchSize, wanted.length) }, async () => {
      while (next < wanted.length && !budget.isSpent) {
        const i = next++
        const { prompt, row } = wanted[i]!
        made[i] = await this.#generate(prompt, row, budget, signal)
        this.options.onProgress?.(++done, wanted.length)
      }
    })
    const results = await Promise.allSettled(places)
    const failed = results.find(result => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    return made
  }

  async #generate(
    prompt: readonly number[],
    { before, after, extractor, answer }: SearchRow,
    budget: Budget,
    signal: AbortSignal | undefined,
  ): Promise<Reasoned> {
    const { ids, finishReason, continuation } = await this.#engine.generate({
      ids: [...before, ...prompt, ...after],
      maxNewTokens: this.options.maxNewTokens,
      continuation: { ids: [...extractor, ...answer], scored: answer.length },
      ...(signal && { signal }),
    })
    refuseAborted(signal)
    budget.addCall('task', {
      promptTokens: prompt.length + after.length + extractor.length + answer.length,
      generatedTokens: ids.length,
    })
    const { logProbabilities, likeliest } = continuation!
    const isExact = answer.every((id, j) => likeliest[j] === id)
    return {
      reasoning: ids,
      logProbabilities,
      isExact,
      isRight: isExact && !/^[\p{L}\p{N}]/u.test(this.#tokenizer.token(likeliest[answer.length]!)),
      isCut: finishReason === 'length',
    }
  }
}

/** Below this probability an answer is none that the model gives. */
const NEVER = 1e-4

/**
 * Answers that the model never gives, whatever the question: a prompt cannot be judged by them. An answer counts when several questions
 * have it; if no question at all has a likely answer, all do.
 * @param reasoned [rows.length]
 */
export function unheardOf(reasoned: readonly Reasoned[], rows: readonly SearchRow[], tokenizer: Tokenizer): string[] {
  const likeliest = new Map<string, { count: number; probability: number }>()
  for (const [i, { logProbabilities }] of reasoned.entries()) {
    const answer = tokenizer.decode(rows[i]!.answer)
    const known = likeliest.get(answer) ?? { count: 0, probability: 0 }
    const probability = Math.exp(logProbabilities.reduce((sum, value) => sum + value, 0))
    likeliest.set(answer, { count: known.count + 1, probability: Math.max(known.probability, probability) })
  }
  const never = [...likeliest].filter(([, { probability }]) => probability < NEVER)
  return never.filter(([, { count }]) => count > 1 || never.length === likeliest.size).map(([answer]) => answer)
}

const keyOf = (prompt: readonly number[], question: number) => `${question}:${prompt.join()}`
