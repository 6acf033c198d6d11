import { readSync } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { didYouMean, GradpromptError } from '../errors.js'
import { blockLayout, dequantize } from './dequantize.js'

/** What is known of a stored tensor before its bytes are read. */
export interface StoredTensor {
  readonly name: string
  /** As the file names it: `F32`, `BF16`, `Q4_1`, … */
  readonly dtype: string
  /** Row-major, outermost dimension first: a linear layer's weight is `[out, in]`, as torch prints it. */
  readonly shape: readonly number[]
}

/** Where a tensor's bytes lie on disk, rows in order, in whole blocks of `type`. */
export interface TensorLocation {
  readonly path: string
  readonly offset: number
  readonly byteLength: number
  readonly type: string
}

/**
 * An open file (or set of shards) of named tensors. Tensors are read one by one, by range.
 * A name that is not in the file is `unknown-tensor`; a file that was cut after it was opened is `truncated-file`.
 */
export interface TensorFile {
  readonly path: string
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** Throws `unsupported-quantization` or `unsupported-dtype` for a tensor whose type is known and not read. */
  requireReadable(name: string): void
  locate(name: string): TensorLocation
  /** The tensor's bytes as they are stored. */
  readBytes(name: string): Promise<Uint8Array>
  /** The same in pieces, in order; one is valid until the next is asked for. */
  bytePieces(name: string): AsyncGenerator<Uint8Array>
  /** Its values in pieces of whole rows (first axis), in order; one is valid until the next is asked for. */
  valuePieces(name: string): AsyncGenerator<Float32Array>
  /** Reads and dequantises one tensor, into `out` when given (its length must be the tensor's element count). */
  read(name: string, out?: Float32Array): Promise<Float32Array>
  close(): Promise<void>
}

/** Node refuses to read 2 GiB at once. */
const maxReadBytes = 2 ** 30

/** What is read of a tensor at a time, where it is read in pieces. */
const pieceBytes = 2 ** 22

/** A file open for ranged reads, of known size. */
export class SourceFile {
  readonly #handle: FileHandle

  private constructor(
    readonly path: string,
    readonly size: number,
    handle: FileHandle,
  ) {
    this.#handle = handle
  }

  /** Throws `file-not-found`, or `unreadable-file` for a folder, a pipe, or a file without permission. */
  static async open(path: string): Promise<SourceFile> {
    try {
      // Looked at before it is opened, for opening a pipe would wait for a writer.
      const { size } = regular(path, await stat(path))
      return new SourceFile(path, size, await open(path, 'r'))
    } catch (cause) {
      throw unreadable(path, cause)
    }
  }

