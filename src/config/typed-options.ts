import { z } from 'zod'
import { isRecord } from '../json.js'
import { inWords, isPromise } from '../own-calls.js'

/**
 * Options of whatever is chosen by a `type`: as an entry of a registry declares them, and as a config's schema takes them. It knows no
 * entry.
 */

/**
 * What declares options: a zod object (its descriptions and defaults then stand in `--help`, and what is wrong is said as of any other
 * option), or a function that checks what was given and returns the options with their defaults filled in.
 */
export type OptionsDeclaration<Options = unknown> = z.ZodType<Options> | ((given: Readonly<Record<string, unknown>>) => Options)

/** A schema of `{ type, …options }`, as a member of a union by `type`. */
export type TypedOptions = z.ZodObject<{ type: z.ZodLiteral<string> }>

/**
 * The schema of an entry's options, `type` included.
 * @param description of the type, for the list of options
 * @param common options that every entry has beside its own; a function that declares options does not see them
 */
export function typedOptions(type: string, declared: unknown, description: string, common: z.ZodRawShape = {}): TypedOptions {
  const shape = { ...common, type: z.literal(type).describe(description) }
  if (declared === undefined) return z.strictObject(shape) as unknown as TypedOptions
  if (isZodObject(declared)) {
    // Names that nobody reads are refused, unless the schema says that it takes any.
    const closed = declared.def.catchall === undefined ? declared.strict() : declared
    // What is said of options together stays; otherwise the type can stand first, where people look for it.
    if ((declared.def.checks ?? []).length > 0) return closed.safeExtend(shape) as unknown as TypedOptions
    const { type: first, ...rest } = shape
    return z.object({ type: first, ...declared.shape, ...rest }).catchall(closed.def.catchall!) as unknown as TypedOptions
  }
  const checked = z.looseObject(shape).transform((given, context) => {
    const isOurs = ([name]: [string, unknown]) => Object.hasOwn(shape, name)
    const entries = Object.entries(given)
    const theirs = Object.fromEntries(entries.filter(entry => !isOurs(entry)))
    try {
      return { ...checkedOptions(declared, theirs), ...Object.fromEntries(entries.filter(isOurs)) }
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) })
      return z.NEVER
    }
  })
  // A union takes it as it does an object: by the type at its input.
  return checked as unknown as TypedOptions
}

function check(declared: unknown, given: Readonly<Record<string, unknown>>): unknown {
  if (parses(declared)) return declared.parse(given)
  return (declared as (given: Readonly<Record<string, unknown>>) => unknown)(given)
}

/** @throws Error what is wrong with the options, or with what the declaration makes of them */
function checkedOptions(declared: unknown, given: Readonly<Record<string, unknown>>): object {
  const made = check(declared, given)
  if (isRecord(made) && !isPromise(made)) return made
  throw new Error(`an object of options from the function that declares them, which gave back ${inWords(made)}`)
}

const parses = (value: unknown): value is { parse(given: unknown): unknown } =>
  typeof value === 'object' && value !== null && 'parse' in value && typeof value.parse === 'function'

const isZodObject = (value: unknown): value is z.ZodObject =>
  typeof value === 'object' && value !== null && '_zod' in value && 'safeExtend' in value
