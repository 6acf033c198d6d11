import { join, relative, resolve, sep } from 'node:path'
import { exists } from '../files.js'
import { moduleFile } from '../own-modules.js'

/**
 * The files that a run's config names, wherever the run and they have gone since. A config has them as they were written, relative to the
 * working directory of that time; `run.json` has them relative to the run's folder as well, so that both can be moved together. It does
 * not know what the files are for.
 */

/** Options that may name a file or a folder, by their dotted path. */
export const pathOptions = ['model', 'data.train', 'data.dev', 'data.test', 'domain.unlabelled'] as const
export type PathOption = (typeof pathOptions)[number]

/** By the option that names the file, or of a module of people's own by its path as the config has it. */
export type RunPaths = Readonly<Record<string, string>>

/** Where the files of a config are, seen from a run's folder; what is no path (an id, rows in memory) is left out. */
export async function pathsFrom(folder: string, config: unknown, details: unknown): Promise<RunPaths> {
  const fromRun = (path: string) => relative(resolve(folder), path).split(sep).join('/')
  const { modules } = (details ?? {}) as { readonly modules?: Readonly<Record<string, string>> }
  const own = Object.keys(modules ?? {}).map(name => [name, fromRun(moduleFile(name))] as const)
  const found = await Promise.all(
    pathOptions.map(async option => {
      const path = valueAt(config, option)
      return path !== undefined && (await exists(resolve(path))) ? [[option, fromRun(resolve(path))] as const] : []
    }),
  )
  return Object.fromEntries([...own, ...found.flat()])
}

/** Where a module of people's own stood when the run began, seen from the run's folder. */
export function modulePlace(given: string, folder: string, details: unknown): string | undefined {
  const fromRun = pathsIn(details)[given]
  return typeof fromRun === 'string' ? resolve(folder, fromRun) : undefined
}

/** A config whose files are where they are now: as it says, or else where they are seen from the run's folder. */
export async function withFoundPaths(config: unknown, folder: string, details: unknown): Promise<unknown> {
  const known = pathsIn(details)
  let located = config
  for (const option of pathOptions) {
    const [path, fromRun] = [valueAt(config, option), known[option]]
    if (path === undefined || typeof fromRun !== 'string' || (await exists(resolve(path)))) continue
    const here = join(folder, fromRun)
    if (await exists(here)) located = withValue(located, option, here)
  }
  return located
}

/** The files of a config that stood somewhere when the run began, and are not found now. */
export async function missingPaths(config: unknown, details: unknown): Promise<{ option: PathOption; path: string }[]> {
  const known = pathsIn(details)
  const checked = await Promise.all(
    pathOptions.map(async option => {
      const path = valueAt(config, option)
      return path === undefined || known[option] === undefined || (await exists(resolve(path))) ? [] : [{ option, path }]
    }),
  )
  return checked.flat()
}

function pathsIn(details: unknown): RunPaths {
  const { paths } = (details ?? {}) as { readonly paths?: unknown }
  return typeof paths === 'object' && paths !== null ? (paths as RunPaths) : {}
}

function valueAt(config: unknown, option: PathOption): string | undefined {
  const value = option.split('.').reduce<unknown>((at, key) => (isMapping(at) ? at[key] : undefined), config)
  return typeof value === 'string' ? value : undefined
}

/** A copy with another value of an option that is there. */
export function withValue(config: unknown, option: PathOption, value: string): unknown {
  const [key, inner] = option.split('.') as [string, string?]
  if (!isMapping(config)) return config
  return { ...config, [key]: inner === undefined ? value : { ...(config[key] as object), [inner]: value } }
}

const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null
