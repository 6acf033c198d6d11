import { mkdir, open, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { GradpromptError, readError, writeError } from '../../errors.js'
import { refuseEndless } from '../../files.js'
import { withSharedLock } from './shared-lock.js'

/**
 * What several processes, also of several machines, know of a sweep: a file that grows by lines, each with its CRC-32, in the order in
 * which they came. Who adds lines holds a lock, has read all lines before, and takes away what a kill or a full disk has torn off. What
 * the lines say is unknown here.
 */

/** `1f2e3d4c {"type":"begun",…}` */
const lineOf = (record: object): string => {
  const text = JSON.stringify(record)
  return `${crc32(text).toString(16).padStart(8, '0')} ${text}\n`
}

const longestLine = 1 << 20

export class Journal<Record extends object> {
  readonly path: string
  readonly #onRecord: (record: Record) => string | undefined
  /** Bytes that are read. */
  #read = 0
  #lines = 0

  /** @param onRecord hears of every line, in their order, once; it says what is wrong with one that cannot stand behind those before it */
  constructor(path: string, onRecord: (record: Record) => string | undefined) {
    this.path = path
    this.#onRecord = onRecord
  }

  /** Reads the lines that have come since. @throws GradpromptError `sweep-corrupt` */
  async sync(): Promise<void> {
    await this.#readNew()
  }

  /**
   * Adds lines that hang on what stands there, while nobody else does. They are on the disk when it returns.
   * @param decide is called when all lines have been read
   * @throws GradpromptError `sweep-corrupt`, `sweep-locked`, `disk-full`, `cannot-write`
   */
  async add<Result>(decide: () => { readonly records: readonly Record[]; readonly result: Result }): Promise<Result> {
    // A folder that was there and is gone is not made anew: that is told.
    if (this.#read === 0) await mkdir(dirname(this.path), { recursive: true })
    return withSharedLock(`${this.path}.lock`, async () => {
      await this.#readNew()
      const { records, result } = decide()
      if (records.length > 0) await this.#append(records.map(lineOf).join(''))
      // What was written is read back, so that all processes come to the same by the same way.
      await this.#readNew()
      return result
    })
  }

  async #append(text: string): Promise<void> {
    try {
      const file = await open(this.path, 'a')
      try {
        // A line without an end is what a kill has left.
        if ((await file.stat()).size > this.#read) await file.truncate(this.#read)
        try {
          await file.appendFile(text)
          await file.sync()
        } catch (error) {
          await file.truncate(this.#read).catch(() => {})
          throw error
        }
      } finally {
        await file.close()
      }
    } catch (error) {
      throw writeError(error, this.path)
    }
  }

  async #readNew(): Promise<void> {
    let text: Buffer
    try {
      refuseEndless(await stat(this.path), this.path)
      const file = await open(this.path, 'r')
      try {
        const { size } = await file.stat()
        if (size < this.#read) throw this.#shrunk(`${size} bytes`)
        text = Buffer.alloc(Math.max(0, size - this.#read))
        let length = 0
        while (length < text.length) {
          const { bytesRead } = await file.read(text, length, text.length - length, this.#read + length)
          if (bytesRead === 0) break
          length += bytesRead
        }
        text = text.subarray(0, length)
      } finally {
        await file.close()
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        if (this.#read === 0) return
        throw this.#shrunk('no such file')
      }
      throw readError(error, this.path)
    }
    for (;;) {
      const end = text.indexOf(0x0a)
      if (end === -1) {
        if (text.length > longestLine) throw this.#corrupt('a line without an end')
        return
      }
      const record = this.#parsed(text.subarray(0, end).toString('utf8'))
      const wrong = this.#onRecord(record)
      if (wrong !== undefined) throw this.#corrupt(wrong)
      this.#lines++
      this.#read += end + 1
      text = text.subarray(end + 1)
    }
  }

  #parsed(line: string): Record {
    const [, sum, text] = /^([0-9a-f]{8}) (.*)$/s.exec(line) ?? []
    if (sum === undefined || text === undefined) throw this.#corrupt(line.slice(0, 80))
    if (crc32(text).toString(16).padStart(8, '0') !== sum) throw this.#corrupt(`${line.slice(0, 60)}, whose checksum is another`)
    return JSON.parse(text) as Record
  }

  #shrunk(found: string): GradpromptError {
    return new GradpromptError('sweep-corrupt', `${this.path} was deleted or replaced while it was worked on`, {
      found,
      expected: `at least the ${this.#read} bytes that were read`,
      hint: 'restore the folder from a copy, or begin another sweep',
      exitCode: 1,
    })
  }

  #corrupt(found: string): GradpromptError {
    return new GradpromptError('sweep-corrupt', `line ${this.#lines + 1} of ${this.path} is not as it was written`, {
      found,
      expected: 'lines that begin with their checksum, all of them in their order',
      hint: 'restore the file from a copy, or delete the lines from that one on: the trials in them are done again',
    })
  }
}
