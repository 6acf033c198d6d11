import { readdir, realpath, stat } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import { GradpromptError } from '../../errors.js'
import { isFile } from '../../files.js'
import { Refusal } from './guard.js'

/**
 * What is in the folder that the page looks at: runs and sweeps, directly in it and in `runs/` and `sweeps/`. Each is known by its path
 * from there, with `/` between names; a path that leads anywhere else is none.
 */

export interface Place {
  /** `runs/sst2`. */
  readonly id: string
  readonly folder: string
  readonly kind: 'run' | 'sweep'
}

export class Places {
  readonly root: string

  constructor(root: string) {
    this.root = resolve(root)
  }

  /** @throws GradpromptError `file-not-found` */
  async check(): Promise<void> {
    if ((await stat(this.root).catch(() => undefined))?.isDirectory()) return
    throw new GradpromptError('file-not-found', `there is no folder ${this.root}`, {
      found: 'nothing, or a file',
      expected: 'the folder in which runs/ and sweeps/ are, or will be',
    })
  }

  /** Every run and sweep, in the order of their paths; the trials of a sweep are the sweep's. */
  async list(): Promise<Place[]> {
    const found = await Promise.all(['', 'runs', 'sweeps'].map(parent => this.#within(parent)))
    return found.flat()
  }

  async #within(parent: string): Promise<Place[]> {
    const entries = await readdir(join(this.root, parent), { withFileTypes: true }).catch(() => [])
    const names = entries.filter(entry => (entry.isDirectory() || entry.isSymbolicLink()) && !entry.name.startsWith('.'))
    const places: Place[] = []
    // A few at a time: a thousand folders at once would hold as many files open.
    for (let i = 0; i < names.length; i += 64) {
      const part = names.slice(i, i + 64).map(async ({ name }): Promise<Place | undefined> => {
        const id = parent === '' ? name : `${parent}/${name}`
        return this.#placeAt(id, join(this.root, parent, name))
      })
      places.push(...(await Promise.all(part)).filter(place => place !== undefined))
    }
    return places.sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  async #placeAt(id: string, folder: string): Promise<Place | undefined> {
    if (await isFile(join(folder, 'config.yaml'))) return { id, folder, kind: 'run' }
    if (await isFile(join(folder, 'sweep.yaml'))) return { id, folder, kind: 'sweep' }
    return undefined
  }

  /** @throws Refusal `not-found` */
  async place(id: string): Promise<Place> {
    const found = await this.#placeAt(id, await this.path(id))
    if (found === undefined) throw missing(id)
    return found
  }

  /**
   * The path of what an id names, be it a folder or a file in one.
   * @throws Refusal `not-found`, also of whatever lies outside
   */
  async path(id: string): Promise<string> {
    const parts = id.split('/')
    const isOdd = (part: string) =>
      part === '' || part === '.' || part === '..' || part.includes('\0') || (sep === '\\' && /[\\:]/.test(part))
    if (parts.length > 8 || parts.some(isOdd)) throw missing(id)
    const path = join(this.root, ...parts)
    // Links are followed, and may lead anywhere but out.
    const [real, root] = await Promise.all([realpath(path).catch(() => undefined), realpath(this.root)])
    if (real === undefined) throw missing(id)
    if (real !== root && !real.startsWith(root.endsWith(sep) ? root : root + sep))
      throw new Refusal(404, 'not-found', `${id.slice(0, 200)} leads out of the folder, and is not shown`)
    return path
  }
}

const missing = (id: string) => new Refusal(404, 'not-found', `there is nothing at ${id.slice(0, 200)}`)

/** An id as a part of an address. */
export const address = (id: string): string => `/at/${id.split('/').map(encodeURIComponent).join('/')}/`

/** The id that an address names. @throws Refusal `not-found` */
export function idOf(path: string): string {
  try {
    return path.split('/').map(decodePart).join('/')
  } catch {
    throw new Refusal(404, 'not-found', 'there is nothing at this address')
  }
}

/** A slash that is written as `%2F` is a part of no name. */
function decodePart(part: string): string {
  const decoded = decodeURIComponent(part)
  if (decoded.includes('/')) throw new Error('a slash in a name')
  return decoded
}
