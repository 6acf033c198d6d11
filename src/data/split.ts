import { GradpromptError } from '../errors.js'
import { shuffle } from './random.js'

export { shuffle } from './random.js'

// What is drawn under one seed: each kind of draw has a stream of its own.
const limitStream = 1
const splitStream = 2

/** `limit` of the records, drawn by seed, in the order of the file; all of them when there are no more. */
export function limitRecords<T>(records: readonly T[], limit: number | undefined, seed: number): T[] {
  if (limit === undefined || limit >= records.length) return [...records]
  const drawn = shuffle([...records.keys()], seed, limitStream).slice(0, limit)
  return inFileOrder(records, drawn)
}

export interface SplitSizes {
  /** A count of rows, or a fraction below 1. */
  readonly dev?: number | undefined
  readonly test?: number | undefined
}

/**
 * Sets parts of the training records aside, drawn by seed. The three parts are disjoint, cover the records, and keep their order.
 * @throws GradpromptError `split-too-large` when no row is left to train on
 */
export function splitRecords<T>(records: readonly T[], sizes: SplitSizes, seed: number): { train: T[]; dev: T[]; test: T[] } {
  const rows = records.length
  const countOf = (size = 0) => (size > 0 && size < 1 ? Math.max(1, Math.round(size * rows)) : size)
  const dev = countOf(sizes.dev)
  const test = countOf(sizes.test)
  if (dev + test >= rows)
    throw new GradpromptError('split-too-large', 'data.split leaves no row to train on', {
      found: `${dev} dev and ${test} test rows of ${rows}`,
      expected: `fewer than ${rows} together`,
    })
  const order = shuffle([...records.keys()], seed, splitStream)
  return {
    dev: inFileOrder(records, order.slice(0, dev)),
    test: inFileOrder(records, order.slice(dev, dev + test)),
    train: inFileOrder(records, order.slice(dev + test)),
  }
}

const inFileOrder = <T>(records: readonly T[], indices: readonly number[]) =>
  [...indices].sort((a, b) => a - b).map(i => records[i]!)
