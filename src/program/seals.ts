import { createHash } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { uptime } from 'node:os'
import { basename, dirname } from 'node:path'
import { crc32 } from 'node:zlib'

/**
 * Seals: what a file of the cache says of its own bytes, so that one which a disk, a crash or another program has changed is never
 * computed with. A seal stands at the end of its file, so that both appear in one rename, and counts in the name by which the file
 * is found (its own and its folder's), so that a whole file in another's place is as wrong as a damaged one. There are three forms:
 *
 * - *weights* (`.bin`): a CRC-32 of every 4 MiB, which tells where the damage is. They are large, so that they are read in full once a
 *   boot, and again when size, time of change or inode differ from what was read then (a stamp beside the file remembers them).
 * - *programs* (`.onnx`): a SHA-256 as an entry of the model's metadata, so that the file stays an ONNX file.
 * - *texts* (`.json`, and the hashes of models): a line with the SHA-256 of those before it.
 *
 * The last two are read in full whenever they are used. What is in the files is unknown here.
 */

/** Bytes that one checksum stands for. */
const BLOCK = 4 << 20
const MAGIC = 'gpseal02'
/** Behind the checksums: the mark, the length of what is sealed, and the checksum of all before it and of the place. */
const FOOTER = MAGIC.length + 8 + 4
export const stampSuffix = '.checked'

/** What is wrong with a file: it is not there, or says why it is not what was written. */
export type Damage = { readonly absent: true } | { readonly absent: false; readonly reason: string }

/** What a file of the cache is found by, wherever the cache lies: its folder there, and its name. */
const placeOf = (path: string): string => `${basename(dirname(path))}/${basename(path)}`

// --- weights -----------------------------------------------------------------------------------------------------------------

/** The length of a sealed file of so many bytes. */
export const sealedLength = (byteLength: number): number => byteLength + 4 * Math.ceil(byteLength / BLOCK) + FOOTER

/**
 * Writes the seal of what a file holds behind it.
 * @param byteLength of what it holds
 * @param path where it is going to stand
 */
export async function seal(file: FileHandle, byteLength: number, path: string): Promise<void> {
  const checksums: number[] = []
  await readBlocks(file, byteLength, checksum => {
    checksums.push(checksum)
    return true
  })
  const bytes = sealOf(checksums, byteLength, path)
  await file.write(bytes, 0, bytes.length, byteLength)
}

function sealOf(checksums: readonly number[], byteLength: number, path: string): Buffer {
  const bytes = Buffer.alloc(4 * checksums.length + FOOTER)
  for (const [i, checksum] of checksums.entries()) bytes.writeUInt32LE(checksum, 4 * i)
  const footer = 4 * checksums.length
  bytes.write(MAGIC, footer, 'latin1')
  bytes.writeBigUInt64LE(BigInt(byteLength), footer + MAGIC.length)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4), crc32(placeOf(path))), bytes.length - 4)
  return bytes
}

/**
 * What is wrong with sealed weights.
 * @param byteLength of what the file has to hold; by default what its seal says
 * @param options.always reads it in full, whatever was read before
 */
export async function damageOf(
  path: string,
  byteLength?: number,
  {
    always = false,
    onProgress,
  }: { readonly always?: boolean; readonly onProgress?: ((fraction: number) => void) | undefined } = {},
): Promise<Damage | undefined> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return { absent: true }
    throw error
  }
  try {
    const { size, mtimeMs, ino } = await file.stat()
    const damaged = (reason: string): Damage => ({ absent: false, reason })
    const length = byteLength ?? (await lengthInSeal(file, size))
    if (length === undefined) return damaged('it has no seal at its end')
    if (size !== sealedLength(length)) return damaged(`it has ${size} bytes in place of ${sealedLength(length)}`)
    const stamp = JSON.stringify({ boot: boot(), place: placeOf(path), size, mtimeMs, ino })
    if (!always && stampOf(path) === stamp) return undefined
    const end = Buffer.alloc(size - length)
    await file.read(end, 0, end.length, length)
    const count = end.length - FOOTER
    const found = Array.from({ length: count / 4 }, (_, i) => end.readUInt32LE(4 * i))
    if (!end.equals(sealOf(found, length, path))) return damaged('the seal at its end is not what was written')
    let bad: number | undefined
    await readBlocks(
      file,
      length,
      (checksum, i) => {
        if (checksum === found[i]) return true
        bad = i
        return false
      },
      onProgress,
    )
    if (bad !== undefined)
      return damaged(`bytes ${bad * BLOCK} to ${Math.min(length, (bad + 1) * BLOCK) - 1} are not what was written`)
    writeStamp(path, stamp)
    return undefined
  } finally {
    await file.close()
  }
}

