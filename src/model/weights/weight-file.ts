import { createHash, randomUUID } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { type FileHandle, mkdir, open, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { WeightPart } from '../../../models/blocks/family.js'
import { GradpromptError } from '../../errors.js'
import { elementCount } from '../../numbers.js'
import { cacheFolder, hashOf, touch, trimCache } from '../../program/cache.js'
import type { ExternalTensor } from '../../program/lower.js'
import type { WeightFile } from '../../program/program.js'
import type { Checkpoint } from './checkpoint.js'

const FILE = 'weights.bin'
/** Tensors begin on cache lines. */
export const ALIGNMENT = 64
/** Changes whenever the bytes that this file writes would. */
const LAYOUT_VERSION = 1

/**
 * The dequantised weights of a checkpoint as one file in the cache, in the layout that programs want. It is made once; every program
 * maps it, so neither a session nor a second process copies it.
 */
export async function weightFile(
  checkpoint: Checkpoint,
  modelHash: string,
  onProgress?: (fraction: number) => void,
): Promise<WeightFile> {
  const { tensors, byteLength } = layout(checkpoint)
  const hash = hashOf(LAYOUT_VERSION, modelHash, checkpoint.weights)
  const folder = join(cacheFolder(), 'models', hash)
  const path = join(folder, FILE)
  const size = (await stat(path).catch(() => undefined))?.size
  if (size !== byteLength) await write(checkpoint, folder, byteLength, tensors, onProgress)
  touch(folder)
  return { folder, tensors, hash }
}

/** Bytes that the dequantised weights take, in memory as on disk. */
export const weightBytes = (checkpoint: Checkpoint): number => layout(checkpoint).byteLength

function layout({ weights }: Checkpoint): { tensors: Map<string, ExternalTensor>; byteLength: number } {
  const tensors = new Map<string, ExternalTensor>()
  let offset = 0
  for (const { name, shape, views } of weights) {
    const byteLength = 4 * elementCount(shape)
    tensors.set(name, { file: FILE, offset, byteLength, shape, dtype: 'float32' })
    const row = byteLength / shape[0]!
    for (const view of views ?? []) {
      const part = { offset: offset + view.start * row, byteLength: view.rows * row, shape: shape.with(0, view.rows) }
      tensors.set(view.name, { file: FILE, dtype: 'float32', ...part })
    }
    offset = Math.ceil((offset + byteLength) / ALIGNMENT) * ALIGNMENT
  }
  return { tensors, byteLength: offset }
}

async function write(
  checkpoint: Checkpoint,
  folder: string,
  byteLength: number,
  tensors: ReadonlyMap<string, ExternalTensor>,
  onProgress?: (fraction: number) => void,
): Promise<void> {
  const parent = join(cacheFolder(), 'models')
  await mkdir(parent, { recursive: true })
  await requireSpace(parent, byteLength)
  const temporary = `${folder}.${randomUUID()}.tmp`
  await mkdir(temporary)
  try {
    const file = await open(join(temporary, FILE), 'wx')
    try {
      await file.truncate(byteLength)
      for (const { name, parts } of checkpoint.weights) {
        let { offset } = tensors.get(name)!
        for (const part of parts) {
          const data = arranged(await checkpoint.file.read(part.source), part)
          await file.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 0, data.byteLength, offset)
          offset += data.byteLength
        }
        onProgress?.(offset / byteLength)
      }
    } finally {
      await file.close()
    }
    // A folder left by an older, torn attempt goes; one that another process has just finished serves as well.
    if (existsSync(folder) && (await stat(join(folder, FILE)).catch(() => undefined))?.size !== byteLength)
      await rm(folder, { recursive: true, force: true })
    await rename(temporary, folder).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    })
    trimCache([folder])
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

/**
 * Writes one more file into a folder of weights: whole, or not at all.
 * @throws GradpromptError `disk-full`; what `fill` throws
 */
export async function writeBeside(
  folder: string,
  name: string,
  byteLength: number,
  fill: (file: FileHandle) => Promise<void>,
): Promise<void> {
  await requireSpace(folder, byteLength)
  // Beside the folder: what a killed process leaves there is an entry of its own, which the cache drops in time.
  const temporary = `${folder}.${randomUUID()}.tmp`
  try {
    const file = await open(temporary, 'wx')
    try {
      await file.truncate(byteLength)
      await fill(file)
    } finally {
      await file.close()
    }
    await rename(temporary, join(folder, name))
    trimCache([folder])
  } finally {
    await rm(temporary, { force: true })
  }
}

/** @throws GradpromptError `disk-full` */
async function requireSpace(folder: string, byteLength: number): Promise<void> {
  const disk = await statfs(folder)
  const free = disk.bavail * disk.bsize
  if (free >= byteLength * 1.05) return
  throw new GradpromptError('disk-full', 'The weights do not fit into the cache folder', {
    found: `${gigabytes(free)} free in ${folder}`,
    expected: gigabytes(byteLength * 1.05),
    hint: 'free some space, or name another folder with GRADPROMPT_CACHE',
  })
}

/** A stored tensor in the order that programs want. */
export function arranged(data: Float32Array, { shape, transposed, permutedHeads, byKeyHead, added }: WeightPart): Float32Array {
  if (added) return data.map(x => x + added)
  if (transposed) {
    const [rows, columns] = shape as [number, number]
    const out = new Float32Array(data.length)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) out[row * columns + column] = data[column * rows + row]!
    return out
  }
  const rows = shape[0]!
  const width = data.length / rows
  const out = new Float32Array(data.length)
  if (byKeyHead) {
    const { repeat, headDim } = byKeyHead
    const keyHeads = rows / headDim / (repeat + 2)
    let from = 0
    const take = (head: number) => {
      const end = from + headDim * width
      out.set(data.subarray(from, end), head * headDim * width)
      from = end
    }
    for (let head = 0; head < keyHeads; head++) {
      for (let i = 0; i < repeat; i++) take(head * repeat + i)
      take(keyHeads * repeat + head)
      take(keyHeads * (repeat + 1) + head)
    }
    return out
  }
  if (!permutedHeads) return data
  // Stored row 2i + j of a head is row j * (D/2) + i of the half-rotation form.
  const headDim = rows / permutedHeads
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headDim)
    const within = row % headDim
    const target = head * headDim + (within % 2) * (headDim / 2) + (within >> 1)
    out.set(data.subarray(row * width, (row + 1) * width), target * width)
  }
  return out
}

export const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e10 ? 2 : 0)} GB`

/**
 * Hash of a model: of the bytes of its files. Hashing a large file takes seconds, so the answer is remembered by path, size and time
 * of change.
 */
export async function hashModel(files: readonly string[]): Promise<string> {
  const hashes: string[] = []
  for (const file of [...files].sort()) hashes.push(await hashFile(file))
  return hashOf(hashes)
}

async function hashFile(path: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(path)
  const memo = join(cacheFolder(), 'hashes', hashOf(path, size, mtimeMs, ino))
  const known = await readFile(memo, 'utf8').catch(() => undefined)
  if (known && /^[0-9a-f]{64}$/.test(known)) return known
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 4 << 20 })) hash.update(chunk as Uint8Array)
  const hex = hash.digest('hex')
  await mkdir(join(cacheFolder(), 'hashes'), { recursive: true })
  await writeFile(memo, hex)
  return hex
}
