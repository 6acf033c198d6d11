import { GradpromptError } from '../errors.js'
import { shuffle, streams } from './random.js'

export { shuffle } from './random.js'

/** Parts of rows, drawn by seed: limits and splits. It knows nothing of what rows hold. */

// What is drawn under one seed: each kind of draw has a stream of its own.

/** `limit` of the records, drawn by seed, in the order of the file; all of them when there are no more. */
export function limitRecords<T>(records: readonly T[], limit: number | undefined, seed: number): T[] {
  if (limit === undefined || limit >= records.length) return [...records]
  const drawn = shuffle([...records.keys()], seed, streams.limit).slice(0, limit)
  return inFileOrder(records, drawn)
}

export interface SplitSizes {
  /** A count of rows, or a fraction below 1. */
  readonly dev?: number | undefined
  readonly test?: number | undefined
}

/**
 * Sets parts of the training records aside, drawn by seed. The three parts are disjoint, cover the records, and keep their order.
 * @param stratumOf the class of a record: each part then has nearly as large a share of every class as the whole. Without it rows are
 *   drawn regardless
 * @throws GradpromptError `split-too-large` when no row is left to train on
 */
export function splitRecords<T>(
  records: readonly T[],
  sizes: SplitSizes,
  seed: number,
  stratumOf?: (record: T, index: number) => string | undefined,
): { train: T[]; dev: T[]; test: T[] } {
  const rows = records.length
  const countOf = (size = 0) => (size > 0 && size < 1 ? Math.max(1, Math.round(size * rows)) : size)
  const dev = countOf(sizes.dev)
  const test = countOf(sizes.test)
  if (dev + test >= rows)
    throw new GradpromptError('split-too-large', 'data.split leaves no row to train on', {
      found: `${dev} dev and ${test} test rows of ${rows}`,
      expected: `fewer than ${rows} together`,
    })
  const order =
    stratumOf === undefined ? shuffle([...records.keys()], seed, streams.split) : stratifiedOrder(records, seed, stratumOf)
  return {
    dev: inFileOrder(records, order.slice(0, dev)),
    test: inFileOrder(records, order.slice(dev, dev + test)),
    train: inFileOrder(records, order.slice(dev + test)),
  }
}

/**
 * An order of which every stretch has nearly as large a share of each class as the whole: the j-th of k rows of a class stands at
 * (j + 1/2) / k of the way.
 */
function stratifiedOrder<T>(
  records: readonly T[],
  seed: number,
  stratumOf: (record: T, index: number) => string | undefined,
): number[] {
  const strata = new Map<string | undefined, number[]>()
  for (const index of shuffle([...records.keys()], seed, streams.stratified)) {
    const stratum = stratumOf(records[index]!, index)
    const members = strata.get(stratum)
    if (members === undefined) strata.set(stratum, [index])
    else members.push(index)
  }
  return [...strata.values()]
    .flatMap(members => members.map((index, j) => ({ index, place: (j + 0.5) / members.length })))
    .sort((a, b) => a.place - b.place)
    .map(({ index }) => index)
}

const inFileOrder = <T>(records: readonly T[], indices: readonly number[]) =>
  [...indices].sort((a, b) => a - b).map(i => records[i]!)