  /** Fills `into` from byte `offset` on. */
  async read(into: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await this.#handle.read(into, done, Math.min(into.length - done, maxReadBytes), offset + done)
      if (bytesRead === 0) throw truncated(this.path, offset + done, offset + into.length, 'its tensors')
      done += bytesRead
    }
  }

  /** As `read`; for headers, whose parsers would otherwise be asynchronous in every number. */
  readSync(into: Uint8Array, offset: number): void {
    for (let done = 0; done < into.length; ) {
      const bytesRead = readSync(this.#handle.fd, into, done, into.length - done, offset + done)
      if (bytesRead === 0) throw truncated(this.path, offset + done, offset + into.length, 'its header')
      done += bytesRead
    }
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

/** A tensor and the bytes that were checked to hold it. */
export interface TensorEntry extends StoredTensor {
  readonly source: SourceFile
  readonly offset: number
  readonly byteLength: number
}

/** Tensors in one or more open files: what the formats have in common once their headers are understood. */
export class SourceTensors implements TensorFile {
  readonly #entries: ReadonlyMap<string, TensorEntry>
  readonly #sources: readonly SourceFile[]

  constructor(
    readonly path: string,
    entries: ReadonlyMap<string, TensorEntry>,
    sources: readonly SourceFile[],
  ) {
    this.#entries = entries
    this.#sources = sources
  }

  get tensors(): ReadonlyMap<string, StoredTensor> {
    return this.#entries
  }

  requireReadable(name: string): void {
    blockLayout(this.#entry(name).dtype, name)
  }

  locate(name: string): TensorLocation {
    const { source, offset, byteLength, dtype } = this.#entry(name)
    return { path: source.path, offset, byteLength, type: dtype }
  }

  async readBytes(name: string): Promise<Uint8Array> {
    const { source, offset, byteLength } = this.#entry(name)
    const bytes = new Uint8Array(byteLength)
    await source.read(bytes, offset)
    return bytes
  }

  async *bytePieces(name: string): AsyncGenerator<Uint8Array> {
    const { source, offset, byteLength } = this.#entry(name)
    const buffer = new Uint8Array(Math.min(byteLength, pieceBytes))
    for (let start = 0; start < byteLength; start += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, byteLength - start))
      await source.read(piece, offset + start)
      yield piece
    }
  }

  async *valuePieces(name: string): AsyncGenerator<Float32Array> {
    const { source, offset, byteLength, dtype, shape } = this.#entry(name)
    const { blockSize, bytesPerBlock } = blockLayout(dtype, name)
    const rows = shape[0] ?? 1
    const rowBytes = byteLength / rows
    const rowValues = (rowBytes / bytesPerBlock) * blockSize
    // As float32, what was read of a few bits is eight times as large.
    const most = Math.max(1, Math.floor(pieceBytes / (4 * rowValues)))
    const bytes = new Uint8Array(most * rowBytes)
    const values = new Float32Array(most * rowValues)
    for (let row = 0; row < rows; row += most) {
      const piece = bytes.subarray(0, Math.min(most, rows - row) * rowBytes)
      await source.read(piece, offset + row * rowBytes)
      const out = values.subarray(0, (piece.length / bytesPerBlock) * blockSize)
      dequantize(dtype, piece, out)
      yield out
    }
  }

  async read(name: string, out?: Float32Array): Promise<Float32Array> {
    const { source, offset, byteLength, dtype, shape } = this.#entry(name)
    const { blockSize, bytesPerBlock } = blockLayout(dtype, name)
    const count = (byteLength / bytesPerBlock) * blockSize
    if (out !== undefined && out.length !== count) {
      throw new GradpromptError('shape-mismatch', `The array given for tensor "${name}" has the wrong length`, {
        found: `${out.length} elements`,
        expected: `${count}, for shape [${shape.join(', ')}]`,
        hint: 'Leave the array out to have one made.',
      })
    }
    const values = out ?? new Float32Array(count)
    if (dtype === 'F32') {
      await source.read(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), offset)
      return values
    }
    // In pieces: the stored bytes stay in the processor's cache, and are never held whole beside the values.
    const piece = new Uint8Array(Math.min(byteLength, Math.floor(2 ** 18 / bytesPerBlock) * bytesPerBlock))
    for (let start = 0; start < byteLength; start += piece.length) {
      const bytes = piece.subarray(0, Math.min(piece.length, byteLength - start))
      await source.read(bytes, offset + start)
      const first = (start / bytesPerBlock) * blockSize
      dequantize(dtype, bytes, values.subarray(first, first + (bytes.length / bytesPerBlock) * blockSize))
    }
    return values
  }

  async close(): Promise<void> {
    await Promise.all(this.#sources.map(source => source.close()))
  }

  #entry(name: string): TensorEntry {
    const entry = this.#entries.get(name)
    if (entry !== undefined) return entry
    throw new GradpromptError('unknown-tensor', `There is no tensor "${name}" in ${this.path}`, {
      found: `${this.#entries.size} tensors`,
      expected: 'the name of one of them',
      hint:
        didYouMean(name, [...this.#entries.keys()], tensor => `"${tensor}"`) ??
        'The model may be of another family than was assumed.',
    })
  }
}

/** The error for a file of which fewer bytes exist than its header speaks of. */
export function truncated(path: string, size: number, needed: number, part: string): GradpromptError {
  return new GradpromptError('truncated-file', `${path} ends in the middle of ${part}`, {
    found: `${size} bytes`,
    expected: `at least ${needed} bytes`,
    hint: 'The file is cut short or damaged: copy or download it again.',
  })
}

function regular<T extends { isFile(): boolean; isDirectory(): boolean }>(path: string, info: T): T {
  if (info.isFile()) return info
  throw new GradpromptError('unreadable-file', `${path} is not a file`, {
    found: info.isDirectory() ? 'a folder' : 'a device, pipe or socket',
    expected: 'a regular file',
    hint: 'Name the file itself.',
  })
}

function unreadable(path: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException).code
  if (cause instanceof GradpromptError || typeof code !== 'string') return cause
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new GradpromptError('file-not-found', `There is no file ${path}`, {
      found: 'nothing',
      expected: 'a file that exists',
      hint: 'Check the spelling, and the folder that the path starts from.',
      cause,
    })
  }
  return new GradpromptError('unreadable-file', `${path} cannot be read`, {
    found: code,
    expected: 'a file that this user may read',
    hint: 'Check its permissions.',
    cause,
  })
}
