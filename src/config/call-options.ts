import { GradpromptError, unknownName } from '../errors.js'

/**
 * What every call of the library has for its own options: a name that nothing reads is a mistake, and never ignored. It knows no call.
 */

/** The names of a call's options, each once: `satisfies OptionNames<Options>` keeps the list and the type the same. */
export type OptionNames<Options> = { readonly [Name in keyof Required<Options>]: true }

/**
 * @param call what the message calls it: `evaluate`
 * @throws GradpromptError `unknown-option` with the nearest known one
 */
export function refuseUnknown(call: string, options: object | undefined, known: Readonly<Record<string, true>>): void {
  const names = Object.keys(known)
  const unknown = Object.keys(options ?? {}).find(name => !Object.hasOwn(known, name))
  if (unknown === undefined) return
  throw unknownName('unknown-option', `${call} has no option ${unknown}`, unknown, names)
}

/** @throws GradpromptError `invalid-option` for a number that is not whole, or below `least` */
export function requireCounts(given: Readonly<Record<string, number>>, least = 1): void {
  for (const [name, value] of Object.entries(given))
    if (!(Number.isInteger(value) && value >= least))
      throw new GradpromptError('invalid-option', `${name} is not valid`, {
        found: String(value),
        expected: `a whole number, at least ${least}`,
      })
}

/** Decides every random choice where nothing else does. */
export const defaultSeed = 13
