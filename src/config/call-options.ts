import { GradpromptError, unknownName } from '../errors.js'
import { isRecord } from '../json.js'
import { inWords } from '../own-calls.js'

/**
 * What every call of the library has for its own options: a name that nothing reads is a mistake, and never ignored, and so is a value
 * that no call takes under a name. It knows no call.
 */

/** The names of a call's options, each once: `satisfies OptionNames<Options>` keeps the list and the type the same. */
export type OptionNames<Options> = { readonly [Name in keyof Required<Options>]: true }

type Test = readonly [expected: string, isOne: (value: unknown) => boolean]

const wholeFrom = (least: number): Test => [
  `a whole number, at least ${least}`,
  value => Number.isSafeInteger(value) && (value as number) >= least,
]
const aNumber: Test = ['a number', value => Number.isFinite(value)]
const aFunction: Test = ['a function', value => typeof value === 'function']
const aSignal: Test = ['the signal of an AbortController', value => isRecord(value) && typeof value.aborted === 'boolean']

/** What a name means in every call that has it: all that some call takes passes, and the call itself may take less. */
const tests: Readonly<Record<string, Test>> = {
  batchSize: wholeFrom(1),
  limit: wholeFrom(1),
  maxNewTokens: wholeFrom(0),
  seed: wholeFrom(0),
  shots: wholeFrom(0),
  threads: wholeFrom(1),
  memory: ['a number above 0', value => Number.isFinite(value) && (value as number) > 0],
  minP: aNumber,
  repetitionPenalty: aNumber,
  task: ['a text or an object', value => typeof value === 'string' || isRecord(value)],
  temperature: aNumber,
  topK: aNumber,
  topP: aNumber,
  onAnswer: aFunction,
  onColumns: aFunction,
  onDownload: aFunction,
  onEvent: aFunction,
  onOpened: aFunction,
  onProgress: aFunction,
  onRequest: aFunction,
  onStep: aFunction,
  onWarning: aFunction,
  signal: aSignal,
}

/**
 * Refuses options that a call has not, and values that no call takes under their names.
 * @param call what the message calls it: `evaluate`
 * @throws GradpromptError `unknown-option` with the nearest known one; `invalid-option`
 */
export function refuseUnknown(call: string, options: unknown, known: Readonly<Record<string, true>>): void {
  const names = Object.keys(known)
  if (!isRecord(options))
    throw new GradpromptError('invalid-option', `${call} takes its options as an object`, {
      found: inWords(options),
      expected: `an object of ${names.join(', ')}`,
    })
  const unknown = Object.keys(options).find(name => !Object.hasOwn(known, name))
  if (unknown !== undefined) throw unknownName('unknown-option', `${call} has no option ${unknown}`, unknown, names)
  for (const [name, value] of Object.entries(options)) {
    const [expected, isOne] = (Object.hasOwn(tests, name) && tests[name]) || []
    if (value === undefined || expected === undefined || isOne?.(value)) continue
    throw new GradpromptError('invalid-option', `${call}: ${name} is not valid`, { found: inWords(value), expected })
  }
}

/** @throws GradpromptError `invalid-option` for a number that is not whole, or below `least` */
export function requireCounts(given: Readonly<Record<string, number>>, least = 1): void {
  const [expected, isOne] = wholeFrom(least)
  for (const [name, value] of Object.entries(given))
    if (!isOne(value)) throw new GradpromptError('invalid-option', `${name} is not valid`, { found: String(value), expected })
}

/** Where a flag is spelt otherwise, both. */
const nameOf = (name: string) => {
  const flag = name.replaceAll(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
  return flag === name ? name : `${name} (--${flag})`
}

/**
 * Refuses options that are given where nothing reads them.
 * @param because why, and `expected` where they are read
 * @throws GradpromptError `invalid-option`
 */
export function refuseUnread(options: object, because: string, expected: string): void {
  const [given] = Object.entries(options).filter(([, value]) => value !== undefined && value !== false)
  if (given === undefined) return
  throw new GradpromptError('invalid-option', `${nameOf(given[0])} has no effect here: ${because}`, {
    found: inWords(given[1]),
    expected,
  })
}

/** Decides every random choice where nothing else does. */
export const defaultSeed = 13
