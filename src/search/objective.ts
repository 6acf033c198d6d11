import { setImmediate } from 'node:timers/promises'
import { refuseAborted } from '../evaluate/score.js'
import { Forest, type Target } from '../model/forest.js'
import type { LanguageModel } from '../model/language-model.js'
import type { Budget } from './budget.js'
import type { SearchPrograms } from './programs.js'
import type { SearchRow } from './token-space.js'
import { fedLength, type ReadSequence, type ReadToken, sharedLength, sharingOrder, TokenTree } from './token-tree.js'

export interface ObjectiveOptions {
  /** Positions of the prompt that are searched: those whose own likelihood the fluency term takes. */
  readonly free: readonly number[]
  /** Weight of the mean negative log-likelihood of the free tokens; 0 for none. */
  readonly fluency: number
  /** Mellowmax over the negated logits of the answer's tokens, with this alpha, instead of their mean cross entropy. */
  readonly mellowmax?: number | undefined
}

/** An exact score: by forward passes of the prompt's own tokens. */
export interface PromptScore {
  /** Mean over the rows, with the fluency term: what is minimised. */
  readonly loss: number
  /** Of each row, without the fluency term. */
  readonly rowLosses: readonly number[]
  /** Whether every answer token of every row is the likeliest one where it stands. */
  readonly exact: boolean
}

/** Most tokens of one run, and most bytes of the keys that attention lays beside its groups. */
const ROWS_PER_RUN = 2048
const KEY_BYTES = 256e6
const LOGIT_BYTES = 256e6

/** Losses and gradients of prompts over rows. The loss of a row is the mean over its answer's tokens. */
export class Objective {
  constructor(
    private readonly model: LanguageModel,
    private readonly programs: SearchPrograms,
    private readonly budget: Budget,
    readonly options: ObjectiveOptions,
    private readonly signal?: AbortSignal | undefined,
  ) {}

