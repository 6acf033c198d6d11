import { randomUUID } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../../errors.js'
import { hashFile } from '../../files.js'
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
import { unpackedBytes, type WeightTensor } from '../../program/compact-weights.js'
import type { WeightKeeping } from '../../program/keeping.js'
import type { ExternalTensor } from '../../program/lower.js'
import { isHalf } from '../../program/precision.js'
import type { WeightFile } from '../../program/program.js'
import { damageOf, seal, stampNew } from '../../program/seals.js'
import type { Checkpoint } from './checkpoint.js'
import { type CompactForm, compactBytes, compactForm, compactPart, halfForm, unpacked } from './compact-form.js'

const FILE = 'weights.bin'
/** Tensors begin on cache lines. */
export const ALIGNMENT = 64
/** Changes whenever the bytes that this file writes would. */
const LAYOUT_VERSION = 3

/**
 * The weights of a checkpoint as one file in the cache, in the layout that programs want. It is made once; every program maps it, so
 * neither a session nor a second process copies it. One that is damaged is made anew.
 *
 * @throws GradpromptError `disk-full`, `cache-unwritable`; `not-finite` where a weight is NaN or infinite
 */
export async function weightFile(
  checkpoint: Checkpoint,
  modelHash: string,
  { keeping = 'fp32', onProgress }: { readonly keeping?: WeightKeeping; readonly onProgress?: Progress | undefined } = {},
): Promise<WeightFile> {
  const { tensors, forms, byteLength } = layout(checkpoint, keeping)
  // Of what is kept in float32 the name is that of versions that knew nothing else.
  const hash = hashOf(
    LAYOUT_VERSION,
    modelHash,
    checkpoint.weights,
    ...(keeping === 'fp32' ? [] : [...forms.values()]),
    ...(isHalf(keeping) ? [keeping] : []),
  )
  const folder = join(cacheFolder(), 'models', hash)
  if (!(await isWhole(join(folder, FILE), byteLength, onProgress)))
    await write(checkpoint, folder, { tensors, forms, byteLength }, onProgress)
  touch(folder)
  return { folder, tensors, hash, ...(isHalf(keeping) && { precision: keeping }) }
}

type Progress = (fraction: number) => void

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

/** Bytes that the weights take, in memory as on disk. */
export const weightBytes = (checkpoint: Checkpoint, keeping: WeightKeeping = 'fp32'): number =>
  layout(checkpoint, keeping).byteLength

/** Bytes that a program takes for what it unpacks of compact weights: one run of rows is read while the next is made. */
export function transientBytes(checkpoint: Checkpoint, keeping: WeightKeeping): number {
  const { forms } = layout(checkpoint, keeping)
  const unpacked = checkpoint.weights.flatMap(({ name, shape }) =>
    forms.get(name)!.dtype === 'float32' ? [] : [unpackedBytes(shape)],
  )
  return 2 * unpacked.reduce((most, bytes) => Math.max(most, bytes), 0)
}

interface Layout {
  readonly tensors: ReadonlyMap<string, WeightTensor>
  readonly forms: ReadonlyMap<string, CompactForm>
  readonly byteLength: number
}

const FLOAT32: CompactForm = { dtype: 'float32' }

function layout({ weights, file }: Checkpoint, keeping: WeightKeeping): Layout {
  const tensors = new Map<string, WeightTensor>()
  const forms = new Map<string, CompactForm>()
  let end = 0
  const place = (byteLength: number) => {
    const offset = end
    end = Math.ceil((end + byteLength) / ALIGNMENT) * ALIGNMENT
    return offset
  }
  for (const spec of weights) {
    const { name, shape, views } = spec
    const form = isHalf(keeping) ? halfForm(spec, keeping) : keeping === 'compact' ? compactForm(spec, file) : FLOAT32
    const bytes = compactBytes(shape, form)
    const [values, scales, offsets] = [place(bytes.values), place(bytes.scales), place(bytes.offsets)]
    const rowsOf = (start: number, rows: number): WeightTensor => {
      const run = (offset: number, byteLength: number) => {
        const row = byteLength / shape[0]!
        return { file: FILE, offset: offset + start * row, byteLength: rows * row }
      }
      const ofBlocks = (offset: number, byteLength: number): ExternalTensor<'float32'> => {
        const own = run(offset, byteLength)
        return { ...own, shape: [own.byteLength / 4], dtype: 'float32' }
      }
      return {
        ...run(values, bytes.values),
        shape: shape.with(0, rows),
        dtype: form.dtype,
        ...(bytes.scales > 0 && { scales: ofBlocks(scales, bytes.scales) }),
        ...(bytes.offsets > 0 && { offsets: ofBlocks(offsets, bytes.offsets) }),
      }
    }
    forms.set(name, form)
    tensors.set(name, rowsOf(0, shape[0]!))
    for (const view of views ?? []) tensors.set(view.name, rowsOf(view.start, view.rows))
  }
  return { tensors, forms, byteLength: end }
}

async function write(
  checkpoint: Checkpoint,
  folder: string,
  { tensors, forms, byteLength }: Layout,
  onProgress?: Progress,
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
      const tensor = tensors.get(name)!
      const ends = { values: tensor.offset, scales: tensor.scales?.offset ?? 0, offsets: tensor.offsets?.offset ?? 0 }
      for (const part of parts) {
        const stored = await checkpoint.file.read(part.source)
        requireFinite(stored, part.source, checkpoint.path)
        const made = await compactPart(checkpoint.file, part, forms.get(name)!, stored)
        for (const kind of ['values', 'scales', 'offsets'] as const) {
          const bytes = made[kind]
          if (bytes === undefined) continue
          await file.write(bytes, 0, bytes.length, ends[kind])
          ends[kind] += bytes.length
        }
      }
      onProgress?.((tensor.offset + tensor.byteLength) / byteLength)
    }
  })
}

/** The values of a weight, out of its file. */
export async function readWeight({ folder, tensors }: WeightFile, name: string): Promise<Float32Array> {
  const tensor = tensors.get(name)!
  const source = await open(join(folder, tensor.file), 'r')
  const bytes = async ({ offset, byteLength }: { readonly offset: number; readonly byteLength: number }) => {
    const into = new Uint8Array(byteLength)
    for (let done = 0; done < byteLength; ) {
      const { bytesRead } = await source.read(into, done, Math.min(byteLength - done, 2 ** 30), offset + done)
      if (bytesRead === 0) throw new GradpromptError('internal', `${tensor.file} ends before ${name}`, { exitCode: 1 })
      done += bytesRead
    }
    return into
  }
  try {
    const read = async (part: ExternalTensor<'float32'>) => new Float32Array((await bytes(part)).buffer)
    const values = await bytes(tensor)
    return unpacked(
      values,
      tensor.dtype,
      tensor.scales && (await read(tensor.scales)),
      tensor.offsets && (await read(tensor.offsets)),
    )
  } finally {
    await source.close()
  }
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

/** `12 GB`, `1.25 GB`; of little, in which two decimals of a gigabyte would say nothing, `0.4 MB` */
export const gigabytes = (bytes: number): string =>
  bytes < 1e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(bytes < 1e10 ? 2 : 0)} GB`

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
