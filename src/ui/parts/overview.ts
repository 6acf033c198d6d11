import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type RunSummary, summarizeRun } from '../../api/runs/summary.js'
import { type SweepSummary, summarizeSweep } from '../../api/sweep/summary.js'
import { parseYaml } from '../../config/yaml.js'
import { isModulePath } from '../../own-modules.js'
import { isRunning } from '../../store/run-folder.js'
import { address, type Place, type Places } from './places.js'

/**
 * What stands in the list of all runs and sweeps, kept while their files stay as they are: a folder is read when it has changed, so that a thousand
 * runs cost a thousand looks and no more. The newest are read first, and a look does not wait for the last.
 */

export interface KnownRun extends Place {
  readonly summary?: (RunSummary & { readonly href: string }) | undefined
  readonly error?: Error | undefined
}

export interface KnownSweep extends Place {
  readonly summary?: SweepSummary | undefined
  readonly error?: Error | undefined
}

interface Kept {
  readonly signature: string
  readonly known: KnownRun | KnownSweep
}

export class Overview {
  readonly #places: Places
  readonly #kept = new Map<string, Kept>()
  #reading: Promise<void> | undefined
  #glancing: Promise<void> | undefined
  #left = 0
  /** Counts what has changed. */
  version = 0

  constructor(places: Places) {
    this.#places = places
  }

  /** Folders that are still to be read. */
  get left(): number {
    return this.#left
  }

  get runs(): KnownRun[] {
    const runs = [...this.#kept.values()].map(({ known }) => known).filter(({ kind }) => kind === 'run') as KnownRun[]
    return runs.sort((a, b) => (b.summary?.began ?? '').localeCompare(a.summary?.began ?? '') || (a.id < b.id ? -1 : 1))
  }

  get sweeps(): KnownSweep[] {
    return [...this.#kept.values()].map(({ known }) => known).filter(({ kind }) => kind === 'sweep') as KnownSweep[]
  }

  /** Looks at every folder, and reads those that have changed. One look at a time. */
  look(): Promise<void> {
    this.#reading ??= this.#look().finally(() => {
      this.#reading = undefined
      this.#left = 0
    })
    return this.#reading
  }

  /** Looks at the runs under way alone, which is little work however many others there are. */
  glance(): Promise<void> {
    const running = () =>
      this.runs.flatMap(({ summary, id, kind, folder }) => (summary?.state === 'running' ? { id, kind, folder } : []))
    // Beside a look: what both read is the same.
    this.#glancing ??= this.#readChanged(running(), () => {}).finally(() => {
      this.#glancing = undefined
    })
    return this.#glancing
  }

  async #look(): Promise<void> {
    const places = await this.#places.list()
    const there = new Set(places.map(({ id }) => id))
    for (const id of this.#kept.keys()) if (!there.has(id) && this.#kept.delete(id)) this.version++
    await this.#readChanged(places, left => {
      this.#left = left
    })
  }

  async #readChanged(places: readonly Place[], hear: (left: number) => void): Promise<void> {
    const signed: { place: Place; signature: string; time: number }[] = []
    for (let i = 0; i < places.length; i += atOnce)
      for (const one of await Promise.all(
        places.slice(i, i + atOnce).map(async place => ({ place, ...(await signatureOf(place)) })),
      ))
        if (this.#kept.get(one.place.id)?.signature !== one.signature) signed.push(one)
    signed.sort((a, b) => b.time - a.time)
    for (const [i, { place, signature }] of signed.entries()) {
      hear(signed.length - i)
      this.#kept.set(place.id, { signature, known: await this.#read(place) })
      this.version++
      // Requests come first.
      await setImmediate()
    }
  }

  async #read(place: Place): Promise<KnownRun | KnownSweep> {
    const { id, kind, folder } = place
    try {
      await this.#places.path(id)
      if (kind === 'sweep')
        return { ...place, ...((await namesModules(folder)) ? {} : { summary: await summarizeSweep(folder) }) }
      return { ...place, summary: { ...(await summarizeRun(folder)), name: nameOf(place), href: address(id) } }
    } catch (error) {
      // Whatever a damaged folder does to its reader is told of that folder, and of no other.
      return { ...place, error: error instanceof Error ? error : new Error(String(error)) }
    }
  }
}

/**
 * Whether the plan of a sweep may name modules. To read it loads them, which a list does not do: the sweep may be somebody else's. Its own page does.
 */
async function namesModules(folder: string): Promise<boolean> {
  const parsed = parseYaml(await readFile(join(folder, 'sweep.yaml'), 'utf8'))
  return !('problem' in parsed) && mayName(parsed.value, '')
}

function mayName(value: unknown, key: string): boolean {
  if (typeof value === 'string') return !namesFiles.has(key) && isModulePath(value)
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(([name, part]) => mayName(part, Array.isArray(value) ? key : name))
}

/** Options whose paths are of models and data. */
const namesFiles: ReadonlySet<string> = new Set([
  'model',
  'train',
  'dev',
  'test',
  'data',
  'out',
  'from',
  'template',
  'answer',
  'text',
])

/** Folders that are looked at together. */
const atOnce = 64

/** Those of `runs/` go by their name, as in the terminal. */
export const nameOf = ({ id }: Pick<Place, 'id'>): string => id.replace(/^runs\//, '')

/** By what a change is seen: the files that a run or a sweep writes, and whether somebody writes them. */
export async function signatureOf({ folder, kind }: Place): Promise<{ signature: string; time: number }> {
  const names = kind === 'sweep' ? ['sweep.yaml', 'journal.log'] : ['config.yaml', 'events.jsonl', 'result.json', 'evaluations']
  const stats = await Promise.all(names.map(name => stat(join(folder, name)).catch(() => undefined)))
  const running = kind === 'run' && (await isRunning(folder).catch(() => false))
  return {
    signature: `${running} ${stats.map(found => (found === undefined ? '-' : `${found.ino}:${found.size}:${found.mtimeMs}`)).join(' ')}`,
    time: Math.max(...stats.map(found => found?.mtimeMs ?? 0)),
  }
}
