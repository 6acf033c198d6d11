import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { batchOrder } from '../../data/batches.js'
import type { DataRecord } from '../../data/readers/records.js'
import type { RowBuilder, ScoringRow, TrainingRow } from '../../data/rows/rows.js'
import { splitRecords } from '../../data/split.js'
import { drawTemplate, type Task } from '../../data/task.js'
import { randomGenerator, streams } from '../../random.js'

/** Which rows a step learns from. */

/** A row of a batch: its record's place, and which of the builders makes it. */
interface Place {
  readonly row: number
  readonly template: number
  /** It is learned as of no task. */
  readonly isGeneric: boolean
}

export interface BatchOptions {
  readonly config: {
    readonly train: { readonly batchSize: number; readonly bucket: boolean; readonly accumulate: number }
    readonly seed: number
  }
  readonly rows: RowBuilder
  readonly builders: readonly RowBuilder[]
  /** Rows that each record makes. */
  readonly answers: number
  /** Which share of the rows is learned as of no task (`RowTasks.genericShare`). */
  readonly genericShare?: number | undefined
}

export interface Batches {
  places(step: number): Place[]
  training(step: number): TrainingRow[]
  scoring(step: number): ScoringRow[]
}

/** The rows of each step. */
export function batches(
  records: readonly DataRecord[],
  { config, rows, builders, answers, genericShare }: BatchOptions,
): Batches {
  const { batchSize, bucket, accumulate } = config.train
  const { seed } = config
  const order = batchOrder({
    rows: records.length,
    batchSize,
    seed,
    bucket,
    lengths: bucket ? records.map((record, i) => rows.byteLength(record, i)) : undefined,
  })
  return drawnBatches(records, { config, builders, answers, genericShare }, step =>
    Array.from({ length: accumulate }, (_, i) => step * accumulate + i).flatMap(batch =>
      order.at(batch).map(row => ({ row, epoch: Math.floor(batch / order.batchesPerEpoch) })),
    ),
  )
}

/** The same where each record is in a step by chance (`privacy/secret.ts`): there may be none in it. */
export function sampledBatches(
  records: readonly DataRecord[],
  options: BatchOptions,
  sample: (step: number) => readonly number[],
): Batches {
  return drawnBatches(records, options, step => sample(step).map(row => ({ row, epoch: step })))
}

/** @param draw records of a step, and the epochs in which their templates are drawn */
function drawnBatches(
  records: readonly DataRecord[],
  { config, builders, answers, genericShare = 0 }: Omit<BatchOptions, 'rows'>,
  draw: (step: number) => readonly { readonly row: number; readonly epoch: number }[],
): Batches {
  const places = (step: number) =>
    draw(step).flatMap(({ row, epoch }) => {
      const template = drawTemplate(builders.length / answers, { seed: config.seed, epoch, row })
      const isGeneric =
        genericShare > 0 && uniformFloat64(randomGenerator(config.seed, streams.generic, epoch, row)) < genericShare
      return Array.from({ length: answers }, (_, i): Place => ({ row, template: template * answers + i, isGeneric }))
    })

  return {
    places,
    training: step =>
      places(step).map(({ row, template, isGeneric }) => ofNone(builders[template]!.training(records[row]!, row), isGeneric)),
    // What is scored of a record is one row, however many are learned.
    scoring: step =>
      places(step)
        .filter(({ template }) => template % answers === 0)
        .map(({ row, template, isGeneric }) => ofNone(builders[template]!.scoring(records[row]!, row), isGeneric)),
  }
}

/** A row as it is, or as of no task. */
function ofNone<Row extends { readonly task?: number | undefined }>(row: Row, isGeneric: boolean): Row {
  if (!isGeneric) return row
  const { task: _, ...others } = row
  return others as Row
}

/** Of the training rows without a dev set, the share on which held-out parameters are learned. */
const heldOutShare = 0.2

/** Rows for parameters that are learned apart from the others: the dev rows, or a part of the training rows that nothing else uses then. */
export function holdOut(task: Task, seed: number): { train: readonly DataRecord[]; heldOut: readonly DataRecord[] } {
  if (task.dev.length > 0) return { train: task.train, heldOut: task.dev }
  const { train, dev } = splitRecords(task.train, { dev: heldOutShare }, seed)
  return { train, heldOut: dev }
}
