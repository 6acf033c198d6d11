import { shuffle, streams } from './random.js'

export interface BatchOptions {
  /** Rows there are to draw from, at least 1. */
  readonly rows: number
  readonly batchSize: number
  readonly seed: number
  /** Make batches of rows of similar length. */
  readonly bucket?: boolean
  /** A length for each row (tokens, or anything that grows with them); needed for `bucket`. */
  readonly lengths?: ArrayLike<number> | undefined
}

/** An endless sequence of batches, each a list of row indices. */
export interface BatchOrder extends Iterable<number[]> {
  readonly batchesPerEpoch: number
  /** The batch of a step, counted from 0: a function of the step alone, so that a run can go on from anywhere. */
  at(step: number): number[]
}

// Batches that are sorted by length together: enough for even lengths, few enough to keep an epoch's order random.
const poolBatches = 50

/** Full batches in a pass over the rows; what does not fill one waits for another epoch's shuffle. */
export function batchesPerEpoch(rows: number, batchSize: number): number {
  return Math.max(1, Math.floor(rows / batchSize))
}

/**
 * Every epoch shuffles the rows and takes `batchSize` at a time for as long as that many are left. With fewer rows than
 * `batchSize` a batch is all of them. With `bucket` the shuffled rows are cut into pools of 50 batches, each pool is sorted by
 * length and cut into batches, and the batches of the epoch are shuffled.
 */
export function batchOrder({ rows, batchSize, seed, bucket = false, lengths }: BatchOptions): BatchOrder {
  if (!(Number.isInteger(rows) && rows >= 1 && Number.isInteger(batchSize) && batchSize >= 1))
    throw new RangeError(`batches need whole numbers of rows and batchSize of at least 1, not ${rows} and ${batchSize}`)
  if (bucket && lengths?.length !== rows) throw new RangeError(`buckets need a length for each of the ${rows} rows`)
  const perEpoch = batchesPerEpoch(rows, batchSize)
  const indices = Array.from({ length: rows }, (_, i) => i)

  function epochOf(epoch: number): number[][] {
    const order = shuffle(indices, seed, streams.epoch, epoch)
    if (!bucket || lengths === undefined) return cut(order.slice(0, perEpoch * batchSize), batchSize)
    const pools = cut(order.slice(0, perEpoch * batchSize), batchSize * poolBatches)
    const batches = pools.flatMap(pool =>
      cut(
        pool.sort((a, b) => lengths[a]! - lengths[b]!),
        batchSize,
      ),
    )
    return shuffle(batches, seed, streams.bucket, epoch)
  }

  let known = -1
  let batches: number[][] = []
  const at = (step: number) => {
    const epoch = Math.floor(step / perEpoch)
    if (epoch !== known) {
      batches = epochOf(epoch)
      known = epoch
    }
    return [...batches[step % perEpoch]!]
  }
  return {
    batchesPerEpoch: perEpoch,
    at,
    *[Symbol.iterator]() {
      for (let step = 0; ; step++) yield at(step)
    },
  }
}

const cut = <T>(items: readonly T[], size: number) =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size))
