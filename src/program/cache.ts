import { createHash, randomUUID } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { isWholeProgram, sealedProgram, sealedText, unsealedText } from './seals.js'

/**
 * The cache folder: dequantised weights (`models/<key>/weights.bin`) with the compiled programs that map them, and programs without
 * weights (`programs/<key>.onnx`). Everything in it can be made again; the least recently used goes when it grows past its limit. Every
 * file carries a seal (`seals.ts`), and one that is not what was written is made anew, with a warning.
 */
export function cacheFolder(): string {
  const { GRADPROMPT_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env
  if (GRADPROMPT_CACHE) return GRADPROMPT_CACHE
  if (process.platform === 'win32' && LOCALAPPDATA) return join(LOCALAPPDATA, 'gradprompt')
  return join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'gradprompt')
}

/** Size limit in bytes: `GRADPROMPT_CACHE_LIMIT` in GB, by default 20. */
function cacheLimit(): number {
  const limit = Number(process.env.GRADPROMPT_CACHE_LIMIT)
  return (Number.isFinite(limit) && limit > 0 ? limit : 20) * 1e9
}

/** Hash of anything that JSON can hold, and of bytes. 32 hexadecimal digits. */
export function hashOf(...parts: readonly unknown[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part instanceof Uint8Array ? part : JSON.stringify(part)).update('\0')
  return hash.digest('hex').slice(0, 32)
}

/**
 * Writes a file as a whole: beside, then renamed once it has reached the disk.
 * @throws GradpromptError `cache-unwritable`, `disk-full`
 */
export function writeWhole(path: string, data: Uint8Array | string): void {
  const temporary = `${path}.${randomUUID()}.tmp`
  try {
    mkdirSync(dirname(path), { recursive: true })
    const file = openSync(temporary, 'wx')
    try {
      writeFileSync(file, data)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    removeFolderAt(path)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw unwritable(error)
  }
}

/** A folder that stands where a file of the cache belongs gives way to it: nothing in the cache is anybody's only copy. */
export function removeFolderAt(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) rmSync(path, { recursive: true, force: true })
}

/** The typed error of a file that cannot be written to the cache. */
export function unwritable(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (error instanceof GradpromptError || code === undefined) return error
  const isFull = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
  return new GradpromptError(
    isFull ? 'disk-full' : 'cache-unwritable',
    'What was computed cannot be written to the cache folder',
    {
      found: message,
      expected: `a folder that can be written: ${cacheFolder()}`,
      hint: `${isFull ? 'free some space, or name' : 'name'} another folder with GRADPROMPT_CACHE`,
      exitCode: 1,
      cause: error,
    },
  )
}

/** Says that a file of the cache was not what had been written, and is made anew. It is a warning of the process, `cache-damaged`. */
export function tellDamage(path: string, reason: string): void {
  const place = path.startsWith(cacheFolder()) ? path.slice(cacheFolder().length + 1) : basename(path)
  process.emitWarning(`${place} in the cache was damaged (${reason}); it is made anew`, {
    type: 'GradpromptWarning',
    code: 'cache-damaged',
  })
}

/** Whether a compiled program stands there as it was written; what does not is told, and to be made anew. */
export function hasProgram(path: string): boolean {
  const bytes = contentOf(path)
  if (bytes === undefined) return false
  if (isWholeProgram(bytes, path)) return true
  tellDamage(path, 'its bytes are not those that were written')
  return false
}

/** @throws GradpromptError `cache-unwritable`, `disk-full` */
export const writeProgram = (path: string, model: Uint8Array): void => writeWhole(path, sealedProgram(model, path))

/** A text as it was written; undefined where there is none, or where it is damaged, which is told. */
export function readSealedText(path: string): string | undefined {
  const bytes = contentOf(path)
  if (bytes === undefined) return undefined
  const text = unsealedText(bytes.toString('utf8'), path)
  if (text === undefined) tellDamage(path, 'its text is not what was written')
  return text
}

/** @throws GradpromptError `cache-unwritable`, `disk-full` */
export const writeSealedText = (path: string, text: string): void => writeWhole(path, sealedText(text, path))

function contentOf(path: string): Buffer | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    // A folder in its place is no text and no program.
    if (code === 'EISDIR') return Buffer.alloc(0)
    throw error
  }
}

/** Marks a cache entry as used now. */
export function touch(path: string): void {
  const now = new Date()
  try {
    utimesSync(path, now, now)
  } catch {
    // Another process may have removed it; whoever opens it next will see.
  }
}

/** Removes the least recently used entries until the cache fits its limit; never the ones named in `keep`. */
export function trimCache(keep: readonly string[], limit = cacheLimit()): void {
  const entries = ['models', 'programs'].flatMap(kind => {
    const folder = join(cacheFolder(), kind)
    return list(folder).map(name => measure(join(folder, name)))
  })
  let total = entries.reduce((sum, entry) => sum + entry.bytes, 0)
  for (const { path, bytes } of entries.sort((a, b) => a.used - b.used)) {
    if (total <= limit) return
    if (keep.some(kept => kept.startsWith(path))) continue
    rmSync(path, { recursive: true, force: true })
    total -= bytes
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function measure(path: string): { path: string; bytes: number; used: number } {
  try {
    const stat = statSync(path)
    if (!stat.isDirectory()) return { path, bytes: stat.size, used: stat.mtimeMs }
    const inside = list(path).map(name => measure(join(path, name)))
    return {
      path,
      bytes: inside.reduce((sum, file) => sum + file.bytes, 0),
      used: Math.max(stat.mtimeMs, ...inside.map(file => file.used)),
    }
  } catch {
    return { path, bytes: 0, used: 0 }
  }
}
