import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { cacheFolder } from './cache.js'
import { damageOf, isWholeProgram, stampSuffix, unsealedText } from './seals.js'

/** Reads every file of the cache in full, whatever was read before. By their names it knows how files are sealed, and nothing else of them. */

export interface DamagedFile {
  readonly path: string
  readonly reason: string
}

export interface CacheState {
  /** Files that were read. */
  readonly files: number
  readonly damaged: readonly DamagedFile[]
}

/** What is damaged loses its stamp, so that whoever opens it next sees it as well, and makes it anew. */
export async function verifyCache(folder = cacheFolder()): Promise<CacheState> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  const damaged: DamagedFile[] = []
  let files = 0
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || path.endsWith('.tmp') || path.endsWith(stampSuffix)) continue
    files++
    const reason = await reasonOf(path, entry.name)
    if (reason === undefined) continue
    damaged.push({ path, reason })
    await rm(path + stampSuffix, { force: true }).catch(() => {})
  }
  return { files, damaged }
}

async function reasonOf(path: string, name: string): Promise<string | undefined> {
  try {
    if (name.endsWith('.bin')) {
      const damage = await damageOf(path, undefined, { always: true })
      return damage?.absent === false ? damage.reason : undefined
    }
    const bytes = await readFile(path)
    if (name.endsWith('.onnx')) return isWholeProgram(bytes, path) ? undefined : 'its bytes are not those that were written'
    return unsealedText(bytes.toString('utf8'), path) === undefined ? 'its text is not what was written' : undefined
  } catch (error) {
    // Another process may have made it anew, or trimmed the cache.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    return error instanceof Error ? error.message : String(error)
  }
}
