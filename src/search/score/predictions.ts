import { setImmediate } from 'node:timers/promises'
import { refuseAborted } from '../../errors.js'
import type { LanguageModel } from '../../model/language-model.js'
import { logSumExp } from '../../numbers.js'
import { readable } from '../space/row-sequence.js'
import type { SearchRow } from '../space/token-space.js'
import { fedLength, type ReadSequence, sharedLength, sharingOrder, TokenTree } from '../space/token-tree.js'
import type { Budget } from './budget.js'
import type { SearchPrograms } from './programs.js'

/** Most tokens of one run, and most bytes of the keys that attention lays beside its groups. */
const ROWS_PER_RUN = 2048
const KEY_BYTES = 256e6
const LOGIT_BYTES = 256e6
/** What stands in the place of a token that is not read. */
const PLACEHOLDER = 0

/** What the model says of tokens in prompts and rows, under a budget. Whatever sequences have in common is computed once (see `TokenTree`). */
export class Predictions {
  constructor(
    protected readonly model: LanguageModel,
    protected readonly programs: SearchPrograms,
    readonly budget: Budget,
    protected readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * Log-probabilities of every token at some positions of a prompt, given what stands before: means over the rows.
   * @param positions up to the one behind the prompt's last token
   * @returns [positions.length, V]
   */
  async proposals(prompt: readonly number[], rows: readonly SearchRow[], positions: readonly number[]): Promise<Float32Array> {
    const { vocabSize } = this.model.config
    const means = new Float32Array(positions.length * vocabSize)
    await this.#eachProposal(prompt, rows, positions, (_, j, logProbabilities) => {
      for (let v = 0; v < vocabSize; v++) means[j * vocabSize + v]! += logProbabilities[v]! / rows.length
    })
    return means
  }

  /**
   * The same of one position, row by row.
   * @returns [rows.length][V]
   */
  async proposalsByRow(prompt: readonly number[], rows: readonly SearchRow[], position: number): Promise<Float32Array[]> {
    const { vocabSize } = this.model.config
    const all = rows.map(() => new Float32Array(vocabSize))
    await this.#eachProposal(prompt, rows, [position], (row, _, logProbabilities) => all[row]!.set(logProbabilities))
    return all
  }

  async #eachProposal(
    prompt: readonly number[],
    rows: readonly SearchRow[],
    positions: readonly number[],
    visit: (row: number, position: number, logProbabilities: Float32Array) => void,
  ): Promise<void> {
    const { vocabSize } = this.model.config
    const sequences = rows.map(row => ({
      ids: [...row.before, ...prompt, PLACEHOLDER],
      // Nothing predicts the first token of a text: there all are alike.
      reads: readable(row, positions).map(position => ({ position: row.before.length + position, id: PLACEHOLDER })),
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
          visit(
            index,
            j,
            own.map(logit => logit - normaliser),
          )
        }
    })
  }

  /**
   * The hidden states that the last tokens of sequences have before the head, [sequences.length, d].
   * @throws BudgetSpent between two runs; GradpromptError `aborted`
   */
  async states(sequences: readonly (readonly number[])[]): Promise<Float32Array> {
    const { hiddenSize } = this.model.config
    const distinct = [...new Map(sequences.map(ids => [ids.join(), ids])).values()]
    const states = new Map<string, Float32Array>()
    // What the state predicts is not asked.
    const read = distinct.map((ids): ReadSequence => ({ ids, reads: [{ position: ids.length, id: 0 }] }))
    await this.runTree(read, async (tree, part) => {
      const { inputs } = tree.inputs()
      const rows = await this.programs.states(inputs)
      const place = (inputs.targetRow as { data: Int32Array }).data
      for (const [i, index] of part.entries())
        states.set(distinct[index]!.join(), rows.slice(place[i]! * hiddenSize, (place[i]! + 1) * hiddenSize))
    })
    const all = new Float32Array(sequences.length * hiddenSize)
    for (const [i, ids] of sequences.entries()) all.set(states.get(ids.join())!, i * hiddenSize)
    return all
  }

  /** Cuts sequences into trees that fit, those that begin alike side by side. `part`: their indices in the tree's order. */
  protected async runTree(
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
  protected async pause(): Promise<void> {
    await setImmediate()
    refuseAborted(this.signal)
    this.budget.require()
  }
}
