import { inflateRawSync } from 'node:zlib'
import { GradpromptError } from '../../errors.js'
import { decodeLzma } from './lzma.js'

/**
 * Reads zip archives from bytes (PKWARE's APPNOTE): stored entries, deflated ones, and those of LZMA. Nothing is written to disk, so that
 * names are names alone; how large an entry may become is for the caller to say.
 */

export interface ZipEntry {
  readonly name: string
  /** Of what it holds. */
  readonly byteLength: number
  read(): Uint8Array
}

const END = 0x06054b50
const CENTRAL = 0x02014b50
const LOCAL = 0x04034b50
const methods = { stored: 0, deflated: 8, lzma: 14 } as const
const mostEntries = 1000

/**
 * @param limit bytes that an entry may hold at most
 * @throws GradpromptError `invalid-zip`
 */
export function zipEntries(path: string, bytes: Buffer, limit: number): ZipEntry[] {
  const end = endOf(path, bytes)
  const count = bytes.readUInt16LE(end + 10)
  if (count > mostEntries) throw invalid(path, `${count} entries`, `at most ${mostEntries}`)
  const entries: ZipEntry[] = []
  const names = new Set<string>()
  for (let i = 0, at = bytes.readUInt32LE(end + 16); i < count; i++) {
    if (at + 46 > end || bytes.readUInt32LE(at) !== CENTRAL) throw invalid(path, `no entry at byte ${at}`, `${count} entries`)
    const nameLength = bytes.readUInt16LE(at + 28)
    const next = at + 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32)
    if (next > end) throw invalid(path, 'an entry that reaches beyond the list', 'entries within it')
    const name = bytes.toString('utf8', at + 46, at + 46 + nameLength)
    if (names.has(name)) throw invalid(path, `${name} twice`, 'each name once')
    names.add(name)
    entries.push(entry(path, bytes, at, name, limit))
    at = next
  }
  return entries
}

function endOf(path: string, bytes: Buffer): number {
  for (let at = bytes.length - 22; at >= Math.max(0, bytes.length - 22 - 0xffff); at--)
    if (bytes.readUInt32LE(at) === END && at + 22 + bytes.readUInt16LE(at + 20) === bytes.length) return at
  throw invalid(path, `${bytes.length} bytes without the end of a zip archive`, 'a zip archive')
}

function entry(path: string, bytes: Buffer, at: number, name: string, limit: number): ZipEntry {
  const method = bytes.readUInt16LE(at + 10)
  const packed = bytes.readUInt32LE(at + 20)
  const byteLength = bytes.readUInt32LE(at + 24)
  const local = bytes.readUInt32LE(at + 42)
  return {
    name,
    byteLength,
    read() {
      if (byteLength > limit) throw invalid(path, `${name} of ${byteLength} bytes`, `at most ${limit}`)
      if ((bytes.readUInt16LE(at + 8) & 1) !== 0) throw invalid(path, `${name} is encrypted`, 'an archive without a password')
      if (local + 30 > bytes.length || bytes.readUInt32LE(local) !== LOCAL)
        throw invalid(path, `${name} is not where the list says`, 'its bytes')
      const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28)
      if (start + packed > bytes.length) throw invalid(path, `${name} reaches beyond the file`, `${packed} bytes of it`)
      const content = unpacked(path, name, method, bytes.subarray(start, start + packed), byteLength)
      if (content.length !== byteLength)
        throw invalid(path, `${name} holds ${content.length} bytes`, `${byteLength}, as the list says`)
      return content
    },
  }
}

function unpacked(path: string, name: string, method: number, packed: Buffer, byteLength: number): Uint8Array {
  try {
    if (method === methods.stored) return packed
    if (method === methods.deflated) return inflateRawSync(packed, { maxOutputLength: byteLength + 1 })
    if (method === methods.lzma) {
      const length = packed.readUInt16LE(2)
      return decodeLzma(packed.subarray(4, 4 + length), packed.subarray(4 + length), byteLength)
    }
  } catch (cause) {
    throw invalid(path, `${name}: ${cause instanceof Error ? cause.message : String(cause)}`, 'an entry that can be unpacked')
  }
  throw invalid(path, `${name} is packed by method ${method}`, 'entries that are stored, deflated, or packed by LZMA')
}

const invalid = (path: string, found: string, expected: string) =>
  new GradpromptError('invalid-zip', `${path} is not a zip archive that can be read`, { found, expected })
