import type { MadeWithModules } from '../own-modules.js'
import { sourceOf } from '../registry.js'

/**
 * Where the options of a config name entries of registries, and may therefore hold people's own: as objects, or as paths of modules. It
 * knows no registry: whoever owns a config's schema says which of its options are such places.
 */

/** What takes an entry in and says by which name it is known from then on. */
interface Open {
  load(given: unknown, madeWith?: MadeWithModules): Promise<string>
  find(name: string): object | undefined
}

/** An option by its dotted path, with the registry that it names an entry of; a list names several. */
export type OpenOption = readonly [path: string, registry: Open]

/**
 * A config whose own entries are loaded, so that its schema knows them; they then stand in it by their names.
 * @param madeWith what was made with them
 * @throws GradpromptError as `Registry.load` does
 */
export async function withOwnEntries<Input>(
  input: Input,
  options: readonly OpenOption[],
  madeWith?: MadeWithModules,
): Promise<Input> {
  let named: unknown = input
  for (const [path, registry] of options) named = await replaced(named, path.split('.'), given => registry.load(given, madeWith))
  // Only names stand where objects stood.
  return named as Input
}

/**
 * The modules that a config names, each with the hash of its file: a run that goes on later can tell whether they are still the same.
 * Entries that were given as objects have no file.
 */
export function ownSources(config: unknown, options: readonly OpenOption[]): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [path, registry] of options)
    for (const name of namesAt(config, path.split('.'))) {
      const entry = registry.find(name)
      const source = entry && sourceOf(entry)
      if (source !== undefined) found[name] = source
    }
  return found
}

function namesAt(value: unknown, path: readonly string[]): string[] {
  const [key, ...rest] = path
  if (key === undefined) return [value].flat().filter(name => typeof name === 'string')
  return typeof value === 'object' && value !== null ? namesAt((value as Record<string, unknown>)[key], rest) : []
}

async function replaced(value: unknown, path: readonly string[], load: (given: unknown) => Promise<string>): Promise<unknown> {
  const [key, ...rest] = path
  if (key === undefined) {
    if (Array.isArray(value)) return Promise.all(value.map(load))
    // What is neither is refused by the schema, which says what may stand there.
    return typeof value === 'string' || (typeof value === 'object' && value !== null) ? load(value) : value
  }
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return value
  const before = (value as Record<string, unknown>)[key]
  const after = await replaced(before, rest, load)
  return after === before ? value : { ...value, [key]: after }
}
