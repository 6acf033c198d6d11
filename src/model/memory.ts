import { freemem, totalmem } from 'node:os'
import { GradpromptError, unknownName } from '../errors.js'
import { type Device, deviceProfile } from '../program/devices.js'
import { type KeepingChoice, keepingChoices, type WeightKeeping } from '../program/keeping.js'
import type { Checkpoint } from './weights/checkpoint.js'
import { gigabytes, transientBytes, weightBytes } from './weights/weight-file.js'

/** What the process itself takes: Node, ONNX Runtime and TF.js. */
const BASE = 250e6
/** A run of more rows than this is not faster by the row, and takes more memory. */
const PREFERRED_ROWS = { training: 1024, forward: 2048 }
/** Logits of one run, at most. */
const LOGITS = 256e6

/** Of the budget, what weights in float32 may take where nobody says how they are kept: steps are faster by what need not be unpacked. */
export const COMFORTABLY = 1 / 2

/**
 * What is chosen on a device: where ONNX Runtime optimises programs itself, it would unpack whole models as they are opened.
 * @throws GradpromptError `invalid-option`
 */
export function keepingOn(device: Device, choice: KeepingChoice = 'auto'): KeepingChoice {
  if (!keepingChoices.includes(choice))
    throw unknownName('invalid-option', 'keepWeights is not usable', String(choice), keepingChoices)
  if (deviceProfile(device).opensAsWritten) return choice
  if (choice !== 'compact') return 'fp32'
  throw new GradpromptError('invalid-option', `Weights cannot be kept compact on the device ${device}`, {
    found: 'keepWeights: compact',
    expected: 'fp32, or auto',
  })
}

/** Estimates what a batch takes, and cuts batches into parts that fit the budget. */
export class MemoryPlan {
  /** Bytes that may be used. */
  readonly budget: number
  /** How the weights were to be kept, for models that are opened beside this one. */
  readonly choice: KeepingChoice
  /** How they are kept. */
  readonly keeping: WeightKeeping
  /** Bytes of the weights as they are kept, in memory and in the cache. */
  readonly weights: number
  /** Bytes that they take in float32. */
  readonly float32Weights: number

  readonly #checkpoint: Checkpoint
  /** Bytes of what programs unpack of compact weights. */
  readonly #transient: number

  constructor(checkpoint: Checkpoint, budget?: number, choice: KeepingChoice = 'auto') {
    this.#checkpoint = checkpoint
    this.budget = budget ?? availableMemory()
    this.choice = choice
    this.float32Weights = weightBytes(checkpoint)
    this.keeping = choice === 'auto' ? this.#chosen() : choice
    this.weights = this.keeping === 'fp32' ? this.float32Weights : weightBytes(checkpoint, this.keeping)
    this.#transient = this.keeping === 'fp32' ? 0 : transientBytes(checkpoint, this.keeping)
  }

