import { freemem, totalmem } from 'node:os'
import type { KeptNumbers } from '../../models/blocks/family.js'
import { GradpromptError, unknownName } from '../errors.js'
import { type Device, defaultDevice, deviceProfile } from '../program/devices.js'
import { type KeepingChoice, keepingChoices, type WeightKeeping } from '../program/keeping.js'
import { type HalfPrecision, isHalf, type Precision, precisions } from '../program/precision.js'
import { isInTurn, PART } from './forest/groups.js'
import type { Checkpoint } from './weights/checkpoint.js'
import { gigabytes, transientBytes, weightBytes } from './weights/weight-file.js'

/** What the process itself takes: Node, ONNX Runtime and TF.js. */
const BASE = 280e6
/** ONNX Runtime's arena takes so much more than what lies in it: blocks of one size are not reused for all others. */
const ARENA = 1.05
/** In half precision the 16 bits of what products read stand beside its float32. */
const CASTS = 1.5
/** A run of more rows than this is not faster by the row, and takes more memory. */
const PREFERRED_ROWS = { training: 1024, forward: 2048 }
/** Logits of one run, at most. */
const LOGITS = 256e6

/** Tables of scores that a step over one group has at a time: scores, probabilities, their gradients, and what lies between. */
const IN_TURN = 5

/** Layers' worth of values that a forward pass holds at a time. */
const FORWARD_LAYERS = 2

/**
 * What weights in float32 may take where nobody says how they are kept: steps are faster by what need not be unpacked, but a large model's
 * file would fill disks, and its pages the memory that others use.
 */
export const comfortably = (budget: number): number => Math.min(budget / 2, 4e9)

/**
 * What is chosen on a device: where ONNX Runtime optimises programs itself, it would unpack whole models as they are opened.
 * @throws GradpromptError `invalid-option`
 */
export function keepingOn(
  device: Device,
  choice: KeepingChoice = 'auto',
  precision: Precision = 'fp32',
): KeepingChoice | HalfPrecision {
  if (!keepingChoices.includes(choice))
    throw unknownName('invalid-option', 'keepWeights is not usable', String(choice), keepingChoices)
  if (!precisions.includes(precision))
    throw unknownName('invalid-option', 'precision is not usable', String(precision), precisions)
  if (precision !== 'fp32') return halfKeeping(device, choice, precision)
  if (deviceProfile(device).opensAsWritten) return choice
  if (choice !== 'compact') return 'fp32'
  throw new GradpromptError('invalid-option', `Weights cannot be kept compact on the device ${device}`, {
    found: 'keepWeights: compact',
    expected: 'fp32, or auto',
  })
}

/** @throws GradpromptError `invalid-option` */
function halfKeeping(device: Device, choice: KeepingChoice, precision: HalfPrecision): HalfPrecision {
  const { halves } = deviceProfile(device)
  if (halves[precision] === undefined)
    throw new GradpromptError('invalid-option', `Programs of the device ${device} cannot be in ${precision}`, {
      found: `precision: ${precision}`,
      expected: ['fp32', ...Object.keys(halves)].join(', '),
    })
  if (choice !== 'auto')
    throw new GradpromptError('invalid-option', `In ${precision} weights are kept in 16 bits, and in nothing else`, {
      found: `keepWeights: ${choice}`,
      expected: 'auto, or precision: fp32',
    })
  return precision
}

/** Estimates what a batch takes, and cuts batches into parts that fit the budget. */
export class MemoryPlan {
  /** Bytes that may be used. */
  readonly budget: number
  /** How the weights were to be kept, for models that are opened beside this one. */
  readonly choice: KeepingChoice | HalfPrecision
  /** How they are kept. */
  readonly keeping: WeightKeeping
  /** Bytes of the weights as they are kept, in memory and in the cache. */
  readonly weights: number
  /** Bytes that they take in float32. */
  readonly float32Weights: number

  /** Tokens that a training run has at most: fewer where a device has failed for want of memory. */
  #mostRows = PREFERRED_ROWS.training
  readonly #checkpoint: Checkpoint
  /** Bytes of the weights that runs read: of a table of embeddings beside a head of its own these are few rows. */
  readonly #resident: number
  /** Bytes of what programs unpack of compact weights. */
  readonly #transient: number
  /** Processes that compute at once in the same memory. */
  readonly #sharers: number

