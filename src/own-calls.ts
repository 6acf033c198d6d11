import { fileURLToPath } from 'node:url'
import { GradpromptError, isFullDisk } from './errors.js'
import { isRecord } from './json.js'
import { framesOf, lineIn } from './stack-lines.js'

/**
 * Calls of people's own code: what it throws, and what it gives back where that is not what was asked for, becomes an error that names
 * whose code it is, which of its functions, and where. It knows no kind of entry: each says what its functions give back.
 */

/** What this package throws through people's code to end what is under way: no failure of theirs. */
export class Ending extends Error {}

/** What is wrong with something that was given back. */
export interface Complaint {
  readonly found: string
  readonly expected: string
  readonly hint?: string
}

/** Looks at what a function has given back, once that is there. */
export type Look = (given: unknown, args: readonly never[], entry: Readonly<Record<string, unknown>>) => Complaint | undefined

/** How the functions of one kind of entry are called. */
export interface Calls {
  /** Functions that may give back a promise; the others answer at once. */
  readonly later?: readonly string[]
  /** Tensor code: what it throws is said by the compiler, which knows at which sizes. */
  readonly traced?: readonly string[]
  readonly looks?: Readonly<Record<string, Look>>
}

/** Whose code it is, in messages, and the word for its kind in codes. */
export interface Owner {
  readonly what: string
  readonly word: string
}

const FOLDERS = ['./', '../kernels/', '../models/'].flatMap(folder => {
  const { href } = new URL(folder, import.meta.url)
  return [href, fileURLToPath(href)]
})

const isOurs = (frame: string) => FOLDERS.some(folder => frame.includes(folder))

/**
 * An entry's functions, each watched.
 * @param entry as it is asked by what looks; its members may be replaced by what comes back
 * @returns the members that are functions; options are declared by what may be one, and are left out
 */
export function watched(
  entry: Readonly<Record<string, unknown>>,
  owner: Owner,
  { later = [], traced = [], looks = {} }: Calls,
): Record<string, unknown> {
  const functions = Object.entries(entry).filter(([name, value]) => typeof value === 'function' && name !== 'options')
  return Object.fromEntries(
    functions.map(([name, call]) => {
      const look = (given: unknown, args: readonly unknown[]) => {
        const complaint = looks[name]?.(given, args as readonly never[], entry)
        if (complaint === undefined) return given
        const { what, word } = owner
        throw new GradpromptError(`invalid-${word}`, `${what}: what ${name} gives back is not usable`, {
          hint: 'docs/extending.md shows one of each kind',
          ...complaint,
        })
      }
      const failed = (error: unknown) => (traced.includes(name) ? error : failure(error, owner, name))
      function watch(this: unknown, ...args: unknown[]): unknown {
        let given: unknown
        try {
          given = Reflect.apply(call as () => unknown, this, args)
        } catch (error) {
          throw failed(error)
        }
        if (!isPromise(given)) return look(given, args)
        if (later.includes(name))
          return given.then(
            value => look(value, args),
            (error: unknown) => {
              throw failed(error)
            },
          )
        // Nobody waits for it: that it fails is no further error.
        given.then(undefined, () => {})
        throw new GradpromptError(`invalid-${owner.word}`, `${owner.what}: ${name} gives back a promise`, {
          found: 'a promise',
          expected: 'what it gives back at once: the function may not be async',
        })
      }
      return [name, watch]
    }),
  )
}

export const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'

/** What people's code has thrown, as theirs. Typed errors, those that end something and those of a full disk stay what they are. */
function failure(error: unknown, owner: Owner, name: string): unknown {
  try {
    return known(error, owner, name)
  } catch {
    // What was thrown throws itself where it is asked.
    const { what, word } = owner
    return new GradpromptError(`${word}-failed`, `${what} failed in ${name}: ${thrown(error)}`, { exitCode: 1 })
  }
}

function known(error: unknown, { what, word }: Owner, name: string): unknown {
  if (error instanceof GradpromptError || error instanceof Ending || isFullDisk(error)) return error
  if (error instanceof Error && error.name === 'AbortError') return error
  const line = error instanceof Error ? lineIn(framesOf(error.stack), isOurs) : undefined
  return new GradpromptError(`${word}-failed`, `${what} failed in ${name}: ${thrown(error)}`, {
    ...(line !== undefined && { found: `at ${line}` }),
    exitCode: 1,
    cause: error,
  })
}

/** What was thrown in words, whatever it is: what is asked of it may throw as well. */
export function thrown(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error)
  } catch {
    return `a thrown ${typeof error}`
  }
}

/** Something that was given, in a few words. */
export function inWords(value: unknown): string {
  try {
    return words(value)
  } catch {
    return `a ${typeof value} that cannot be looked at`
  }
}

function words(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  if (typeof value === 'object') {
    const shape = 'shape' in value && 'dataId' in value ? value.shape : undefined
    if (Array.isArray(shape)) return `a tensor of shape [${shape.join(', ')}]`
    const { name = 'object' } = (value.constructor as { name?: string } | undefined) ?? {}
    const size = ArrayBuffer.isView(value) && 'length' in value ? ` of ${String(value.length)}` : ''
    if (name !== 'Object') return `a ${name}${size}`
    return `an object with ${Object.keys(value).slice(0, 12).join(', ') || 'no members'}`
  }
  return `the ${typeof value} ${String(value).slice(0, 80)}`
}

/** That something is an object, and what it has to have. */
export const anObject =
  (expected: string): Look =>
  given =>
    isRecord(given) ? undefined : { found: inWords(given), expected }

/** That something is a text, or nothing. */
export const textOrNothing: Look = given =>
  given === undefined || typeof given === 'string' ? undefined : { found: inWords(given), expected: 'a text, or nothing' }
