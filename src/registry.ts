import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isAbsolute, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { copyCode, declareCode } from './code-identity.js'
import { didYouMean, GradpromptError, unknownName } from './errors.js'

/**
 * Named entries of one kind (soft-prompt methods, searches, exporters, …): those that are built in, and people's own, which come as
 * objects or as the files of modules. What an entry does is unknown here; only its kind says which members it must have.
 */

/** What a member of an entry has to be. */
type Member = 'a function' | 'a text' | 'a number' | 'a list' | 'an object' | 'a text or a list'

/** One kind of entry. */
export interface Kind<Entry> {
  /** For codes and messages: `method` makes `unknown-method` and `invalid-method`. */
  readonly word: string
  /** The named exports under which a module may have its entry, beside the default one. */
  readonly exports: readonly string[]
  readonly requires: Readonly<Record<string, Member>>
  /** At least one of these has to be there, as a function. */
  readonly oneOf?: readonly string[]
  /** The member that an entry given as an object is named by. */
  readonly name: 'name' | 'type'
  /** Fills in what people may leave out, or makes an object of what may stand for one, such as a function. */
  readonly complete?: (given: unknown) => unknown
  /**
   * What becomes of an entry of people's own, once its members are checked, before it is used.
   * @param source hash of its file, where it came from one
   */
  readonly prepare?: (entry: Entry, source: string | undefined) => Entry
}

interface Own<Entry> {
  readonly entry: Entry
  /** The object that was given, or the hash of the file. */
  readonly origin: unknown
}

export class Registry<Entry extends object> implements Iterable<readonly [string, Entry]> {
  readonly #kind: Kind<Entry>
  readonly #builtIn: ReadonlyMap<string, Entry>
  readonly #own = new Map<string, Own<Entry>>()
  #version = 0

  constructor(kind: Kind<Entry>, builtIn: Iterable<readonly [string, Entry]>) {
    this.#kind = kind
    this.#builtIn = new Map(builtIn)
  }

  /** Counts what was added: what is made from all entries is made anew when it has changed. */
  get version(): number {
    return this.#version
  }

  /** @throws GradpromptError `unknown-…`, with the names that there are */
  get(name: string): Entry {
    const found = this.find(name)
    if (found !== undefined) return found
    const { word } = this.#kind
    throw unknownName(`unknown-${word}`, `there is no such ${word}`, name, [...this.keys()], {
      also: `, or the path of a JavaScript file`,
      hint: 'a path begins with ./ or ends in .js, .mjs or .ts',
    })
  }

  find(name: string): Entry | undefined {
    return this.#builtIn.get(name) ?? this.#own.get(name)?.entry
  }

  has(name: string): boolean {
    return this.find(name) !== undefined
  }