  /**
   * Exact scores of many prompts. Whatever they and the rows have in common is computed once (see `TokenTree`).
   * @throws BudgetSpent between two runs; GradpromptError `aborted`
   */
  async score(prompts: readonly (readonly number[])[], rows: readonly SearchRow[]): Promise<PromptScore[]> {
    const { free, fluency, mellowmax } = this.options
    const sequences = prompts.flatMap(prompt => rows.map(row => sequenceOf(prompt, row, fluency > 0 ? free : [])))
    const values: { logProbabilities: Float64Array; logits: Float64Array; isHighest: boolean }[] = new Array(sequences.length)
    await this.runTree(sequences, async (tree, part) => {
      const { inputs } = tree.inputs()
      const { logProbabilities, logits, highest } = await this.programs.scores(inputs)
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
    return prompts.map((_, p) => {
      const own = values.slice(p * rows.length, (p + 1) * rows.length)
      const rowLosses = own.map(({ logProbabilities, logits }, r) => {
        const first = logits.length - rows[r]!.answer.length
        return mellowmax === undefined ? -mean(logProbabilities.subarray(first)) : mellow(logits.subarray(first), mellowmax)
      })
      const likelihoods = own.map(({ logProbabilities }, r) =>
        mean(logProbabilities.subarray(0, logProbabilities.length - rows[r]!.answer.length)),
      )
      return {
        loss: mean(rowLosses) - (fluency > 0 ? fluency * mean(likelihoods) : 0),
        rowLosses,
        exact: own.every(({ isHighest }) => isHighest),
      }
    })
  }

  /**
   * The loss and its gradient with respect to the embedding at every position, from one backward pass; means over the prompts.
   *
   * The fluency term's gradient is that of the tokens behind a position; a token's own likelihood is no function of its embedding
   * (`proposals` has it).
   * @param offsets what is added to the embeddings of each prompt, [L, d]
   * @returns gradient [L, d]
   */
  async gradient(
    prompts: readonly (readonly number[])[],
    rows: readonly SearchRow[],
    offsets?: readonly Float32Array[],
  ): Promise<{ loss: number; gradient: Float32Array }> {
    const { hiddenSize } = this.model.config
    const { free, fluency, mellowmax } = this.options
    const share = 1 / (prompts.length * rows.length)
    const fluencyReads = fluency > 0 ? free : []
    const sequences = prompts.flatMap(prompt => rows.map(row => sequenceOf(prompt, row, fluencyReads)))
    const weights = mellowmax === undefined ? undefined : await this.mellowWeights(sequences, rows, mellowmax)
    const gradient = new Float32Array(prompts[0]!.length * hiddenSize)
    let loss = 0
    const parts = this.model.memory.split(sequences.map(fedLength), {
      headRows: sequences.map(({ reads }) => reads.length),
      training: true,
    })
    for (const [start, end] of parts) {
      await this.pause()
      const part = sequences.slice(start, end)
      const forest = new Forest(
        part.map(sequence => ({ ids: sequence.ids.slice(0, fedLength(sequence)) })),
        { numVirtualTokens: 0, position: 'before-bos' },
      )
      const targets = (isAnswer: boolean) =>
        part.flatMap(({ reads }, i): Target[] => {
          const own = weights?.[start + i]
          const answer = rows[(start + i) % rows.length]!.answer.length
          const [from, to] = isAnswer ? [reads.length - answer, reads.length] : [0, reads.length - answer]
          return reads.slice(from, to).map(({ position, id }, j) => ({
            row: forest.rowOf(i, position - 1)!,
            id,
            weight: isAnswer ? share * (own?.[j] ?? 1 / answer) : (share * fluency) / (to - from),
          }))
        })
      const offset = new Float32Array(forest.rows * hiddenSize)
      const places = new Map<number, { prompt: number; position: number }>()
      for (const i of part.keys()) {
        const [prompt, row] = [Math.floor((start + i) / rows.length), rows[(start + i) % rows.length]!]
        for (let position = 0; position < prompts[prompt]!.length; position++) {
          const place = row.before.length + position
          // What stands behind the last read is not computed.
          if (place < fedLength(part[i]!)) places.set(forest.rowOf(i, place)!, { prompt, position })
        }
      }
      if (offsets !== undefined)
        for (const [row, { prompt, position }] of places)
          offset.set(offsets[prompt]!.subarray(position * hiddenSize, (position + 1) * hiddenSize), row * hiddenSize)
      // Mellowmax is of logits, the fluency term of log-probabilities: with both there are two passes.
      const kinds = mellowmax === undefined ? [undefined] : fluency > 0 ? [true, false] : [true]
      for (const answers of kinds) {
        const chosen = answers === undefined ? [...targets(false), ...targets(true)] : targets(answers)
        const kind = answers === true ? 'negated-logits' : 'cross-entropy'
        const result = await this.programs.gradient(kind, forest.inputs(chosen).inputs, offset)
        loss += result.loss
        for (const [row, { position }] of places)
          for (let k = 0; k < hiddenSize; k++) gradient[position * hiddenSize + k]! += result.gradient[row * hiddenSize + k]!
      }
      this.budget.add({ computedTokens: 3 * forest.rows })
    }
    return { loss, gradient }
  }

  /**
   * Log-probabilities of every token at some positions of a prompt, given what stands before: means over the rows.
   * @returns [positions.length, V]
   */
  async proposals(prompt: readonly number[], rows: readonly SearchRow[], positions: readonly number[]): Promise<Float32Array> {
    const { vocabSize } = this.model.config
    const means = new Float32Array(positions.length * vocabSize)
    const sequences = rows.map(row => ({
      ids: [...row.before, ...prompt],
      // Nothing predicts the first token of a text: there all are alike.
      reads: readable(row, positions).map(position => ({ position: row.before.length + position, id: prompt[position]! })),
    }))
    await this.runTree(sequences, async (tree, part) => {
      const { inputs } = tree.inputs()
      const logits = await this.programs.logits(inputs)
      const row = (inputs.targetRow as { data: Int32Array }).data
      let next = 0
      for (const index of part)
        for (const position of readable(rows[index]!, positions)) {
          const j = positions.indexOf(position)
          const place = row[next++]! * vocabSize
          const own = logits.subarray(place, place + vocabSize)
          const normaliser = logSumExp(own)
          for (let v = 0; v < vocabSize; v++) means[j * vocabSize + v]! += (own[v]! - normaliser) / rows.length
        }
    })
    return means
  }

  /** The gradient of a mellowmax is that of the negated logits under these weights. */
  private async mellowWeights(
    sequences: readonly ReadSequence[],
    rows: readonly SearchRow[],
    alpha: number,
  ): Promise<Float64Array[]> {
    const weights: Float64Array[] = new Array(sequences.length)
    await this.runTree(sequences, async (tree, part) => {
      const { logits } = await this.programs.scores(tree.inputs().inputs)
      let next = 0
      for (const index of part) {
        const [end, answer] = [next + sequences[index]!.reads.length, rows[index % rows.length]!.answer.length]
        next = end
        const scaled = Float64Array.from(logits.subarray(end - answer, end), logit => -alpha * logit)
        const normaliser = logSumExp(scaled)
        weights[index] = scaled.map(value => Math.exp(value - normaliser))
      }
    })
    return weights
  }

  /** Cuts sequences into trees that fit, those that begin alike side by side. `part`: their indices in the tree's order. */
  private async runTree(
    sequences: readonly ReadSequence[],
    run: (tree: TokenTree, part: readonly number[]) => Promise<void>,
  ): Promise<void> {
    const order = sharingOrder(sequences)
    const { vocabSize, numKeyValueHeads, headDim } = this.model.config
    const { memory } = this.model
    let start = 0
    while (start < order.length) {
      let [end, rows, heads, keys] = [start, 0, 0, 0]
      for (; end < order.length; end++) {
        const sequence = sequences[order[end]!]!
        const length = fedLength(sequence)
        const own = end === start ? length : length - sharedLength(sequences[order[end - 1]!]!, sequence)
        const wanted = [rows + own, heads + sequence.reads.length, keys + length] as const
        const fits =
          wanted[0] <= ROWS_PER_RUN &&
          wanted[1] * vocabSize * 4 <= LOGIT_BYTES &&
          wanted[2] * numKeyValueHeads * headDim * 8 <= KEY_BYTES &&
          memory.estimate(wanted[0], wanted[1], false) <= memory.budget
        if (!fits && end > start) break
        ;[rows, heads, keys] = wanted
      }
      await this.pause()
      const part = order.slice(start, end)
      const tree = new TokenTree(part.map(index => sequences[index]!))
      await run(tree, part)
      this.budget.add({ computedTokens: tree.rows })
      start = end
    }
  }

  /** Lets a signal arrive between two native calls. */
  private async pause(): Promise<void> {
    await setImmediate()
    refuseAborted(this.signal)
    this.budget.require()
  }
}

/** The reads of the free tokens come first, then those of the answer. */
function sequenceOf(prompt: readonly number[], { before, after, answer }: SearchRow, free: readonly number[]): ReadSequence {
  const ids = [...before, ...prompt, ...after, ...answer]
  const first = ids.length - answer.length
  const read = (position: number): ReadToken => ({ position, id: ids[position]! })
  const own = readable({ before }, free).map(position => read(before.length + position))
  return { ids, reads: [...own, ...answer.map((_, i) => read(first + i))] }
}

/** Positions of a prompt that something predicts: all but the first of a text. */
const readable = ({ before }: Pick<SearchRow, 'before'>, positions: readonly number[]) =>
  before.length > 0 ? positions : positions.filter(position => position > 0)

const mean = (values: ArrayLike<number>): number => {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum / Math.max(1, values.length)
}

/** Asadi and Littman 2017, of the negated logits. */
function mellow(logits: Float64Array, alpha: number): number {
  return (logSumExp(logits.map(logit => -alpha * logit)) - Math.log(logits.length)) / alpha
}

function logSumExp(values: ArrayLike<number>): number {
  let highest = Number.NEGATIVE_INFINITY
  for (let i = 0; i < values.length; i++) highest = Math.max(highest, values[i]!)
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i]! - highest)
  return Math.log(sum) + highest
}