  constructor(
    checkpoint: Checkpoint,
    budget?: number,
    choice: KeepingChoice | HalfPrecision = 'auto',
    /** Where it is computed. */
    devices: readonly [Device, ...Device[]] = [defaultDevice],
  ) {
    this.#checkpoint = checkpoint
    this.budget = budget ?? availableMemory()
    this.choice = choice
    this.float32Weights = weightBytes(checkpoint)
    this.keeping = choice === 'auto' ? this.#chosen() : choice
    this.weights = this.keeping === 'fp32' ? this.float32Weights : weightBytes(checkpoint, this.keeping)
    this.#resident = this.weights - (checkpoint.config.tieWordEmbeddings ? 0 : weightBytes(tableOf(checkpoint), this.keeping))
    this.#transient = this.#unpacked(devices[0])
    this.#sharers = devices.filter(device => device === devices[0]).length
  }

  #unpacked(device: Device): number {
    const { keeping } = this
    if (!isHalf(keeping)) return keeping === 'fp32' ? 0 : transientBytes(this.#checkpoint, keeping)
    // ONNX Runtime casts weights as a run begins.
    return deviceProfile(device).halves[keeping] === 'own' ? 0 : this.float32Weights
  }

  #chosen(): WeightKeeping {
    if (this.float32Weights <= comfortably(this.budget)) return 'fp32'
    // A checkpoint of float32 has no smaller form.
    return this.compactWeights < this.float32Weights ? 'compact' : 'fp32'
  }

  /** How another model is opened that is to be computed as this one. */
  get opening(): { readonly keepWeights?: KeepingChoice; readonly precision?: Precision } {
    return isHalf(this.choice) ? { precision: this.choice } : { keepWeights: this.choice }
  }

  /** Bytes that the weights take in the smallest form with their values. */
  get compactWeights(): number {
    return weightBytes(this.#checkpoint, 'compact')
  }

  /** @throws GradpromptError `not-enough-memory` when not even one row fits beside the weights */
  requireWeights(): void {
    const needed = this.estimate(1, 0, true)
    if (needed <= this.budget) return
    throw new GradpromptError('not-enough-memory', 'The model does not fit into memory', {
      found: `${gigabytes(this.budget)} to use`,
      expected: `${gigabytes(needed)}: weights ${gigabytes(this.weights)}, the rest for the program and one row`,
      hint: `${this.#smaller()}use a smaller model, or raise --memory if the machine has more than that`,
    })
  }

  /**
   * @param run what is computed at a time, in the words of `estimate`, and what it is, for the message
   * @throws GradpromptError `not-enough-memory`, with what would fit
   */
  requireTrainingRun(run: { what: string; rows: number; headRows: number; compared: ComparedPairs }, recompute: boolean): void {
    const { what, rows, headRows, compared } = run
    const needed = this.estimate(rows, headRows, true, compared, recompute)
    if (needed <= this.budget) return
    const again = this.estimate(rows, headRows, true, compared, true)
    const fits = !recompute && again <= this.budget
    throw new GradpromptError('not-enough-memory', `A training step does not fit into memory, though it is of one row: ${what}`, {
      found: `${gigabytes(this.budget)} to use`,
      expected: `${gigabytes(needed)}, ${gigabytes(this.weights)} of it weights`,
      hint: fits
        ? `compute layers again in the backward pass: with --train.recompute it takes ${gigabytes(again)}, and fits`
        : `${recompute || again > needed ? '' : `with --train.recompute it takes ${gigabytes(again)}, still too much: `}` +
          `${this.#smaller()}shorten the texts, use a smaller model, or raise --memory if the machine has more than that`,
    })
  }

  #smaller(): string {
    if (this.keeping !== 'fp32') return ''
    const compact = this.compactWeights
    return compact < this.weights ? `keep the weights in ${gigabytes(compact)} with --keep-weights compact, ` : ''
  }

  /** Numbers of a layer that its backward pass reads again. */
  get #kept(): KeptNumbers {
    const { family, config } = this.#checkpoint
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim, intermediateSize } = config
    const heads = numAttentionHeads + numKeyValueHeads
    return family.kept?.(config) ?? { row: 2 * hiddenSize + 2 * heads * headDim + 2 * intermediateSize, pair: 1 }
  }

  /**
   * Bytes that one token row takes: in a training step what the backward pass reads again of every layer, or, where it is computed again,
   * what every layer takes and one layer's worth; in a forward pass one layer's worth.
   */
  bytesPerRow(training: boolean, recompute = false): number {
    const { hiddenSize, numLayers } = this.#checkpoint.config
    const { row } = this.#kept
    if (!training) return 4 * FORWARD_LAYERS * row
    // The last layer goes on with the rows that are read, and the one that is at hand has its gradients beside its values.
    return 4 * (recompute ? hiddenSize * numLayers + 3 * row : row * numLayers)
  }

  /**
   * Bytes of a run over so many rows, of which `headRows` go through the language-model head.
   *
   * @param compared what attention compares (`comparedPairs`)
   * @param recompute layers are computed again in the backward pass
   */
  estimate(rows: number, headRows: number, training: boolean, compared = NO_PAIRS, recompute = false): number {
    const { vocabSize, numAttentionHeads, numLayers } = this.#checkpoint.config
    const { pair } = this.#kept
    const { pairs, atOnce } = compared
    // A backward pass has of the layer at hand the gradients of scores and probabilities besides. Where groups are computed one after the
    // other it makes those of one group again.
    const kept = training ? (recompute ? 1 : numLayers - 1) * pair + 2 : 3
    const layers = atOnce < pairs ? IN_TURN : kept
    const computed =
      rows * this.bytesPerRow(training, recompute) + 4 * numAttentionHeads * atOnce * layers + 4 * headRows * vocabSize * 3
    // All of them map the same weights.
    return this.#resident + this.#sharers * (BASE + this.#transient + ARENA * (isHalf(this.keeping) ? CASTS : 1) * computed)
  }

  /** Training runs of half as many tokens as one that was too large for its device. @returns how many that are */
  halveRows(failed: number): number {
    this.#mostRows = Math.max(1, Math.min(this.#mostRows, Math.floor(failed / 2)))
    return this.#mostRows
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
   * @param options.recompute layers are computed again in the backward pass
   * @param options.shared virtual tokens that all rows share
   * @param options.together how many rows in turn are never parted; by default each stands alone
   * @returns [start, end) of each part
   */
  split(
    lengths: readonly number[],
    options: {
      headRows: readonly number[]
      training?: boolean
      recompute?: boolean
      shared?: number
      together?: readonly number[] | undefined
    },
  ): [number, number][] {
    const { headRows, training = false, recompute = false, shared = 0, together } = options
    if (together !== undefined) {
      const ends = [0, ...together].map((_, i, counts) => counts.slice(0, i + 1).reduce((sum, count) => sum + count, 0))
      const sums = (values: readonly number[]) =>
        together.map((_, i) => values.slice(ends[i], ends[i + 1]).reduce((sum, value) => sum + value, 0))
      const groups = this.split(sums(lengths), { headRows: sums(headRows), training, recompute, shared })
      return groups.map(([start, end]) => [ends[start]!, ends[end]!])
    }
    const parts: [number, number][] = []
    let start = 0
    let rows = 0
    let heads = 0
    let longest = 0
    for (const [i, length] of lengths.entries()) {
      const compared = comparedPairs(i - start + 1, Math.max(longest, length), shared)
      const fits =
        this.estimate(shared + rows + length, heads + headRows[i]!, training, compared, recompute) <= this.budget &&
        rows + length <= (training ? this.#mostRows : PREFERRED_ROWS.forward) &&
        (heads + headRows[i]!) * this.#checkpoint.config.vocabSize * 4 <= LOGITS
      if (!fits && i > start) {
        parts.push([start, i])
        start = i
        rows = 0
        heads = 0
        longest = 0
      }
      rows += length
      longest = Math.max(longest, length)
      heads += headRows[i]!
    }
    if (start < lengths.length) parts.push([start, lengths.length])
    return parts
  }
}

/** Pairs of a query and a key that attention compares: all of a batch's, and those that it has in memory at a time. */
export interface ComparedPairs {
  readonly pairs: number
  readonly atOnce: number
}

const NO_PAIRS: ComparedPairs = { pairs: 0, atOnce: 0 }

/**
 * Of a batch: attention lays its rows out in groups that are as long as the longest of them, and sees what the rows share beside each.
 * @param shared virtual tokens that all rows share, and that are not among those of the longest
 */
export function comparedPairs(rows: number, longest: number, shared = 0): ComparedPairs {
  const seen = longest + shared
  const pairs = rows * seen ** 2
  return { pairs, atOnce: isInTurn(pairs, rows) ? Math.min(seen, PART) * seen : pairs }
}

/** The table of embeddings as if it were all. */
const tableOf = (checkpoint: Checkpoint): Checkpoint => ({
  ...checkpoint,
  weights: checkpoint.weights.filter(({ name }) => name === checkpoint.family.embedding),
})

/** What the process may still take: the smaller of what is free and what a container allows, with a margin. */
export function availableMemory(): number {
  const limit = process.constrainedMemory?.() ?? 0
  const total = limit > 0 && limit < totalmem() ? limit : totalmem()
  const available = (process as { availableMemory?: () => number }).availableMemory?.() ?? freemem()
  return Math.min(total, available) * 0.9
}
