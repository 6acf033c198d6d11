import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type GgufFile, openGguf } from '../../../src/formats/gguf.js'

export const tinyPath = 'test/fixtures/formats/tiny.gguf'
export const bundledPath = 'models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf'
export const tiny = readFileSync(tinyPath)
export const written = JSON.parse(readFileSync('test/fixtures/formats/tiny.json', 'utf8')) as {
  metadata: Record<string, unknown>
  tensors: Record<string, { type: string; shape: number[]; values?: string }>
}

export const folder = mkdtempSync(join(tmpdir(), 'gradprompt-gguf-'))
export const scratch = join(folder, 'scratch.gguf')

export async function using<T>(path: string, work: (file: GgufFile) => T | Promise<T>): Promise<T> {
  const file = await openGguf(path)
  try {
    return await work(file)
  } finally {
    await file.close()
  }
}

/** Opens the bytes as a file and reads all of it. */
export function consume(bytes: Uint8Array): Promise<void> {
  writeFileSync(scratch, bytes)
  return using(scratch, async file => {
    for (const name of file.tensors.keys()) if (name !== 'unread') await file.read(name)
  })
}

// The format's pieces, for files that no writer would write.
export const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer)
export const u64 = (value: number | bigint) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer)
export const text = (value: string) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)])
export const entry = (key: string, type: number, ...value: Buffer[]) => Buffer.concat([text(key), u32(type), ...value])
export const tensor = (name: string, dims: (number | bigint)[], type: number, offset: number | bigint) =>
  Buffer.concat([text(name), u32(dims.length), ...dims.map(u64), u32(type), u64(offset)])
export const gguf = (entries: Buffer[], tensors: Buffer[], data = 0, version = 3) => {
  const header = Buffer.concat([
    Buffer.from('GGUF'),
    u32(version),
    u64(tensors.length),
    u64(entries.length),
    ...entries,
    ...tensors,
  ])
  return Buffer.concat([header, Buffer.alloc((-header.length & 31) + data)])
}
