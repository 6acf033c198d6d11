import { randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { WeightPart } from '../../../models/blocks/family.js'
import { GradpromptError } from '../../errors.js'
import { hashFile } from '../../files.js'
import { elementCount } from '../../numbers.js'
import {
  cacheFolder,
  hashOf,
  readSealedText,
  removeFolderAt,
  tellDamage,
  touch,
  trimCache,
  unwritable,
  writeSealedText,
} from '../../program/cache.js'
import type { ExternalTensor } from '../../program/lower.js'
import type { WeightFile } from '../../program/program.js'
import { damageOf, seal, stampNew } from '../../program/seals.js'
import type { Checkpoint } from './checkpoint.js'

const FILE = 'weights.bin'
/** Tensors begin on cache lines. */
export const ALIGNMENT = 64
/** Changes whenever the bytes that this file writes would. */
const LAYOUT_VERSION = 3

/**
 * The dequantised weights of a checkpoint as one file in the cache, in the layout that programs want. It is made once; every program
 * maps it, so neither a session nor a second process copies it. One that is damaged is made anew.
 *
 * @throws GradpromptError `disk-full`, `cache-unwritable`; `not-finite` where a weight is NaN or infinite
 */
export async function weightFile(
  checkpoint: Checkpoint,
  modelHash: string,
  onProgress?: (fraction: number) => void,
): Promise<WeightFile> {
  const { tensors, byteLength } = layout(checkpoint)
  const hash = hashOf(LAYOUT_VERSION, modelHash, checkpoint.weights)
  const folder = join(cacheFolder(), 'models', hash)
  if (!(await isWhole(join(folder, FILE), byteLength, onProgress)))
    await write(checkpoint, folder, byteLength, tensors, onProgress)
  touch(folder)
  return { folder, tensors, hash }
}

/**
 * Whether a file of weights is there as it was written: read in full once a boot, see `seals.ts`. Damage is told.
 * @param byteLength of what it holds
 */
export async function isWhole(path: string, byteLength: number, onProgress?: (fraction: number) => void): Promise<boolean> {
  const damage = await damageOf(path, byteLength, { onProgress })
  if (damage === undefined) return true
  if (!damage.absent) tellDamage(path, damage.reason)
  return false
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
  try {
    // A file that stands where a folder of the cache belongs gives way to it.
    if ((await stat(folder).catch(() => undefined))?.isFile()) await rm(folder)
    await mkdir(folder, { recursive: true })
  } catch (error) {
    throw unwritable(error)
  }
  await writeBeside(folder, FILE, byteLength, async file => {
    for (const { name, parts } of checkpoint.weights) {
      let { offset } = tensors.get(name)!
      for (const part of parts) {
        const stored = await checkpoint.file.read(part.source)
        requireFinite(stored, part.source, checkpoint.path)
        const data = arranged(stored, part)
        await file.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 0, data.byteLength, offset)
        offset += data.byteLength
      }
      onProgress?.(offset / byteLength)
    }
  })
}

/**
 * With one such number whatever a model says is NaN: it would learn nothing and write its first token for ever.
 * @throws GradpromptError `not-finite`
 */
function requireFinite(data: Float32Array, name: string, path: string): void {
  // Nothing times a number is nothing, and NaN times one that is not finite: a sum is quicker than a question for each.
  let sum = 0
  for (let i = 0; i < data.length; i++) sum += 0 * data[i]!
  if (sum === 0) return
  const bad = data.filter(value => !Number.isFinite(value))
  throw new GradpromptError('not-finite', `the tensor "${name}" of ${path} holds numbers that are not finite`, {
    found: `${bad.length} of ${data.length}: ${[...new Set(bad)].join(', ')}`,
    expected: 'numbers: no NaN, no infinity',
    hint: 'the file is damaged, or its training came apart: fetch it again, or take an earlier checkpoint',
  })
}

/**
 * Writes one more file into a folder of weights, with its seal: whole and on the disk, or not at all. Who has mapped an earlier one
 * keeps that.
 * @throws GradpromptError `disk-full`, `cache-unwritable`; what `fill` throws
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
    const file = await open(temporary, 'wx+')
    try {
      await file.truncate(byteLength)
      await fill(file)
      await seal(file, byteLength, join(folder, name))
      await file.sync()
    } finally {
      await file.close()
    }
    removeFolderAt(join(folder, name))
    await rename(temporary, join(folder, name))
    stampNew(join(folder, name))
    trimCache([folder])
  } catch (error) {
    throw unwritable(error)
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
    exitCode: 1,
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
  for (const file of [...files].sort()) hashes.push(await rememberedHash(file))
  return hashOf(hashes)
}

async function rememberedHash(path: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(path)
  const memo = join(cacheFolder(), 'hashes', hashOf('sealed in place', path, size, mtimeMs, ino))
  const known = readSealedText(memo)
  if (known !== undefined) return known
  const hex = await hashFile(path)
  try {
    writeSealedText(memo, hex)
  } catch {
    // Where the cache cannot be written, it is computed again the next time.
  }
  return hex
}
