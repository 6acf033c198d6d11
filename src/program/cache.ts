import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

/**
 * The cache folder: dequantised weights (`models/<key>/weights.bin`) with the compiled programs that map them, and programs without
 * weights (`programs/<key>.onnx`). Everything in it can be made again; the least recently used goes when it grows past its limit.
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

/** Writes a file as a whole: beside, then renamed. */
export function writeWhole(path: string, data: Uint8Array): void {
  mkdirSync(dirname(path), { recursive: true })
  const temporary = `${path}.${randomUUID()}.tmp`
  try {
    writeFileSync(temporary, data)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
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
