/**
 * Writes safetensors: float32 tensors that are in memory, or tensors of any type piece by piece, in one file or in shards with their
 * index. A file appears whole or not at all. It knows nothing of what the tensors mean.
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, open, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError, refuseFullDisk } from '../errors.js'
import { elementCount } from '../numbers.js'

/** The largest published headers have 10 MB. What is larger is refused before anything is made of it. */
export const maxHeaderBytes = 2 ** 25

const maxDimensions = 64

/** What transformers writes into one file by default. */
const shardBytes = 5e9

export interface TensorToWrite {
  readonly name: string
  readonly shape: readonly number[]
  /** Row-major, as many as the shape's product. */
  readonly data: Float32Array
}

/** A tensor whose bytes are made while they are written. */
export interface TensorStream {
  readonly name: string
  /** `F32`, `F16`, `BF16`, … */
  readonly dtype: string
  readonly shape: readonly number[]
  readonly byteLength: number
  /** The bytes in order. A piece is written before the next is asked for, so that they may share memory. */
  pieces(): AsyncIterable<Uint8Array>
}

/**
 * Writes float32 tensors as one safetensors file that appears whole or not at all. The bytes depend on names, shapes, values and
 * metadata only: tensors and metadata are sorted by name, and the header is padded to 8 bytes.
 *
 * Throws `shape-mismatch`, `invalid-tensor-name` (twice, or reserved), `unwritable-file`.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const streams = tensors.map(({ name, shape, data }): TensorStream => {
    if (!isSizes(shape) || elementCount(shape) !== data.length) {
      throw new GradpromptError('shape-mismatch', `The values of tensor "${name}" do not match its shape`, {
        found: `${data.length} values`,
        expected: `as many as shape [${shape.join(', ')}] holds`,
        hint: 'Give row-major values, or correct the shape.',
      })
    }
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    return { name, dtype: 'F32', shape, byteLength: bytes.length, pieces: () => onePiece(bytes) }
  })
  await streamSafetensors(path, streams, metadata)
}

async function* onePiece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

/** The same of tensors of any type, which are never in memory whole. Throws `invalid-tensor-name`, `unwritable-file`. */
export async function streamSafetensors(
  path: string,
  tensors: readonly TensorStream[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const sorted = [...tensors].sort((a, b) => byName(a.name, b.name))
  const header = headerOf(path, sorted, metadata)
  await replaceFile(path, async file => {
    await file.writeFile(header)
    for (const { name, byteLength, pieces } of sorted) {
      let written = 0
      for await (const piece of pieces()) {
        await file.writeFile(piece)
        written += piece.length
      }
      if (written !== byteLength) throw new RangeError(`${name} has ${written} bytes, not ${byteLength}`)
    }
  })
}

/**
 * Writes a checkpoint's tensors into a folder as transformers does: `model.safetensors`, or shards of at most 5 GB with
 * `model.safetensors.index.json`.
 *
 * @param most bytes of one file
 */
export async function writeShards(folder: string, tensors: readonly TensorStream[], most = shardBytes): Promise<void> {
  const shards: TensorStream[][] = [[]]
  let size = 0
  for (const tensor of [...tensors].sort((a, b) => byName(a.name, b.name))) {
    if (size > 0 && size + tensor.byteLength > most) {
      shards.push([])
      size = 0
    }
    shards.at(-1)!.push(tensor)
    size += tensor.byteLength
  }
  const format = { format: 'pt' }
  if (shards.length === 1) return streamSafetensors(join(folder, 'model.safetensors'), shards[0]!, format)
  const number = (i: number) => String(i).padStart(5, '0')
  const names = shards.map((_, i) => `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`)
  for (const [i, shard] of shards.entries()) await streamSafetensors(join(folder, names[i]!), shard, format)
  const index = {
    metadata: { total_size: tensors.reduce((sum, { byteLength }) => sum + byteLength, 0) },
    weight_map: Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]!]))),
  }
  await writeFile(join(folder, 'model.safetensors.index.json'), `${JSON.stringify(index, null, 2)}\n`)
}

function headerOf(path: string, sorted: readonly TensorStream[], metadata: Readonly<Record<string, string>>): Buffer {
  // Not an object given to JSON.stringify: that would move names such as "0" to the front.
  const fields: string[] = []
  const field = (name: string, value: unknown) =>
    `${JSON.stringify(name)}:${typeof value === 'string' ? value : JSON.stringify(value)}`
  const texts = Object.entries(metadata).sort(([a], [b]) => byName(a, b))
  if (texts.length > 0) fields.push(`"__metadata__":{${texts.map(([key, text]) => field(key, JSON.stringify(text))).join(',')}}`)
  let end = 0
  for (const [i, { name, dtype, shape, byteLength }] of sorted.entries()) {
    if (name === '__metadata__' || name === sorted[i - 1]?.name) {
      throw new GradpromptError('invalid-tensor-name', `A tensor cannot be named ${JSON.stringify(name)} in ${path}`, {
        found: name === '__metadata__' ? 'a reserved name' : 'the name twice',
        expected: 'distinct names other than "__metadata__"',
        hint: 'Rename it.',
      })
    }
    fields.push(field(name, { dtype, shape, data_offsets: [end, end + byteLength] }))
    end += byteLength
  }
  const header = Buffer.from(`{${fields.join(',')}}`)
  if (header.length > maxHeaderBytes) throw new RangeError(`a header of ${header.length} bytes`)
  const padding = Buffer.alloc(-header.length & 7, ' ')
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(header.length + padding.length))
  return Buffer.concat([prefix, header, padding])
}

/**
 * Writes beside `path`, then renames: killed at any byte, nothing stands there that looks complete.
 * @throws GradpromptError `disk-full`, `unwritable-file`; what `fill` throws
 */
export async function replaceFile(path: string, fill: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const handle = await open(temporary, 'wx')
    try {
      await fill(handle)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {})
    refuseFullDisk(cause, path)
    if (!(cause instanceof Error && 'syscall' in cause)) throw cause
    throw new GradpromptError('unwritable-file', `${path} cannot be written`, {
      found: (cause as NodeJS.ErrnoException).code ?? String(cause),
      expected: 'a folder that exists and has room, in which this user may write',
      hint: 'Check the folder and the space left, or write elsewhere.',
      cause,
    })
  }
}

function byName(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Whether a value is a shape, or a pair of offsets. */
export function isSizes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length <= maxDimensions && value.every(size => Number.isSafeInteger(size) && size >= 0)
}
