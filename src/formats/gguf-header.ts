/** Reads the header of a GGUF file value by value: numbers, texts and arrays, each checked against what the file can hold. */
import { GradpromptError } from '../errors.js'
import { type SourceFile, truncated } from './tensor-file.js'

/** An array in the metadata: numbers as the typed array of their width, the rest as plain arrays. */
export type GgufArray =
  | readonly string[]
  | readonly boolean[]
  | readonly GgufArray[]
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array

/** A 64-bit integer is a number where it is exact as one, a bigint beyond 2^53. */
export type GgufValue = number | bigint | boolean | string | GgufArray

// Far beyond any model: the largest headers have 262k tokens and an embedded tokenizer, in about 30 MB.
const maxHeaderBytes = 2 ** 26
export const maxEntries = 2 ** 16
const maxNameLength = 2 ** 16
const maxArrayLength = 2 ** 22
const maxArrayDepth = 4

type NumberArray = Exclude<GgufArray, readonly unknown[]>

/** Value types of the metadata that are numbers, by number: typed array of an array of them. */
const numberArrays: Readonly<Record<number, (buffer: ArrayBuffer) => NumberArray>> = {
  0: buffer => new Uint8Array(buffer),
  1: buffer => new Int8Array(buffer),
  2: buffer => new Uint16Array(buffer),
  3: buffer => new Int16Array(buffer),
  4: buffer => new Uint32Array(buffer),
  5: buffer => new Int32Array(buffer),
  6: buffer => new Float32Array(buffer),
  10: buffer => new BigUint64Array(buffer),
  11: buffer => new BigInt64Array(buffer),
  12: buffer => new Float64Array(buffer),
}
const numberWidths: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 10: 8, 11: 8, 12: 8 }
const booleanType = 7
const stringType = 8
const arrayType = 9

/** Reads a header front to back through a window, so that neither the tensors nor an absurd length is ever loaded. */
export class HeaderReader {
  #window = Buffer.alloc(0)
  /** Next byte to read: in the window, and of the window in the file. */
  #next = 0
  #windowStart = 0
  #arrays = 0

  constructor(readonly source: SourceFile) {}

  get position(): number {
    return this.#windowStart + this.#next
  }

  /** The next `length` bytes; valid until the next call. */
  bytes(length: number, part: string): Buffer {
    const start = this.#advance(length, part)
    return this.#window.subarray(start, start + length)
  }

  uint32(): number {
    const start = this.#advance(4, 'its header')
    return this.#window.readUInt32LE(start)
  }

  uint64(): number | bigint {
    const start = this.#advance(8, 'its header')
    const high = this.#window.readUInt32LE(start + 4)
    return high < 2 ** 21 ? high * 2 ** 32 + this.#window.readUInt32LE(start) : this.#window.readBigUInt64LE(start)
  }

  /** A 64-bit count of things that take at least `bytesEach`: refused when the rest of the file cannot hold them. */
  count(bytesEach: number, part: string): number {
    const count = Number(this.uint64())
    const end = this.position + count * bytesEach
    if (end > this.source.size) throw truncated(this.source.path, this.source.size, end, part)
    return count
  }

  string(): string {
    const length = this.count(1, 'a text')
    const start = this.#advance(length, 'a text')
    return this.#window.toString('utf8', start, start + length)
  }

  /** A name that is not in `taken` yet. */
  name(part: string, taken: ReadonlyMap<string, unknown>): string {
    const name = this.string()
    if (name !== '' && name.length <= maxNameLength && !taken.has(name)) return name
    throw this.invalid(`a ${part} is ${name === '' ? 'empty' : taken.has(name) ? 'there twice' : 'too long'}`, {
      found: JSON.stringify(name.slice(0, 80)),
      expected: `names of 1 to ${maxNameLength} characters, each once`,
    })
  }

  value(type: number, key: string): GgufValue {
    if (type === stringType) return this.string()
    if (type === booleanType) return this.#booleans(1)[0]!
    if (type === arrayType) return this.#array(key, 1)
    const value = this.#numbers(type, 1, key)[0]!
    return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
  }

  invalid(what: string, details: { found: string; expected: string; hint?: string }): GradpromptError {
    return new GradpromptError('invalid-gguf', `${this.source.path} is not a valid GGUF file: ${what}`, {
      hint: 'The file is damaged or was written wrongly: copy or download it again.',
      ...details,
    })
  }

  #array(key: string, depth: number): GgufArray {
    if (depth > maxArrayDepth || ++this.#arrays > maxEntries) {
      throw this.invalid(`metadata "${key}" has arrays beyond reason`, {
        found: depth > maxArrayDepth ? `${depth} in each other` : `more than ${maxEntries}`,
        expected: `at most ${maxArrayDepth} in each other, and ${maxEntries} in all`,
      })
    }
    const type = this.uint32()
    // The least that an element takes: a text is a length and its bytes, an array a type, a length and its elements.
    const count = this.count(type === stringType ? 8 : type === arrayType ? 12 : (numberWidths[type] ?? 1), `metadata "${key}"`)
    if (count > maxArrayLength) {
      throw this.invalid(`metadata "${key}" is too long`, { found: `${count} elements`, expected: `at most ${maxArrayLength}` })
    }
    if (type === booleanType) return this.#booleans(count)
    if (type === stringType) return this.#repeat(count, () => this.string())
    if (type === arrayType) return this.#repeat(count, () => this.#array(key, depth + 1))
    return this.#numbers(type, count, key)
  }

  /** Grows as it reads: a count is a claim. */
  #repeat<T>(count: number, read: () => T): T[] {
    const items: T[] = []
    for (let i = 0; i < count; i++) items.push(read())
    return items
  }

  #booleans(count: number): boolean[] {
    return Array.from(this.bytes(count, 'its metadata'), byte => {
      if (byte <= 1) return byte === 1
      throw this.invalid('a truth value is neither', { found: String(byte), expected: '0 or 1' })
    })
  }

  #numbers(type: number, count: number, key: string): NumberArray {
    const make = numberArrays[type]
    if (make === undefined) {
      throw this.invalid(`metadata "${key}" has an unknown type`, { found: `type ${type}`, expected: 'a type from 0 to 12' })
    }
    const bytes = this.bytes(count * numberWidths[type]!, `metadata "${key}"`)
    return make(new Uint8Array(bytes).buffer)
  }

  /** Makes the next `length` bytes present in the window, steps over them, and returns where they begin in it. */
  #advance(length: number, part: string): number {
    const start = this.#next
    if (start + length <= this.#window.length) {
      this.#next += length
      return start
    }
    const end = this.position + length
    if (end > this.source.size) throw truncated(this.source.path, this.source.size, end, part)
    if (end > maxHeaderBytes) {
      throw this.invalid('its header is too large', { found: `${end} bytes or more`, expected: `at most ${maxHeaderBytes}` })
    }
    this.#windowStart = this.position
    this.#window = Buffer.allocUnsafeSlow(Math.min(Math.max(length, 2 ** 20), this.source.size - this.#windowStart))
    this.source.readSync(this.#window, this.#windowStart)
    this.#next = length
    return 0
  }
}
