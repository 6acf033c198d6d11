import { createHash } from 'node:crypto'
import { createReadStream, readFileSync, type Stats, statSync } from 'node:fs'
import { open, readFile, rm, stat } from 'node:fs/promises'
import { extname } from 'node:path'
import { GradpromptError, writeError } from './errors.js'

/** What is asked of any file, or done with it, whatever it holds. */

/** Whether there is a file, or what a link leads to is one. */
export const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    found => found.isFile(),
    () => false,
  )

/** Whether there is anything at a path. */
export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

/**
 * Refuses a pipe or a device where a file should be: who opened it would wait without end, and could not even be ended. A folder is left
 * to the system, which refuses it at once.
 */
export function refuseEndless(found: Stats, path: string): void {
  if (found.isFile() || found.isDirectory()) return
  throw Object.assign(new Error(`a pipe or a device, and no file, at ${path}`), { syscall: 'open' })
}

/** The text of a file that is to be read to its end. @throws what reading it throws; an error as the system's for a pipe or a device */
export async function textOfFile(path: string): Promise<string> {
  refuseEndless(await stat(path), path)
  return readFile(path, 'utf8')
}

/** The same at once. */
export function textOfFileSync(path: string): string {
  refuseEndless(statSync(path), path)
  return readFileSync(path, 'utf8')
}

/** Takes a file away, if there is one. @throws GradpromptError `cannot-write` where something else stands */
export async function removeFile(path: string): Promise<void> {
  try {
    await rm(path, { force: true })
  } catch (error) {
    throw writeError(error, path)
  }
}

/**
 * Refuses a name by which a file would be taken for something else than what is written there, as data of people's own have; one
 * without an ending says nothing.
 * @param what what is written, as in `the page is HTML`
 * @throws GradpromptError `unknown-format`
 */
export function requireEnding(path: string, endings: readonly string[], what: string): void {
  const ending = extname(path).toLowerCase()
  if (ending === '' || endings.includes(ending)) return
  throw new GradpromptError('unknown-format', `${what}, and ${path} is called something else`, {
    found: ending,
    expected: `a name that ends in ${endings.join(' or ')}`,
  })
}

/**
 * Makes a file that is not there yet. What cannot be written whole is taken away: nothing of it stands in the way of the next try.
 * @throws GradpromptError `disk-full`, `cannot-write`; what opening it throws as it is, such as `EEXIST`
 */
export async function createFile(path: string, content: string | Uint8Array): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(content).finally(() => file.close())
  } catch (error) {
    await rm(path, { force: true }).catch(() => {})
    throw writeError(error, path)
  }
}

/** SHA-256 of a file's bytes, 64 hexadecimal digits; read a part at a time. @throws what reading it throws */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 4 << 20 })) hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}

/** Names of pages, and of rows a line of JSON each. */
export const pageEndings = ['.html', '.htm'] as const
export const lineEndings = ['.jsonl', '.ndjson'] as const
