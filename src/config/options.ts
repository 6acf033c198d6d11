/** The part of JSON Schema that the config uses. */
export interface OptionSchema {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly default?: unknown
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly properties?: Readonly<Record<string, OptionSchema | boolean>>
  readonly additionalProperties?: OptionSchema | boolean
  readonly items?: unknown
  readonly anyOf?: readonly unknown[]
  readonly oneOf?: readonly unknown[]
}

export type OptionPath = readonly (string | number)[]

const isSchema = (value: unknown): value is OptionSchema => typeof value === 'object' && value !== null && !Array.isArray(value)

/** A union's members one by one; those whose `const` properties contradict `input` are left out. */
export function alternatives(schema: OptionSchema, input?: unknown): OptionSchema[] {
  const members = schema.anyOf ?? schema.oneOf
  if (members !== undefined) {
    const all = members.filter(isSchema).flatMap(member => alternatives(member, input))
    const fitting = all.filter(member => agrees(member, input))
    return fitting.length > 0 ? fitting : all
  }
  return [schema]
}

function agrees(schema: OptionSchema, input: unknown): boolean {
  if (!isSchema(input)) return true
  return Object.entries(schema.properties ?? {}).every(([name, property]) => {
    const constant = isSchema(property) ? property.const : undefined
    const value = (input as Record<string, unknown>)[name]
    return constant === undefined || value === undefined || value === constant
  })
}

/** What may stand at a path, with the schema that carries its description first. Empty when the path is unknown. */
export function schemasAt(root: OptionSchema, path: OptionPath, input?: unknown): OptionSchema[] {
  let level = [root]
  let value = input
  for (const key of path) {
    level = level.flatMap(schema => alternatives(schema, value)).flatMap(schema => child(schema, key))
    value = isSchema(value) || Array.isArray(value) ? (value as Record<string | number, unknown>)[key] : undefined
  }
  return level
}

function child(schema: OptionSchema, key: string | number): OptionSchema[] {
  const { properties, additionalProperties, items } = schema
  if (typeof key === 'number') return isSchema(items) ? [items] : []
  if (properties !== undefined && Object.hasOwn(properties, key)) return [properties[key]].filter(isSchema)
  return isSchema(additionalProperties) ? [additionalProperties] : []
}

/** The names that may stand under a path. */
export function knownNames(root: OptionSchema, path: OptionPath, input?: unknown): string[] {
  let value = input
  for (const key of path)
    value = isSchema(value) || Array.isArray(value) ? (value as Record<string | number, unknown>)[key] : undefined
  const schemas = schemasAt(root, path, input).flatMap(schema => alternatives(schema, value))
  return [...new Set(schemas.flatMap(schema => Object.keys(schema.properties ?? {})))]
}

export interface Option {
  /** Dotted: `train.learningRate`. */
  readonly path: string
  readonly description: string
  readonly default: unknown
}

/** Every option that holds a value, by its dotted path. */
export function listOptions(root: OptionSchema, prefix = ''): Option[] {
  const found = new Map<string, Option>()
  for (const schema of alternatives(root))
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      if (!isSchema(property)) continue
      const path = prefix + name
      const below = listOptions(property, `${path}.`)
      const holdsValue = alternatives(property).some(member => member.properties === undefined)
      const own = { path, description: property.description ?? '', default: property.default }
      for (const option of holdsValue ? [own, ...below] : below) if (!found.has(option.path)) found.set(option.path, option)
    }
  return [...found.values()]
}
