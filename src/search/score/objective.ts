import { disfluency, withFluency } from '../../losses/fluency.js'
import { mellowmaxWeights } from '../../losses/mellowmax.js'
import type { LanguageModel } from '../../model/language-model.js'
import { mean } from '../../numbers.js'
import type { Reasoned } from '../space/row-sequence.js'
import { behind, choicesOf, readable, sequenceOf } from '../space/row-sequence.js'
import type { SearchRow } from '../space/token-space.js'
import type { ReadSequence } from '../space/token-tree.js'
import type { Budget } from './budget.js'
import {
  answerCost,
  comparedCost,
  exactness,
  labelScores,
  type ReadValues,
  type RowCost,
  rowCost,
  type Scoring,
} from './exact-score.js'
import { isRight } from './measure.js'
import { Predictions } from './predictions.js'
import type { SearchPrograms } from './programs.js'
import type { Reasoning } from './reasoning.js'
import { type TextGradient, textGradient } from './text-gradient.js'

/** Exact scores are of the measure, or of the mellowmax; gradients of the cross entropy, of the mellowmax, or of the probability. */
export interface ObjectiveOptions extends Scoring {
  /** Positions of a prompt that are searched: those whose own likelihood the fluency term takes. */
  readonly free: readonly number[] | ((prompt: readonly number[]) => readonly number[])
  /** Weight of the mean negative log-likelihood of the free tokens; 0 for none. */
  readonly fluency: number
  /** Its weight in exact scores, where it differs from that in gradients. */
  readonly scoredFluency?: number | undefined
  /** Divides the logits of the answer's tokens in the gradient; by default 1. */
  readonly temperature?: number | undefined
}

/** An exact score: by forward passes of the prompt's own tokens. */
export interface PromptScore {
  /** Mean over the rows, with the fluency term: what is minimised. */
  readonly loss: number
  /** Of each row, without the fluency term. */
  readonly rowLosses: readonly number[]
  /** Negative log-likelihood of each row's right answer, whatever the measure. */
  readonly rowCosts?: readonly number[]
  /** Whether every answer token of every row is the likeliest one where it stands; of compared labels, whether each right one is. */
  readonly exact: boolean
  /** The part of the rows for which this holds. */
  readonly exactRows: number
}

/** What the model answers to a row under a prompt. */
export interface GivenAnswer {
  readonly isRight: boolean
  /** Of a closed set. */
  readonly word?: string
  /** What it wrote before it answered. */
  readonly reasoning?: readonly number[]
}

/** Rows that the fluency of a prompt is taken of where the model reasons: which question stands before it says little of a prompt. */
const FLUENCY_ROWS = 4

/**
 * Losses and gradients of prompts over rows. Where there is a `Reasoning`, exact scores are of the answer behind the model's own
 * reasoning under each prompt, and gradients hold that reasoning fixed: it is context, as in GReaTer.
 */
export class Objective extends Predictions {
  readonly #reasoning: Reasoning | undefined

  constructor(
    model: LanguageModel,
    programs: SearchPrograms,
    budget: Budget,
    readonly options: ObjectiveOptions,
    signal?: AbortSignal | undefined,
    reasoning?: Reasoning | undefined,
  ) {
    super(model, programs, budget, signal)
    this.#reasoning = reasoning
  }

  get isReasoned(): boolean {
    return this.#reasoning !== undefined
  }

