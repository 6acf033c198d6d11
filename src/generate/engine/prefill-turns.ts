import type { LanguageModel } from '../../model/language-model.js'
import type { Sequence } from './sequence.js'

/** Rows of one run of prefill: while others wait for their next token, and otherwise. */
const ROWS = { beside: 256, alone: 1024 }
/** Runs of prefill in a row while others wait, at most. */
const RUNS = 4
/** Multiplications of a run that takes some 0.3 seconds on two cores: whoever asks meanwhile waits for its end. */
const INTERACTIVE_WORK = 40e9
/** Fewer take nearly as long: the weights have to be read for them all the same. */
const LEAST_ROWS = 64

/** When prompts are computed and when next tokens, for which sequences a run of prefill is, and in how many rows. */
export class PrefillTurns {
  readonly #interactive: boolean
  /** Multiplications of a row: with weights, and with each key and value before it. */
  readonly #work: { readonly weights: number; readonly position: number }
  /** Runs of prefill since the last next token. */
  #runs = 0
  /** Whether the last run was for short texts alone. */
  #favoured = false

  /** @param interactive whether others may ask while answers are under way, so that runs are short and short texts do not wait for long ones */
  constructor({ memory, config }: LanguageModel, interactive: boolean) {
    const { numLayers, numAttentionHeads, headDim } = config
    this.#interactive = interactive
    this.#work = {
      weights: memory.float32Weights / Float32Array.BYTES_PER_ELEMENT,
      position: 2 * numLayers * numAttentionHeads * headDim,
    }
  }

  /** Whether the next run is one of prefill. @param entering how many have a prompt to be computed @param waiting for their next token */
  isDue(entering: number, waiting: number): boolean {
    const isDue = entering > 0 && (waiting === 0 || ((waiting < entering || this.#runs === 0) && this.#runs < RUNS))
    this.#runs = isDue ? this.#runs + 1 : 0
    return isDue
  }

  /**
   * @param entering sequences whose prompts are to be computed, in the order of their arrival
   * @param waiting whether others wait for their next token
   */
  next(entering: readonly Sequence[], waiting: boolean): { sequences: readonly Sequence[]; rows: number } {
    const rows = this.#interactive ? this.#shortRun(entering) : waiting ? ROWS.beside : ROWS.alone
    // Every other run goes on with those that came first, however long they are.
    const soon = this.#interactive && !this.#favoured ? soonDone(entering, rows) : []
    this.#favoured = soon.length > 0
    return { sequences: this.#favoured ? soon : entering, rows }
  }

  /** Rows of a run that nobody waits long for. */
  #shortRun(entering: readonly Sequence[]): number {
    const before = Math.max(...entering.map(({ done }) => done))
    const rows = INTERACTIVE_WORK / (this.#work.weights + before * this.#work.position)
    return Math.min(ROWS.beside, Math.max(LEAST_ROWS, 32 * Math.floor(rows / 32)))
  }
}

/** Of more tokens than a run has rows, the sequences that half a run brings to their answers: the shortest. */
function soonDone(sequences: readonly Sequence[], maxRows: number): Sequence[] {
  const rest = ({ ids, done }: Sequence) => ids.length - done
  if (sequences.reduce((sum, sequence) => sum + rest(sequence), 0) <= maxRows) return []
  let rows = 0
  return sequences
    .toSorted((a, b) => rest(a) - rest(b))
    .filter(sequence => {
      rows += rest(sequence)
      return rows <= maxRows / 2
    })
}
