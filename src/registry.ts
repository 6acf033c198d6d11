import { createHash } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { copyCode, declareCode } from './code-identity.js'
import { didYouMean, GradpromptError, unknownName } from './errors.js'
import { isRecord } from './json.js'
import { type Calls, inWords, isPromise, watched } from './own-calls.js'
import { exported, importModule, isModulePath, type MadeWithModules, readModule } from './own-modules.js'

/**
 * Named entries of one kind (soft-prompt methods, searches, exporters, …): those that are built in, and people's own, which come as
 * objects or as the files of modules. What an entry does is unknown here; only its kind says which members it must have.
 */

/** What a member of an entry has to be. */
type Member =
  | 'a function'
  | 'a text'
  | 'a number'
  | 'a number above 0'
  | 'a boolean'
  | 'a whole number from 1'
  | 'a list'
  | 'an object'
  | 'a text or a list'
  | 'an object or a function'

/** One kind of entry. */
export interface Kind<Entry> {
  /** For codes and messages: `method` makes `unknown-method` and `invalid-method`. */
  readonly word: string
  /** The named exports under which a module may have its entry, beside the default one. */
  readonly exports: readonly string[]
  readonly requires: Readonly<Record<string, Member>>
  /** Members that may be left out. */
  readonly may?: Readonly<Record<string, Member>>
  /** At least one of these has to be there, as a function. */
  readonly oneOf?: readonly string[]
  /** The member that an entry given as an object is named by. */
  readonly name: 'name' | 'type'
  /** Fills in what people may leave out, or makes an object of what may stand for one, such as a function. */
  readonly complete?: (given: unknown) => unknown
  /** What the functions of an entry of people's own have to give back; left out where whoever calls them takes whatever comes. */
  readonly calls?: Calls
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
  /** Of a module: its file. */
  readonly path?: string | undefined
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
   * @param madeWith what was made with it, where its file is looked for as well
   * @returns the name to `get` it by
   * @throws GradpromptError `file-not-found`, `invalid-…` (the import throws, there is no such export, a member is missing), `name-taken`
   */
  async load(given: unknown, madeWith?: MadeWithModules): Promise<string> {
    if (typeof given !== 'string') return this.add(given)
    if (this.#builtIn.has(given) || !isModulePath(given)) return given
    const { word } = this.#kind
    const { path, text } = await readModule(word, given, madeWith, this.#own.get(given)?.path)
    const source = createHash('sha256').update(text).digest('hex')
    if (this.#own.get(given)?.origin === source) return given
    const module = await importModule(path, source, given, word)
    const found = exported(module, this.#kind, given)
    const entry = this.#checked(found, given, given, { url: pathToFileURL(path).href, source })
    sources.set(entry, source)
    this.#put(given, entry, source, path)
    return given
  }

  /** Takes in an object. @returns its name @throws GradpromptError `invalid-…`, `name-taken` */
  add(given: unknown): string {
    const { word, name: key } = this.#kind
    const whole = this.#whole(given)
    const name = isRecord(whole) ? whole[key] : undefined
    if (typeof name !== 'string' || name === '')
      throw this.#invalid(`a ${word} of your own has no ${key}`, inWords(given), `${key}: a text`)
    if (this.#own.get(name)?.origin === given) return name
    if (this.#builtIn.has(name))
      throw new GradpromptError('name-taken', `there is a built-in ${word} of the name ${name}`, {
        found: `${key}: ${name}`,
        expected: 'another name',
      })
    this.#put(name, this.#checked(given, name, `the ${word} ${name}`), given)
    return name
  }

  #put(name: string, entry: Entry, origin: unknown, path?: string): void {
    // Deleted first, so that it stands last.
    this.#own.delete(name)
    this.#own.set(name, { entry, origin, path })
    this.#version++
  }

  /** What was given with the members that may be left out. */
  #whole(given: unknown): unknown {
    const flat = isRecord(given) ? membersOf(given) : given
    return this.#kind.complete?.(flat) ?? flat
  }

  #checked(given: unknown, name: string, what: string, module?: { readonly url: string; readonly source: string }): Entry {
    const { word, complete, requires, may = {}, oneOf = [], name: key, calls, prepare } = this.#kind
    const found = this.#whole(given)
    if (isPromise(given))
      throw this.#invalid(
        `${what} is no ${word}`,
        'a promise',
        'the object itself',
        'export default await …, or wait before the call',
      )
    if (!isRecord(found)) throw this.#invalid(`${what} is no ${word}`, inWords(found), `an object with ${names(requires)}`)
    const entry: Record<string, unknown> = { ...found, [key]: name }
    if (module !== undefined) declareCode(module.url, entry)
    else if (complete === undefined && isRecord(given)) copyCode(given, entry)
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
      throw this.#invalid(`${what}: ${member} is not usable`, inWords(value), expected)
    }
    if (oneOf.length > 0 && !oneOf.some(member => typeof entry[member] === 'function'))
      throw this.#invalid(`${what} does nothing`, `the members ${Object.keys(entry).join(', ')}`, `one of ${oneOf.join(', ')}`)
    const [other] = Object.entries(may).filter(([member, type]) => !(entry[member] === undefined || isA(entry[member], type)))
    if (other !== undefined) throw this.#invalid(`${what}: ${other[0]} is not usable`, inWords(entry[other[0]]), other[1])
    if (calls !== undefined) Object.assign(entry, watched(entry, { what, word }, calls))
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

/** An object's own members, and those of its class, whose functions stay functions of the object: what is private in it is not a copy's. */
function membersOf(given: object, from: object = given): Record<string, unknown> {
  const above: unknown = Object.getPrototypeOf(from)
  const inherited = isRecord(above) && above !== Object.prototype ? membersOf(given, above) : {}
  const own = Object.getOwnPropertyNames(from).filter(name => name !== 'constructor')
  const isOfClass = from !== given
  const member = (name: string): unknown => {
    const value: unknown = Reflect.get(from, name, given)
    return isOfClass && typeof value === 'function' ? value.bind(given) : value
  }
  return { ...inherited, ...Object.fromEntries(own.map(name => [name, member(name)])) }
}

function isA(value: unknown, expected: Member): boolean {
  switch (expected) {
    case 'a function':
      return typeof value === 'function'
    case 'a text':
      return typeof value === 'string'
    case 'a number':
    case 'a number above 0':
      return typeof value === 'number' && Number.isFinite(value) && (expected === 'a number' || value > 0)
    case 'a whole number from 1':
      return Number.isSafeInteger(value) && (value as number) > 0
    case 'a boolean':
      return typeof value === 'boolean'
    case 'a list':
      return Array.isArray(value)
    case 'a text or a list':
      return typeof value === 'string' || Array.isArray(value)
    case 'an object':
      return isRecord(value)
    case 'an object or a function':
      return isRecord(value) || typeof value === 'function'
  }
}

const names = (requires: Readonly<Record<string, Member>>) => Object.keys(requires).join(', ')