  /**
   * Exact scores of many prompts. Whatever they and the rows have in common is computed once (see `TokenTree`).
   * @throws BudgetSpent between two runs; GradpromptError `aborted`
   */
  async score(prompts: readonly (readonly number[])[], rows: readonly SearchRow[]): Promise<PromptScore[]> {
    if (this.#reasoning !== undefined) return this.#scoreReasoned(this.#reasoning, prompts, rows)
    return this.#scoreAsWritten(prompts, rows)
  }

  /**
   * Losses as `score` has them, but for the rounding of weights and activations to 8 bits: guesses at exact scores, in half the time.
   * @returns undefined where the model reasons, or the processor is no faster so
   * @throws BudgetSpent between two runs; GradpromptError `aborted`
   */
  async guess(prompts: readonly (readonly number[])[], rows: readonly SearchRow[]): Promise<number[] | undefined> {
    if (this.#reasoning !== undefined || !(await this.programs.canGuess())) return undefined
    const scores = await this.#scoreAsWritten(prompts, rows, 'guesses')
    return scores.map(({ loss }) => loss)
  }

  /**
   * Scores behind reasoning that is held fixed, as gradients hold it: what the model wrote under another prompt, which it is not asked for
   * again. A guess at exact scores that generates nothing; without reasoning it is exact.
   * @param reasonedUnder a prompt whose reasoning is known
   * @throws BudgetSpent between two runs; GradpromptError `aborted`
   */
  async scoreHeld(
    prompts: readonly (readonly number[])[],
    rows: readonly SearchRow[],
    reasonedUnder: readonly number[],
  ): Promise<PromptScore[]> {
    const options = { budget: this.budget, signal: this.signal }
    const [reasoned] = (await this.#reasoning?.answers([reasonedUnder], rows, options)) ?? []
    const held = rows.map((row, r) => (reasoned === undefined ? row : behind(row, reasoned[r]!.reasoning)))
    return this.#scoreAsWritten(prompts, held)
  }

  /** Scores by one forward pass each. */
  async #scoreAsWritten(
    prompts: readonly (readonly number[])[],
    rows: readonly SearchRow[],
    kind: 'scores' | 'guesses' = 'scores',
  ): Promise<PromptScore[]> {
    const { measure = 'cross-entropy', labels } = this.options
    const fluency = this.#scoredFluency
    // A row stands there once, or once for each answer that is compared; behind reasoning none are.
    const isCompared =
      (measure === 'mistakes' || measure === 'gap') && labels !== undefined && rows.every(({ choices }) => choices !== undefined)
    const variants = rows.map(row => (isCompared ? choicesOf(row) : [row]))
    const values = await this.#read(prompts, variants.flat(), kind)
    const width = variants.reduce((sum, own) => sum + own.length, 0)
    return prompts.map((_, p) => {
      let next = p * width
      const judged = variants.map((own, r) => {
        const read = values.slice(next, next + own.length)
        next += own.length
        const cost: RowCost = isCompared
          ? comparedCost(measure, labels, read, own, rows[r]!)
          : rowCost(this.options, read[0]!, own[0]!.answer)
        const { logProbabilities } = read[0]!
        return { ...cost, disfluency: disfluency(logProbabilities.subarray(0, logProbabilities.length - own[0]!.answer.length)) }
      })
      return {
        loss: withFluency(
          mean(judged.map(({ loss }) => loss)),
          fluency,
          judged.map(({ disfluency }) => disfluency),
        ),
        rowLosses: judged.map(({ loss }) => loss),
        rowCosts: judged.map(({ cost }) => cost),
        ...exactness(judged.map(({ isExact }) => isExact)),
      }
    })
  }

  /** Reads every row's answer, and the free tokens where fluency counts, under every prompt: prompt after prompt. */
  async #read(
    prompts: readonly (readonly number[])[],
    rows: readonly SearchRow[],
    kind: 'scores' | 'guesses' = 'scores',
  ): Promise<ReadValues[]> {
    const sequences = prompts.flatMap(prompt => {
      const free = this.#scoredFluency > 0 ? this.#freeOf(prompt) : []
      return rows.map(row => sequenceOf(prompt, row, free))
    })
    const values: ReadValues[] = new Array(sequences.length)
    await this.runTree(sequences, async (tree, part) => {
      const { inputs } = tree.inputs()
      const { logProbabilities, logits, highest } = await this.programs[kind](inputs)
      const row = (inputs.targetRow as { data: Int32Array }).data
      let next = 0
      for (const index of part) {
        const answer = rows[index % rows.length]!.answer.length
        const count = sequences[index]!.reads.length
        const [own, end] = [next, next + count]
        next = end
        let isHighest = true
        for (let i = end - answer; i < end; i++) isHighest &&= logits[i]! >= highest[row[i]!]!
        values[index] = {
          logProbabilities: Float64Array.from(logProbabilities.subarray(own, end)),
          logits: Float64Array.from(logits.subarray(own, end)),
          isHighest,
        }
      }
    })
    return values
  }

  /**
   * What the model answers to each row under a prompt: the likeliest label, or behind its reasoning, or of free text only whether the
   * right answer is the likeliest.
   * @throws BudgetSpent between two runs; GradpromptError `aborted`
   */
  async answers(prompt: readonly number[], rows: readonly SearchRow[]): Promise<GivenAnswer[]> {
    if (this.#reasoning !== undefined) {
      const [own] = await this.#reasoning.answers([prompt], rows, { budget: this.budget, signal: this.signal })
      return own!.map(({ isExact, reasoning }) => ({ isRight: isExact, reasoning }))
    }
    const { labels } = this.options
    const variants = rows.map(row => (labels === undefined ? [row] : choicesOf(row)))
    const values = await this.#read([prompt], variants.flat())
    let next = 0
    return variants.map((own, r) => {
      const read = values.slice(next, next + own.length)
      next += own.length
      if (labels === undefined) return { isRight: read[0]!.isHighest }
      const scores = labelScores(labels, read, own)
      const word = labels.candidates[scores.indexOf(Math.max(...scores))]!
      return { isRight: isRight(scores, rows[r]!.choices!.target), word }
    })
  }

  #freeOf(prompt: readonly number[]): readonly number[] {
    const { free } = this.options
    return typeof free === 'function' ? free(prompt) : free
  }

