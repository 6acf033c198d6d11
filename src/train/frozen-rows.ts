import type { DataRecord } from '../data/readers/records.js'
import type { RowBuilder, TrainingRow } from '../data/rows/rows.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import { frozenLayers } from '../model/forward.js'
import type { LanguageModel } from '../model/language-model.js'
import type { Config } from './config.js'

/** A training row under one of the templates. */
export interface RowPlace {
  /** Index of the record. */
  readonly row: number
  /** Index of the template's builder. */
  readonly template: number
}

/** What frozen layers make of a step's rows. */
export type FrozenRows = (places: readonly RowPlace[]) => Promise<Float32Array[]>

/** Neighbours in the file are computed together, whichever is asked for: so a row's bits depend neither on the batch nor on a resumption. */
const BLOCK = 16
/** Below this many sightings of a row the first computation is not worth its memory. */
const LEAST_SIGHTINGS = 1.5
const SAMPLE = 64

interface FrozenRowOptions {
  readonly model: LanguageModel
  readonly prompt: ActivePrompt
  readonly records: readonly DataRecord[]
  readonly builders: readonly RowBuilder[]
  readonly train: Pick<Config['train'], 'batchSize' | 'accumulate' | 'frozenCache'>
  readonly steps: number
}

/**
 * Keeps what the layers below a method make of the training rows, which never changes: from the second epoch on a step computes the
 * layers above alone. Nothing is kept, and undefined returned, where no layer is frozen, where the rows are not seen often enough, or
 * where all of them take more than `train.frozenCache` or than a step leaves of the memory budget.
 */
export function frozenRowsOf(options: FrozenRowOptions): FrozenRows | undefined {
  const { model, prompt, records, builders, train, steps } = options
  if (frozenLayers(prompt, model.config) === 0) return undefined
  const different = records.length * builders.length
  if (steps * train.batchSize * train.accumulate < LEAST_SIGHTINGS * different) return undefined
  const bound = Math.min(train.frozenCache * 1e9, model.memory.spare)
  if (estimatedBytes(records, builders, model.config.hiddenSize) > bound) return undefined

  const blocks = new Map<string, Float32Array[]>()
  let left = bound
  const block = async (template: number, index: number) => {
    const key = `${template}:${index}`
    const known = blocks.get(key)
    if (known) return known
    const start = index * BLOCK
    const rows = records.slice(start, start + BLOCK).map((record, i) => builders[template]!.training(record, start + i))
    const made = await model.frozenRows(prompt, rows)
    const bytes = made.reduce((sum, { byteLength }) => sum + byteLength, 0)
    // The estimate may have been too low: what does not fit is computed whenever it is needed.
    if (bytes <= left) {
      blocks.set(key, made)
      left -= bytes
    }
    return made
  }
  return async places => {
    const rows: Float32Array[] = []
    for (const { row, template } of places) rows.push((await block(template, Math.floor(row / BLOCK)))[row % BLOCK]!)
    return rows
  }
}

/** From the tokens of a few rows and the length of all texts. */
function estimatedBytes(records: readonly DataRecord[], builders: readonly RowBuilder[], hiddenSize: number): number {
  const step = Math.max(1, Math.floor(records.length / SAMPLE))
  let bytes = 0
  for (const builder of builders) {
    const sampled = [...records.keys()].filter(i => i % step === 0)
    const sum = (of: (i: number) => number, indices: Iterable<number>) => [...indices].reduce((total, i) => total + of(i), 0)
    const length = (i: number) => builder.byteLength(records[i]!, i)
    const tokens = (i: number) => fedTokens(builder.training(records[i]!, i))
    const tokensPerByte = sum(tokens, sampled) / Math.max(1, sum(length, sampled))
    bytes += sum(length, records.keys()) * tokensPerByte * hiddenSize * 4
  }
  return bytes
}

const fedTokens = ({ ids }: TrainingRow) => ids.length - 1
