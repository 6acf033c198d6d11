import { GradpromptError } from '../../errors.js'
import { isRecord } from '../../json.js'
import { checkRegex } from './regex.js'

/**
 * What a JSON Schema may say, where answers are limited to it. What the grammar would leave out of account is refused: an answer that
 * does not hold to its schema is worse than none.
 */

/** They say nothing about what is valid. */
const remarks = new Set([
  ...['title', 'description', 'default', 'examples', 'deprecated', 'readOnly', 'writeOnly'],
  ...['$schema', '$id', '$comment', 'format', 'strict'],
])
/** Keywords that hold other schemas: one, a list, or one for each name. */
const nested = {
  one: ['additionalProperties', 'items'],
  list: ['anyOf', 'oneOf', 'allOf', 'prefixItems'],
  named: ['properties', '$defs', 'definitions'],
}
const known = new Set([
  ...remarks,
  ...Object.values(nested).flat(),
  ...['type', 'enum', 'const', 'required', 'minItems', 'maxItems', 'minLength', 'maxLength', 'pattern', '$ref'],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'minProperties', 'maxProperties'],
])
const bounds = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum']
const types = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']
/** Keywords beside which nothing else is heard. */
const alone = ['$ref', 'anyOf', 'oneOf', 'allOf', 'enum', 'const']

/**
 * @param schema as JSON has it; `true` and an empty one allow any value
 * @throws GradpromptError `invalid-schema` for what is no JSON Schema, `unsupported-schema` for what the grammar cannot hold an answer to;
 *   both say where
 */
export function checkSchema(schema: unknown, path = 'schema'): void {
  if (schema === true) return
  if (schema === false) throw invalid(path, 'false, which nothing is valid under', 'a schema that some answer is valid under')
  if (!isRecord(schema)) throw invalid(path, shown(schema), 'an object such as { "type": "object", "properties": { … } }')
  for (const name of Object.keys(schema)) if (!known.has(name)) throw unsupported(`${path}.${name}`, name)
  checkTypes(schema, path)
  checkCombination(schema, path)
  checkTexts(schema, path)
  checkBounds(schema, path)
  checkRequired(schema, path)
  for (const name of nested.one) {
    if (schema[name] === undefined || schema[name] === false) continue
    if (Array.isArray(schema[name])) throw unsupported(`${path}.${name}`, `a list of ${name}`, 'prefixItems says the same')
    checkSchema(schema[name], `${path}.${name}`)
  }
  for (const name of nested.list) {
    const list = schema[name]
    if (list === undefined) continue
    if (!Array.isArray(list) || list.length === 0) throw invalid(`${path}.${name}`, shown(list), 'a list of schemas')
    for (const [i, one] of list.entries()) checkSchema(one, `${path}.${name}[${i}]`)
  }
  for (const name of nested.named) {
    const named = schema[name]
    if (named === undefined) continue
    if (!isRecord(named)) throw invalid(`${path}.${name}`, shown(named), 'an object of schemas by their names')
    for (const [key, one] of Object.entries(named)) checkSchema(one, `${path}.${name}.${key}`)
  }
}

type Schema = Readonly<Record<string, unknown>>

function checkTypes({ type, enum: values }: Schema, path: string): void {
  if (type !== undefined && ![type].flat().every(one => typeof one === 'string' && types.includes(one)))
    throw invalid(`${path}.type`, shown(type), `one of ${types.join(', ')}, or a list of them`)
  if (values !== undefined && !(Array.isArray(values) && values.length > 0))
    throw invalid(`${path}.enum`, shown(values), 'a list of the values that are valid')
}

function checkCombination(schema: Schema, path: string): void {
  const said = Object.keys(schema).filter(name => !remarks.has(name) && name !== '$defs' && name !== 'definitions')
  const [own] = said.filter(name => alone.includes(name))
  if (own === undefined) return
  const isValue = own === 'enum' || own === 'const'
  const beside = said.find(name => name !== own && !(isValue && name === 'type'))
  if (beside !== undefined) throw unsupported(`${path}.${beside}`, `${beside} beside ${own}`)
  const { allOf, $ref } = schema
  if (Array.isArray(allOf) && allOf.length > 1)
    throw unsupported(`${path}.allOf`, `allOf of ${allOf.length} schemas`, 'one schema with the properties of all of them')
  if ($ref !== undefined && !(typeof $ref === 'string' && /^#(\/|$)/.test($ref)))
    throw unsupported(`${path}.$ref`, shown($ref), 'a place in this schema, such as #/$defs/name')
}

function checkTexts({ pattern, minLength, maxLength }: Schema, path: string): void {
  if (pattern === undefined) return
  if (typeof pattern !== 'string') throw invalid(`${path}.pattern`, shown(pattern), 'a regular expression')
  checkRegex(pattern, `${path}.pattern`)
  if (minLength !== undefined || maxLength !== undefined)
    throw unsupported(`${path}.pattern`, 'a pattern beside a length', 'a pattern that says how often, such as [a-z]{2,8}')
}

/** The grammar's decimals take any character for their point where they are bounded. */
function checkBounds(schema: Schema, path: string): void {
  const bounded = bounds.filter(name => schema[name] !== undefined)
  const [name] = bounded
  if (name === undefined) return
  if (schema.type !== 'integer')
    throw unsupported(`${path}.${name}`, `${name} of what is no integer`, 'bounds of type integer alone')
  for (const name of bounded)
    if (!Number.isSafeInteger(schema[name])) throw unsupported(`${path}.${name}`, shown(schema[name]), 'a whole number')
}

function checkRequired({ required, properties = {} }: Schema, path: string): void {
  if (required === undefined) return
  if (!Array.isArray(required) || !required.every(name => typeof name === 'string'))
    throw invalid(`${path}.required`, shown(required), 'a list of names')
  const missing = required.find(name => isRecord(properties) && !Object.hasOwn(properties, name))
  if (missing !== undefined) throw unsupported(`${path}.required`, `${missing}, which properties does not describe`)
}

const shown = (value: unknown) => (JSON.stringify(value) ?? 'nothing').slice(0, 120)

const invalid = (place: string, found: string, expected: string) =>
  new GradpromptError('invalid-schema', `${place} is not valid`, { found, expected })

const unsupported = (place: string, found: string, hint?: string) =>
  new GradpromptError('unsupported-schema', `answers cannot be held to ${place}`, {
    found,
    expected: `keywords out of ${[...known].filter(name => !remarks.has(name)).join(', ')}`,
    ...(hint !== undefined && { hint }),
  })
