import { alternatives, type OptionSchema } from '../../src/config/options.js'

/**
 * Values to try an option with, from its JSON Schema: every one of an enumeration, the other one of two, a small number. What a schema
 * cannot tell (a file, a text that means something) stands in a table of whoever asks. What the option does is unknown here.
 */

type Schema = OptionSchema & {
  readonly minimum?: number
  readonly exclusiveMinimum?: number
  readonly maximum?: number
  readonly exclusiveMaximum?: number
  readonly required?: readonly string[]
}

export type KnownValues = Readonly<Record<string, readonly unknown[]>>

export interface Trial {
  /** Dotted: `train.earlyStopping.patience`. */
  readonly path: string
  /** Of the option that was asked for, with the one at the path inside; undefined where none is known. */
  readonly value: unknown
}

/** An option, and every one below it, with each value that it is tried with. */
export function trials(path: string, schema: OptionSchema, known: KnownValues): Trial[] {
  if (path in known) return known[path]!.map(value => ({ path, value }))
  return alternatives(schema).flatMap(one => {
    const { properties } = one
    if (properties === undefined) return values(one as Schema).map(value => ({ path, value }))
    const required = requiredOf(path, one as Schema, known)
    const label = typeof required.type === 'string' ? `${path}(${required.type})` : path
    const below = Object.entries(properties).flatMap(([name, property]) =>
      typeof property === 'boolean' || property.const !== undefined
        ? []
        : trials(`${path}.${name}`, property, known).map(trial => ({
            path: trial.path.replace(path, label),
            value: { ...required, [name]: trial.value },
          })),
    )
    return [{ path: label, value: required }, ...below]
  })
}

function requiredOf(path: string, { properties = {}, required = [] }: Schema, known: KnownValues): Record<string, unknown> {
  const entries = Object.entries(properties).flatMap(([name, property]): [string, unknown][] => {
    if (typeof property === 'boolean') return []
    if (property.const !== undefined) return [[name, property.const]]
    return required.includes(name) ? [[name, known[`${path}.${name}`]?.[0] ?? values(property as Schema)[0]]] : []
  })
  return Object.fromEntries(entries)
}

function values(schema: Schema): unknown[] {
  const { type, minimum, exclusiveMinimum, maximum, exclusiveMaximum } = schema
  if (schema.const !== undefined) return [schema.const]
  if (schema.enum !== undefined) return schema.enum.filter(value => value !== schema.default)
  if (schema.anyOf !== undefined || schema.oneOf !== undefined) return alternatives(schema).flatMap(one => values(one as Schema))
  if (type === 'boolean') return [schema.default !== true]
  if (type === 'null') return [null]
  if (type === 'integer') return [Math.max(minimum ?? 0, 2)]
  if (type === 'number') {
    const most = maximum ?? exclusiveMaximum ?? 2
    return [most <= 1 ? most / 2 : Math.max(minimum ?? exclusiveMinimum ?? 0, 1)]
  }
  return [undefined]
}