/** Remembers that a file has just been written, or read in full. On a disk that cannot be written it is read again the next time. */
function writeStamp(path: string, stamp: string): void {
  try {
    writeFileSync(path + stampSuffix, stamp)
  } catch {
    // The next start reads it in full, too.
  }
}

/** Remembers that a sealed file is as it was written. */
export function stampNew(path: string): void {
  const { size, mtimeMs, ino } = statSync(path)
  writeStamp(path, JSON.stringify({ boot: boot(), place: placeOf(path), size, mtimeMs, ino }))
}

function stampOf(path: string): string | undefined {
  try {
    return readFileSync(path + stampSuffix, 'utf8')
  } catch {
    return undefined
  }
}

let bootId: string | undefined

/** Another one after every start of the machine: Linux says which; elsewhere it is the minute in which it was. */
function boot(): string {
  if (bootId !== undefined) return bootId
  try {
    bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    bootId = String(Math.round((Date.now() / 1000 - uptime()) / 60))
  }
  return bootId
}

async function lengthInSeal(file: FileHandle, size: number): Promise<number | undefined> {
  if (size < FOOTER) return undefined
  const footer = Buffer.alloc(FOOTER)
  await file.read(footer, 0, FOOTER, size - FOOTER)
  if (footer.toString('latin1', 0, MAGIC.length) !== MAGIC) return undefined
  return Number(footer.readBigUInt64LE(MAGIC.length))
}

/** Checksums of the blocks, the next one read while one is summed up. @param hear says whether to go on */
async function readBlocks(
  file: FileHandle,
  byteLength: number,
  hear: (checksum: number, block: number) => boolean,
  onProgress?: (fraction: number) => void,
): Promise<void> {
  const buffers = [Buffer.allocUnsafe(Math.min(BLOCK, byteLength)), Buffer.allocUnsafe(Math.min(BLOCK, byteLength))]
  const read = async (block: number) => {
    const length = Math.min(BLOCK, byteLength - block * BLOCK)
    const { bytesRead } = await file.read(buffers[block % 2]!, 0, length, block * BLOCK)
    return buffers[block % 2]!.subarray(0, bytesRead)
  }
  const blocks = Math.ceil(byteLength / BLOCK)
  let coming = blocks > 0 ? read(0) : undefined
  for (let block = 0; block < blocks; block++) {
    const bytes = await coming!
    coming = block + 1 < blocks ? read(block + 1) : undefined
    const goesOn = hear(crc32(bytes), block)
    onProgress?.((block + 1) / blocks)
    if (goesOn) continue
    await coming
    return
  }
}

// --- programs ----------------------------------------------------------------------------------------------------------------

const sha256 = (bytes: Uint8Array | string, path: string): string =>
  createHash('sha256').update(placeOf(path)).update('\0').update(bytes).digest('hex')

const digestLength = 64
// Field 14 of ModelProto, `metadata_props`, in the encoding of Protocol Buffers: one entry { 1: key, 2: value }.
const entry = Buffer.from([0x72, 4 + 6 + digestLength, 0x0a, 6, ...Buffer.from('sha256'), 0x12, digestLength])

/** An ONNX model with its seal: fields of a message may stand in any order, so that what follows it belongs to it. */
export const sealedProgram = (model: Uint8Array, path: string): Uint8Array =>
  Buffer.concat([model, entry, Buffer.from(sha256(model, path))])

export function isWholeProgram(bytes: Uint8Array, path: string): boolean {
  const end = bytes.length - digestLength
  const start = end - entry.length
  if (start < 0 || !entry.equals(bytes.subarray(start, end))) return false
  return Buffer.from(bytes.subarray(end)).toString('latin1') === sha256(bytes.subarray(0, start), path)
}

// --- texts -------------------------------------------------------------------------------------------------------------------

export const sealedText = (text: string, path: string): string => `${text}\n${sha256(text, path)}\n`

/** The text of a sealed one; undefined where it is not what was written. */
export function unsealedText(sealed: string, path: string): string | undefined {
  const text = sealed.slice(0, -(digestLength + 2))
  return sealed === sealedText(text, path) ? text : undefined
}