  #chosen(): WeightKeeping {
    if (this.float32Weights <= COMFORTABLY * this.budget) return 'fp32'
    // A checkpoint of float32 has no smaller form.
    return this.compactWeights < this.float32Weights ? 'compact' : 'fp32'
  }

  /** Bytes that the weights take in the smallest form with their values. */
  get compactWeights(): number {
    return weightBytes(this.#checkpoint, 'compact')
  }

  /** @throws GradpromptError `not-enough-memory` when not even one row fits beside the weights */
  requireWeights(): void {
    const needed = this.weights + this.#transient + BASE + this.bytesPerRow(true)
    if (needed <= this.budget) return
    throw new GradpromptError('not-enough-memory', 'The model does not fit into memory', {
      found: `${gigabytes(this.budget)} to use`,
      expected: `${gigabytes(needed)}: weights ${gigabytes(this.weights)}, the rest for the program and one row`,
      hint: `${this.#smaller()}use a smaller model, or raise --memory if the machine has more than that`,
    })
  }

  #smaller(): string {
    if (this.keeping === 'compact') return ''
    const compact = this.compactWeights
    return compact < this.weights ? `keep the weights in ${gigabytes(compact)} with --keep-weights compact, ` : ''
  }

  /**
   * Bytes that one token row takes. A forward pass holds a few layers' worth at a time; a training step keeps what the backward pass
   * reads again: the residual stream twice, queries, keys and values, the three products of the MLP.
   */
  bytesPerRow(training: boolean): number {
    const { hiddenSize, numLayers, numAttentionHeads, numKeyValueHeads, headDim, intermediateSize } = this.#checkpoint.config
    const heads = (numAttentionHeads + 2 * numKeyValueHeads) * headDim
    const layer = 4 * (4 * hiddenSize + 2 * heads + 3 * intermediateSize)
    return training ? layer * (numLayers + 2) : layer * 3
  }

  /**
   * Bytes of a run over so many rows, of which `headRows` go through the language-model head.
   *
   * @param pairs of a query and a key that attention compares: a sequence of T rows has T²
   */
  estimate(rows: number, headRows: number, training: boolean, pairs = 0, recompute = false): number {
    const { vocabSize, numAttentionHeads, numLayers } = this.#checkpoint.config
    // A backward pass reads the scores and their probabilities of every layer; a forward pass holds those of one.
    const scores = 4 * numAttentionHeads * pairs * (training ? 2 * numLayers : 3)
    return (
      BASE +
      this.weights +
      this.#transient +
      rows * this.bytesPerRow(training) +
      scores +
      headRows * vocabSize * 4 * (training ? 4 : 3)
    )
  }

  /** Bytes that are left beside a training run of the most rows that are computed at once. */
  get spare(): number {
    const headRows = Math.floor(LOGITS / (this.#checkpoint.config.vocabSize * 4))
    return Math.max(0, this.budget - this.estimate(PREFERRED_ROWS.training, Math.min(headRows, PREFERRED_ROWS.training), true))
  }

  /**
   * Cuts a batch into runs of whole rows, and of whole groups of rows.
   *
   * @param lengths tokens of each row
   * @param options.headRows rows of logits that each row has
   * @param options.together how many rows in turn are never parted; by default each stands alone
   * @returns [start, end) of each part
   */
  split(
    lengths: readonly number[],
    options: { headRows: readonly number[]; training?: boolean; recompute?: boolean; together?: readonly number[] | undefined },
  ): [number, number][] {
    const { headRows, training = false, recompute = false, together } = options
    if (together !== undefined) {
      const ends = [0, ...together].map((_, i, counts) => counts.slice(0, i + 1).reduce((sum, count) => sum + count, 0))
      const sums = (values: readonly number[]) =>
        together.map((_, i) => values.slice(ends[i], ends[i + 1]).reduce((sum, value) => sum + value, 0))
      const groups = this.split(sums(lengths), { headRows: sums(headRows), training, recompute })
      return groups.map(([start, end]) => [ends[start]!, ends[end]!])
    }
    const parts: [number, number][] = []
    let start = 0
    let rows = 0
    let heads = 0
    let pairs = 0
    for (const [i, length] of lengths.entries()) {
      const fits =
        this.estimate(rows + length, heads + headRows[i]!, training, pairs + length * length, recompute) <= this.budget &&
        rows + length <= PREFERRED_ROWS[training ? 'training' : 'forward'] &&
        (heads + headRows[i]!) * this.#checkpoint.config.vocabSize * 4 <= LOGITS
      if (!fits && i > start) {
        parts.push([start, i])
        start = i
        rows = 0
        heads = 0
        pairs = 0
      }
      rows += length
      pairs += length * length
      heads += headRows[i]!
    }
    if (start < lengths.length) parts.push([start, lengths.length])
    return parts
  }
}

/** What the process may still take: the smaller of what is free and what a container allows, with a margin. */
export function availableMemory(): number {
  const limit = process.constrainedMemory?.() ?? 0
  const total = limit > 0 && limit < totalmem() ? limit : totalmem()
  const available = (process as { availableMemory?: () => number }).availableMemory?.() ?? freemem()
  return Math.min(total, available) * 0.9
}
