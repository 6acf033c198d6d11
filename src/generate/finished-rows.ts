import { closeSync, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { GradpromptError, refuseFullDisk, writeError, writing } from '../errors.js'
import { removeFile } from '../files.js'
import { removeLeftovers, synchronizeFolder, temporaryName } from '../store/atomic.js'
import type { Generation } from './request.js'

const format = 'gradprompt-answers'
/** How a file of ours begins. */
const opening = `{"format":"${format}"`
/** In place of the fingerprint of a file that is not ours. */
const unknown = 'unknown'
const chunkBytes = 1 << 20
/** An answer with the log-probabilities of every token of the longest context is far shorter. */
const longestLine = 1 << 26

/** A row of an output file. */
export interface AnswerRow {
  readonly text: string
  readonly ids: readonly number[]
  readonly finishReason: 'stop' | 'length'
  /** The stop string or token id that ended it. */
  readonly stoppedBy?: string | number
  /** In nats, of each id. */
  readonly logprobs?: readonly number[]
  /** The probability that the model would have left the limit of its answer without it. */
  readonly rejectedMass?: number
  /** What several calls for it took. */
  readonly severally?: Generation['severally']
}

interface Place {
  readonly offset: number
  readonly length: number
}

/**
 * The rows of an output file that are finished, in the order in which they were, a line each: `{"index": 3, "text": …}`. Each is
 * appended in a single write, so that a kill tears at most the last one. Only their places are kept in memory.
 */
export class FinishedRows {
  readonly #places = new Map<number, Place>()
  #end = 0

  readonly #file: number

  private constructor(
    readonly path: string,
    file: number,
  ) {
    this.#file = file
  }

  /**
   * Opens the file, with the rows of a run that was stopped.
   * @param fingerprint of everything that decides the rows; those of another one are not taken over
   * @throws GradpromptError `other-answers` when the file holds rows of other settings, `cannot-write`
   */
  static open(path: string, { fingerprint, total }: { fingerprint: string; total: number }): FinishedRows {
    const rows = new FinishedRows(path, openForAppending(path))
    try {
      const found = rows.#load(total)
      if (found !== undefined && found !== fingerprint) {
        const known = found !== unknown
        throw new GradpromptError('other-answers', `${path} holds something other than rows of this model, input and settings`, {
          found: known ? `rows with the fingerprint ${found.slice(0, 12)}` : 'a file of another kind',
          expected: known ? fingerprint.slice(0, 12) : 'rows that gradprompt generate has left',
          hint: `remove ${path}, name another output, or go on with the settings of before`,
        })
      }
      ftruncateSync(rows.#file, rows.#end)
      if (found === undefined) rows.#append(JSON.stringify({ format, fingerprint }))
      return rows
    } catch (error) {
      rows.close()
      throw error
    }
  }

  get size(): number {
    return this.#places.size
  }

  has(index: number): boolean {
    return this.#places.has(index)
  }

  add(index: number, row: AnswerRow): void {
    this.#places.set(index, this.#append(JSON.stringify({ index, ...row })))
  }

  /** Writes all rows in order to a file that appears when it is whole, and removes this one. */
  async publish(output: string, total: number): Promise<void> {
    const temporary = temporaryName(output)
    try {
      await removeLeftovers(output)
      const file = await open(temporary, 'wx')
      try {
        for (let index = 0; index < total; index++) {
          const { index: _, ...row } = JSON.parse(this.#read(this.#places.get(index)!)) as AnswerRow & { index: number }
          await file.write(`${JSON.stringify(row)}\n`)
        }
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, output)
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {})
      throw writeError(error, output)
    }
    await synchronizeFolder(dirname(output))
    await removeFile(this.path)
  }

  close(): void {
    closeSync(this.#file)
  }

  #append(line: string): Place {
    const bytes = Buffer.from(`${line}\n`)
    writing(this.path, () => {
      for (let written = 0; written < bytes.length; ) written += writeSync(this.#file, bytes, written)
    })
    const place = { offset: this.#end, length: bytes.length }
    this.#end += place.length
    return place
  }

  #read({ offset, length }: Place): string {
    const bytes = Buffer.allocUnsafe(length)
    let read = 0
    while (read < length) {
      const more = readSync(this.#file, bytes, read, length - read, offset + read)
      if (more === 0) throw new Error(`${this.path} has become shorter`)
      read += more
    }
    return bytes.toString('utf8')
  }

  /** Finds the rows that are there; a torn line at the end counts as nothing. @returns the fingerprint, when there is one */
  #load(total: number): string | undefined {
    let fingerprint: string | undefined
    for (const place of this.#lines()) {
      const value = parsed(this.#read(place))
      if (fingerprint === undefined) {
        fingerprint = value?.format === format && typeof value.fingerprint === 'string' ? value.fingerprint : unknown
        if (fingerprint === unknown) return unknown
      } else if (value !== undefined && isRow(value, total)) this.#places.set(value.index, place)
      this.#end = place.offset + place.length
    }
    if (fingerprint !== undefined) return fingerprint
    const begun = Buffer.alloc(opening.length)
    const text = begun.toString('utf8', 0, readSync(this.#file, begun, 0, begun.length, 0))
    return opening.startsWith(text) ? undefined : unknown
  }

  /** Where each whole line stands. */
  *#lines(): Generator<Place> {
    const chunk = Buffer.allocUnsafe(chunkBytes)
    let start = 0
    let at = 0
    for (
      let size = readSync(this.#file, chunk, 0, chunkBytes, at);
      size > 0;
      size = readSync(this.#file, chunk, 0, chunkBytes, at)
    ) {
      for (let end = chunk.indexOf(10); end >= 0 && end < size; end = chunk.indexOf(10, end + 1)) {
        yield { offset: start, length: at + end + 1 - start }
        start = at + end + 1
      }
      at += size
      if (at - start > longestLine) return
    }
  }
}

function openForAppending(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true })
    return openSync(path, 'a+')
  } catch (cause) {
    refuseFullDisk(cause, path)
    throw new GradpromptError('cannot-write', `cannot write ${path}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a place for a file',
      cause,
    })
  }
}

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

const isRow = (value: Record<string, unknown>, total: number): value is Record<string, unknown> & AnswerRow & { index: number } =>
  Number.isInteger(value.index) &&
  (value.index as number) >= 0 &&
  (value.index as number) < total &&
  typeof value.text === 'string' &&
  Array.isArray(value.ids) &&
  (value.finishReason === 'stop' || value.finishReason === 'length')
