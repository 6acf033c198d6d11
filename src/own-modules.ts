import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { isAbsolute, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { GradpromptError } from './errors.js'
import { isRecord } from './json.js'
import { thrown } from './own-calls.js'

/** Modules of people's own, by their paths: finding, loading and loading anew. What they export is for the registry to look at. */

/** The path of a module, relative to the working directory where it is relative. */
export type ModulePath = `./${string}` | `../${string}` | `/${string}` | `file:${string}`

/** Whether a name is meant as the path of a module. */
export const isModulePath = (name: string): boolean =>
  name.startsWith('file:') || isAbsolute(name) || /^\.{1,2}[\\/]/.test(name) || /\.[cm]?[jt]s$/.test(name)

/** The file that a path of a module names from here. */
export const moduleFile = (given: string): string => (given.startsWith('file:') ? fileURLToPath(given) : resolve(given))

/** What was made with modules, and may have moved since. */
export interface MadeWithModules {
  /** What messages call it: a run's folder. */
  readonly name: string
  /** Where the module of a path stands seen from there. */
  placeOf?(given: string): string | undefined
}

/**
 * What a path of a module names: the file at it, or else the one that stands where it stood seen from what was made with it.
 * @param before where it was read the last time
 * @throws GradpromptError `file-not-found`
 */
export async function readModule(
  word: string,
  given: string,
  madeWith?: MadeWithModules,
  before?: string,
): Promise<{ path: string; text: Buffer }> {
  const moved = madeWith?.placeOf?.(given)
  try {
    const path = moduleFile(given)
    return { path, text: await readFile(path) }
  } catch (cause) {
    for (const path of [moved, before]) {
      const text = path === undefined ? undefined : await readFile(path).catch(() => undefined)
      if (text !== undefined) return { path: path!, text }
    }
    throw missingFile(word, given, { neededBy: madeWith?.name, moved }, cause)
  }
}

/** Whether a file's name leaves it to its package which kind of module it is. */
const isCommonJs = (path: string): boolean => /\.c?[jt]s$/.test(path)

function missingFile(
  word: string,
  path: string,
  { neededBy, moved }: { readonly neededBy: string | undefined; readonly moved: string | undefined },
  cause: unknown,
): GradpromptError {
  const code = codeOf(cause)
  const elsewhere = moved === undefined ? '' : `, nor at ${moved}, where it stood seen from the run`
  return new GradpromptError('file-not-found', `there is no ${word} at ${path}`, {
    found: code === 'ENOENT' ? `nothing at ${resolve(path)}${elsewhere}` : thrown(cause),
    expected: neededBy === undefined ? 'a JavaScript file' : `the file of the ${word} that ${neededBy} was made with`,
    hint:
      neededBy === undefined
        ? 'paths are relative to the working directory'
        : `bring it to ${path}, relative to the working directory, or work where ${neededBy} was made`,
    cause,
  })
}

/**
 * A module, evaluated anew when its file has changed.
 * @param source hash of the file
 * @param name the path as it was given
 * @throws GradpromptError `invalid-…`
 */
export async function importModule(
  path: string,
  source: string,
  name: string,
  word: string,
): Promise<Readonly<Record<string, unknown>>> {
  const url = pathToFileURL(path)
  url.searchParams.set('source', source.slice(0, 16))
  // A CommonJS module is known by its path alone, whatever the URL says besides.
  delete createRequire(import.meta.url).cache[path]
  try {
    return await inTime(import(url.href) as Promise<Record<string, unknown>>, name)
  } catch (cause) {
    const isTypeScript = codeOf(cause) === 'ERR_UNKNOWN_FILE_EXTENSION'
    const hint = isTypeScript
      ? 'compile it to JavaScript, or use Node 22.18 or newer, which reads TypeScript'
      : cause instanceof SyntaxError && isCommonJs(path) && /\bimport\b|\bexport\b/.test(thrown(cause))
        ? `Node takes it for CommonJS: end its name in .mjs, or write "type": "module" into the package.json of its folder`
        : undefined
    throw new GradpromptError(`invalid-${word}`, `${name} cannot be loaded`, {
      found: isTypeScript ? `a file that Node ${process.versions.node} cannot read` : thrown(cause),
      expected: `a module that exports a ${word}`,
      ...(hint !== undefined && { hint }),
      cause,
    })
  }
}

/** What a module waits for before it is there. */
const mostLoadingSeconds = 30

/** @throws Error when a module waits for what never comes */
async function inTime<T>(loading: Promise<T>, name: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const text = `${name} has not come to its end in ${mostLoadingSeconds} s: it waits for something`
    timer = setTimeout(() => reject(new Error(text)), 1000 * mostLoadingSeconds)
  })
  return Promise.race([loading, late]).finally(() => clearTimeout(timer))
}

/**
 * What a module exports as `default`, or under another name that its kind allows. All that a CommonJS module exports stands under
 * `default`, its own default export as well.
 * @throws GradpromptError `invalid-…`
 */
export function exported(
  module: Readonly<Record<string, unknown>>,
  { word, exports }: { readonly word: string; readonly exports: readonly string[] },
  path: string,
): unknown {
  const whole: unknown = module.default
  const named = (from: Readonly<Record<string, unknown>>, ...wanted: string[]) =>
    wanted.map(name => from[name]).find(value => value !== undefined)
  if (isRecord(whole) && whole.__esModule === true) {
    const found = named(whole, 'default', ...exports)
    if (found !== undefined) return found
  }
  // `exports.method = …`: what is exported by name is a member of what is exported as a whole.
  const member = exports.find(name => isRecord(whole) && module[name] !== undefined && whole[name] === module[name])
  const found = member === undefined ? named(module, 'default', ...exports) : module[member]
  if (found !== undefined) return found
  throw new GradpromptError(`invalid-${word}`, `${path} does not export a ${word}`, {
    found: `the exports ${Object.keys(module).join(', ') || '(none)'}`,
    expected: ['export default', ...exports.map(name => `export const ${name}`)].join(', or '),
    hint: 'docs/extending.md shows one of each kind',
  })
}

/** The system's word for what went wrong; what a module has thrown may throw itself where it is asked. */
function codeOf(error: unknown): unknown {
  try {
    return (error as Partial<NodeJS.ErrnoException> | null | undefined)?.code
  } catch {
    return undefined
  }
}
