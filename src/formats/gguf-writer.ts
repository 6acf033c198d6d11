/**
 * Writes GGUF files: entries of the metadata, made here or copied byte for byte from another file, and tensors piece by piece. A file
 * appears whole or not at all. It knows nothing of what keys and tensors mean.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import { ggmlTypeNumber } from './dequantize.js'
import { replaceFile, type TensorStream } from './safetensors-writer.js'

/** An entry of the metadata with its key, as the file has it. */
export type GgufEntry = Uint8Array

const text = (value: string) => {
  const bytes = Buffer.from(value)
  return Buffer.concat([uint64(bytes.length), bytes])
}

/** Texts one behind another, each with its length: in one buffer, for a vocabulary has hundreds of thousands. */
function texts(values: readonly string[]): Buffer {
  const lengths = values.map(value => Buffer.byteLength(value))
  const bytes = Buffer.alloc(lengths.reduce((sum, length) => sum + 8 + length, 0))
  let at = 0
  for (const [i, value] of values.entries()) {
    bytes.writeUInt32LE(lengths[i]!, at)
    bytes.write(value, at + 8)
    at += 8 + lengths[i]!
  }
  return bytes
}

const uint32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

const uint64 = (value: number) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

const entry = (key: string, type: number, ...value: Uint8Array[]): GgufEntry => Buffer.concat([text(key), uint32(type), ...value])
const view = (values: Float32Array | Int32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

/** Entries of the types that are written; the numbers are the format's. */
export const ggufEntry = {
  uint32: (key: string, value: number): GgufEntry => entry(key, 4, uint32(value)),
  float32: (key: string, value: number): GgufEntry => entry(key, 6, view(Float32Array.of(value))),
  boolean: (key: string, value: boolean): GgufEntry => entry(key, 7, Uint8Array.of(Number(value))),
  string: (key: string, value: string): GgufEntry => entry(key, 8, text(value)),
  int32s: (key: string, values: Int32Array): GgufEntry => entry(key, 9, uint32(5), uint64(values.length), view(values)),
  float32s: (key: string, values: Float32Array): GgufEntry => entry(key, 9, uint32(6), uint64(values.length), view(values)),
  strings: (key: string, values: readonly string[]): GgufEntry => entry(key, 9, uint32(8), uint64(values.length), texts(values)),
}

/**
 * Writes a file of version 3. Shapes are outermost dimension first, as everywhere here; a tensor's `dtype` is ggml's name of it.
 * @param alignment of tensors; where it is not 32, `entries` must say so
 * @throws GradpromptError `unwritable-file`
 */
export async function writeGguf(
  path: string,
  {
    entries,
    tensors,
    alignment,
  }: { readonly entries: readonly GgufEntry[]; readonly tensors: readonly TensorStream[]; readonly alignment: number },
): Promise<void> {
  const aligned = (size: number) => Math.ceil(size / alignment) * alignment
  let offset = 0
  const table = tensors.map(({ name, dtype, shape, byteLength }) => {
    const dimensions = [...shape].reverse()
    const place = offset
    offset = aligned(offset + byteLength)
    return Buffer.concat([
      text(name),
      uint32(dimensions.length),
      ...dimensions.map(uint64),
      uint32(ggmlTypeNumber(dtype)),
      uint64(place),
    ])
  })
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    uint32(3),
    uint64(tensors.length),
    uint64(entries.length),
    ...entries,
    ...table,
  ])
  await replaceFile(path, async file => {
    await file.writeFile(head)
    await file.writeFile(Buffer.alloc(aligned(head.length) - head.length))
    for (const { name, byteLength, pieces } of tensors) {
      let written = 0
      for await (const piece of pieces()) {
        await file.writeFile(piece)
        written += piece.length
      }
      if (written !== byteLength) throw new RangeError(`${name} has ${written} bytes, not ${byteLength}`)
      await file.writeFile(Buffer.alloc(aligned(byteLength) - byteLength))
    }
  })
}