  async #scoreReasoned(
    reasoning: Reasoning,
    prompts: readonly (readonly number[])[],
    rows: readonly SearchRow[],
  ): Promise<PromptScore[]> {
    const { measure } = this.options
    const fluency = this.#scoredFluency
    const answers = await reasoning.answers(prompts, rows, { budget: this.budget, signal: this.signal })
    const costs = fluency > 0 ? await this.#disfluency(prompts, rows.slice(0, FLUENCY_ROWS)) : prompts.map(() => 0)
    return answers.map((own, p) => {
      const rowLosses = own.map(({ logProbabilities, isExact }) => answerCost(measure, logProbabilities, isExact))
      return {
        ...{ loss: withFluency(mean(rowLosses), fluency, [costs[p]!]), rowLosses },
        rowCosts: own.map(({ logProbabilities }) => -mean(logProbabilities)),
        ...exactness(own.map(({ isExact }) => isExact)),
      }
    })
  }

  /** Mean negative log-likelihood of each prompt's free tokens, given what stands before them. */
  async #disfluency(prompts: readonly (readonly number[])[], rows: readonly SearchRow[]): Promise<number[]> {
    const sequences = prompts.flatMap(prompt =>
      rows.map(row => ({
        ids: [...row.before, ...prompt],
        reads: readable(row, this.#freeOf(prompt)).map(place => ({ position: row.before.length + place, id: prompt[place]! })),
      })),
    )
    const values = new Float64Array(sequences.length)
    const read = [...sequences.keys()].filter(i => sequences[i]!.reads.length > 0)
    await this.runTree(
      read.map(i => sequences[i]!),
      async (tree, part) => {
        const { logProbabilities } = await this.programs.scores(tree.inputs().inputs)
        let next = 0
        for (const index of part) {
          const count = sequences[read[index]!]!.reads.length
          values[read[index]!] = disfluency(logProbabilities.subarray(next, next + count))
          next += count
        }
      },
    )
    return prompts.map((_, p) => mean(values.subarray(p * rows.length, (p + 1) * rows.length)))
  }

  get #scoredFluency(): number {
    return this.options.scoredFluency ?? this.options.fluency
  }

  /**
   * The loss and its gradient with respect to the embedding at every position, from one backward pass; means over the prompts.
   *
   * The fluency term's gradient is that of the tokens behind a position; a token's own likelihood is no function of its embedding
   * (`proposals` has it).
   * @param offsets what is added to the embeddings of each prompt, [L, d]
   * @param withReasoning false leaves the reasoning out, so that the extractor follows the question at once
   * @param reasonedUnder prompts under which the reasoning was written, where they are not `prompts` themselves
   * @returns gradient [L, d]
   */
  async gradient(
    prompts: readonly (readonly number[])[],
    rows: readonly SearchRow[],
    {
      offsets,
      withReasoning = true,
      reasonedUnder = prompts,
    }: {
      offsets?: readonly Float32Array[]
      withReasoning?: boolean
      reasonedUnder?: readonly (readonly number[])[]
    } = {},
  ): Promise<TextGradient> {
    const { fluency, mellowmax, measure, temperature = 1 } = this.options
    const reasoned = withReasoning
      ? await this.#reasoning?.answers(reasonedUnder, rows, { budget: this.budget, signal: this.signal })
      : undefined
    const sequences = prompts.flatMap((prompt, p) => {
      const free = fluency > 0 ? this.#freeOf(prompt) : []
      return rows.map((row, r) => sequenceOf(prompt, row, free, reasoned?.[p]?.[r]))
    })
    // The gradient of an answer's probability is that of its log-likelihood, times the probability.
    const tokenWeights = measure === 'probability' ? await this.#probabilities(sequences, rows, reasoned?.flat()) : undefined
    const logitWeights =
      mellowmax === undefined
        ? undefined
        : await this.#answerValues(sequences, rows, ({ logits }) => mellowmaxWeights(logits, mellowmax))
    return textGradient(
      { model: this.model, programs: this.programs },
      { prompts, rows, sequences, offsets },
      { logitWeights, tokenWeights, fluency, temperature },
      { before: () => this.pause(), after: computed => this.budget.add({ computedTokens: 3 * computed }) },
    )
  }

  /** Of each sequence's whole answer; known already where it follows reasoning. */
  async #probabilities(
    sequences: readonly ReadSequence[],
    rows: readonly SearchRow[],
    reasoned: readonly Reasoned[] | undefined,
  ): Promise<readonly number[]> {
    const sum = (values: ArrayLike<number>) => mean(values) * values.length
    if (reasoned !== undefined) return reasoned.map(({ logProbabilities }) => Math.exp(sum(logProbabilities)))
    return this.#answerValues(sequences, rows, ({ logProbabilities }) => Math.exp(sum(logProbabilities)))
  }

  /** Something of each sequence's answer, from what one pass says of its tokens. */
  async #answerValues<Value>(
    sequences: readonly ReadSequence[],
    rows: readonly SearchRow[],
    of: (answer: { readonly logProbabilities: Float32Array; readonly logits: Float32Array }) => Value,
  ): Promise<Value[]> {
    const values: Value[] = new Array(sequences.length)
    await this.runTree(sequences, async (tree, part) => {
      const { logProbabilities, logits } = await this.programs.scores(tree.inputs().inputs)
      let next = 0
      for (const index of part) {
        const [end, answer] = [next + sequences[index]!.reads.length, rows[index % rows.length]!.answer.length]
        next = end
        values[index] = of({
          logProbabilities: logProbabilities.subarray(end - answer, end),
          logits: logits.subarray(end - answer, end),
        })
      }
    })
    return values
  }
}