  /** People's own come last. */
  keys(): string[] {
    return [...this.#builtIn.keys(), ...this.#own.keys()]
  }

  values(): Entry[] {
    return this.keys().map(name => this.find(name)!)
  }

  *[Symbol.iterator](): IterableIterator<readonly [string, Entry]> {
    for (const name of this.keys()) yield [name, this.find(name)!]
  }

  /** People's own by name, the one that was given last first. */
  get own(): (readonly [string, Entry])[] {
    return [...this.#own].reverse().map(([name, { entry }]) => [name, entry] as const)
  }

  /**
   * Takes in an object, or the module of a file. A name that is no path is left as it is. An object is known by its own name from then
   * on, a module by its path as it was written; whichever is given last under a name counts.
   * @param neededBy what was made with it, for the message when its file is missing
   * @returns the name to `get` it by
   * @throws GradpromptError `file-not-found`, `invalid-…` (the import throws, there is no such export, a member is missing), `name-taken`
   */
  async load(given: unknown, neededBy?: string): Promise<string> {
    if (typeof given !== 'string') return this.add(given)
    if (this.#builtIn.has(given) || !isModulePath(given)) return given
    const { word } = this.#kind
    const path = given.startsWith('file:') ? fileURLToPath(given) : resolve(given)
    const text = await readFile(path).catch((cause: unknown) => {
      throw missingFile(word, given, neededBy, cause)
    })
    const source = createHash('sha256').update(text).digest('hex')
    if (this.#own.get(given)?.origin === source) return given
    const module = await importModule(path, source, given, word)
    const found = exported(module, this.#kind, given)
    const entry = this.#checked(found, given, given, { url: pathToFileURL(path).href, source })
    sources.set(entry, source)
    this.#put(given, entry, source)
    return given
  }

  /** Takes in an object. @returns its name @throws GradpromptError `invalid-…`, `name-taken` */
  add(given: unknown): string {
    const { word, name: key, complete } = this.#kind
    const whole = complete?.(given) ?? given
    const name = isObject(whole) ? whole[key] : undefined
    if (typeof name !== 'string' || name === '')
      throw this.#invalid(`a ${word} of your own has no ${key}`, describe(given), `${key}: a text`)
    if (this.#own.get(name)?.origin === given) return name
    if (this.#builtIn.has(name))
      throw new GradpromptError('name-taken', `there is a built-in ${word} of the name ${name}`, {
        found: `${key}: ${name}`,
        expected: 'another name',
      })
    this.#put(name, this.#checked(given, name, `the ${word} ${name}`), given)
    return name
  }

  #put(name: string, entry: Entry, origin: unknown): void {
    // Deleted first, so that it stands last.
    this.#own.delete(name)
    this.#own.set(name, { entry, origin })
    this.#version++
  }

  #checked(given: unknown, name: string, what: string, module?: { readonly url: string; readonly source: string }): Entry {
    const { word, complete, requires, oneOf = [], name: key, prepare } = this.#kind
    const found = complete?.(given) ?? given
    if (!isObject(found)) throw this.#invalid(`${what} is no ${word}`, describe(found), `an object with ${names(requires)}`)
    const entry: Record<string, unknown> = { ...membersOf(found), [key]: name }
    if (module === undefined) copyCode(found, entry)
    else declareCode(module.url, entry)
    for (const [member, expected] of Object.entries(requires)) {
      if (isA(entry[member], expected)) continue
      const value = entry[member]
      if (value === undefined)
        throw this.#invalid(
          `${what} has no ${member}`,
          `the members ${Object.keys(entry).join(', ')}`,
          `${member}: ${expected}`,
          didYouMean(
            member,
            Object.keys(entry).filter(other => !(other in requires)),
            other => `${member} by ${other}`,
          ),
        )
      throw this.#invalid(`${what}: ${member} is not usable`, describe(value), expected)
    }
    if (oneOf.length > 0 && !oneOf.some(member => typeof entry[member] === 'function'))
      throw this.#invalid(`${what} does nothing`, `the members ${Object.keys(entry).join(', ')}`, `one of ${oneOf.join(', ')}`)
    // Its members are what the kind asks for; what they do shows when they are called.
    const checked = entry as unknown as Entry
    return prepare?.(checked, module?.source) ?? checked
  }

  #invalid(message: string, found: string, expected: string, hint?: string): GradpromptError {
    return new GradpromptError(`invalid-${this.#kind.word}`, message, {
      found,
      expected,
      hint: hint ?? 'docs/extending.md shows one of each kind',
    })
  }
}

const sources = new WeakMap<object, string>()

/** The hash of the file that an entry of people's own came from; what that file imports does not count. */
export const sourceOf = (entry: object): string | undefined => sources.get(entry)

/** The path of a module, relative to the working directory where it is relative. */
export type ModulePath = `./${string}` | `../${string}` | `/${string}` | `file:${string}`

/** Whether a name is meant as the path of a module. */
export const isModulePath = (name: string): boolean =>
  name.startsWith('file:') || isAbsolute(name) || /^\.{1,2}[\\/]/.test(name) || /\.[cm]?[jt]s$/.test(name)

function missingFile(word: string, path: string, neededBy: string | undefined, cause: unknown): GradpromptError {
  const code = (cause as NodeJS.ErrnoException).code
  return new GradpromptError('file-not-found', `there is no ${word} at ${path}`, {
    found: code === 'ENOENT' ? `nothing at ${resolve(path)}` : messageOf(cause),
    expected: neededBy === undefined ? 'a JavaScript file' : `the file of the ${word} that ${neededBy} was made with`,
    hint:
      neededBy === undefined
        ? 'paths are relative to the working directory'
        : `bring it to ${path}, relative to the working directory, or work where ${neededBy} was made`,
    cause,
  })
}

/** A module, evaluated anew when its file has changed. */
async function importModule(
  path: string,
  source: string,
  name: string,
  word: string,
): Promise<Readonly<Record<string, unknown>>> {
  const url = pathToFileURL(path)
  url.searchParams.set('source', source.slice(0, 16))
  try {
    return await inTime(import(url.href) as Promise<Record<string, unknown>>, name)
  } catch (cause) {
    const isTypeScript = (cause as NodeJS.ErrnoException).code === 'ERR_UNKNOWN_FILE_EXTENSION'
    throw new GradpromptError(`invalid-${word}`, `${name} cannot be loaded`, {
      found: isTypeScript ? `a file that Node ${process.versions.node} cannot read` : messageOf(cause),
      expected: `a module that exports a ${word}`,
      ...(isTypeScript && { hint: 'compile it to JavaScript, or use Node 22.18 or newer, which reads TypeScript' }),
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

function exported<Entry>(module: Readonly<Record<string, unknown>>, { word, exports }: Kind<Entry>, path: string): unknown {
  for (const name of ['default', ...exports]) if (module[name] !== undefined) return module[name]
  throw new GradpromptError(`invalid-${word}`, `${path} does not export a ${word}`, {
    found: `the exports ${Object.keys(module).join(', ') || '(none)'}`,
    expected: ['export default', ...exports.map(name => `export const ${name}`)].join(', or '),
    hint: 'docs/extending.md shows one of each kind',
  })
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** An object's own members, and those of its class. */
function membersOf(given: object): Record<string, unknown> {
  const above: unknown = Object.getPrototypeOf(given)
  const inherited = isObject(above) && above !== Object.prototype ? membersOf(above) : {}
  const own = Object.getOwnPropertyNames(given).filter(name => name !== 'constructor')
  return { ...inherited, ...Object.fromEntries(own.map(name => [name, Reflect.get(given, name) as unknown])) }
}

function isA(value: unknown, expected: Member): boolean {
  switch (expected) {
    case 'a function':
      return typeof value === 'function'
    case 'a text':
      return typeof value === 'string'
    case 'a number':
      return typeof value === 'number' && Number.isFinite(value)
    case 'a list':
      return Array.isArray(value)
    case 'a text or a list':
      return typeof value === 'string' || Array.isArray(value)
    case 'an object':
      return isObject(value)
  }
}

const names = (requires: Readonly<Record<string, Member>>) => Object.keys(requires).join(', ')

const describe = (value: unknown): string =>
  value === undefined
    ? 'nothing'
    : Array.isArray(value)
      ? 'a list'
      : isObject(value)
        ? `an object with ${Object.keys(value).join(', ') || 'no members'}`
        : typeof value === 'function'
          ? 'a function'
          : `the ${typeof value} ${String(value).slice(0, 80)}`

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
