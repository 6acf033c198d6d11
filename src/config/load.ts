import { readFile, stat } from 'node:fs/promises'
import { parse as parseValue } from 'yaml'
import { GradpromptError } from '../errors.js'
import { isRecord, jsonOrUndefined } from '../json.js'
import { alternatives, type OptionPath, type OptionSchema, schemasAt } from './options.js'
import { type ConfigOrigin, unknownOption } from './problems.js'
import { parseYaml } from './yaml.js'

type Mapping = Record<string, unknown>

const largestConfig = 4 * 1024 * 1024

/**
 * Reads a config file, YAML or JSON (which is YAML too). Paths inside it are not changed: they are relative to the working
 * directory, as on the command line, not to the file. A `$schema`, which a JSON file names for editors, is left out.
 * @throws GradpromptError `file-not-found`, or `invalid-config` with the line
 */
export async function loadConfigFile(path: string): Promise<Mapping> {
  let text: string
  try {
    const { size } = await stat(path)
    if (size > largestConfig)
      throw new GradpromptError('invalid-config', `${path} is too large for a config`, {
        found: `${size} bytes`,
        expected: `at most ${largestConfig} bytes`,
      })
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (cause instanceof GradpromptError) throw cause
    throw new GradpromptError('file-not-found', `cannot read the config ${path}`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a YAML or JSON file',
      cause,
    })
  }
  const parsed = parseYaml(text)
  if ('problem' in parsed) {
    const { message, line, column, cause } = parsed.problem
    const place = line === undefined ? path : `${path}:${line}:${column}`
    throw invalid(`${place}: ${message}`, { expected: 'YAML or JSON', cause })
  }
  const { value } = parsed
  if (!isRecord(value))
    throw invalid(`${path} is not a config`, {
      found:
        value === null || value === undefined
          ? 'nothing'
          : Array.isArray(value)
            ? 'a list'
            : `the ${typeof value} ${String(value)}`,
      expected: 'a mapping of options, such as "data: { train: train.tsv }"',
    })
  const config = without(value, ['$schema'])
  places.set(config, option => parsed.lineOf(option))
  return config
}

const places = new WeakMap<object, (option: OptionPath) => number | undefined>()

/**
 * Who says what of a config that flags are laid over, for messages: the file with the line, or the flag.
 * @param file what `loadConfigFile` has read, and its path
 * @param named flags by how they were written, where that is not their dotted name: `--steps`
 */
export function configOrigin(
  file: { readonly path: string; readonly config: object } | undefined,
  flags: Readonly<Mapping>,
  named: Readonly<Record<string, string>>,
  root: OptionSchema,
): ConfigOrigin {
  const set = Object.keys(flags).map(flag => ({ flag, path: optionPath(root, flag) }))
  const names = [...(file ? [file.path] : []), ...(set.length > 0 || file === undefined ? ['command line'] : [])]
  return {
    name: names.join(' and '),
    at(path) {
      const own = set.find(one => one.path.every((key, i) => key === path[i]))
      if (own !== undefined)
        return {
          source: 'command line',
          option: [named[own.flag] ?? printFlag(own.path), ...path.slice(own.path.length)].join('.'),
        }
      if (file === undefined) return undefined
      // Of what is missing the line is that of the mapping that it is missing in.
      for (let length = path.length; length > 0; length--) {
        const line = places.get(file.config)?.(path.slice(0, length))
        if (line !== undefined) return { source: `${file.path}:${line}` }
      }
      return { source: file.path }
    },
  }
}

/**
 * Lays flags over a config: `{ 'train.learning-rate': '0.01' }` becomes `train: { learningRate: 0.01 }`. Segments may be
 * kebab-case or camelCase. Text is read as the option's type says; where the option is a text it stays as it is, unless it may also be a
 * mapping, and stands in braces, or a list, and is one of JSON; otherwise a list may be written `a,b`, a mapping `a=b,c=d`. A flag also takes out what it contradicts in the config: `train.steps` takes out `train.epochs` (and
 * the other way round), and another `type` takes out the options of the old one.
 * @param root the options there are
 * @returns a new config; the given one is not changed
 * @throws GradpromptError `unknown-option`, or `invalid-config` when a flag's text cannot be read
 */
export function mergeFlags(config: Readonly<Mapping>, flags: Readonly<Mapping>, root: OptionSchema): Mapping {
  const settings = Object.entries(flags)
    .filter(([, value]) => value !== undefined)
    .map(([flag, value]) => ({ flag, path: optionPath(root, flag), value }))
  const isSet = (dotted: string) => settings.some(({ path }) => path.join('.') === dotted)
  let merged: Mapping = config
  if (isSet('train.steps') && !isSet('train.epochs')) merged = without(merged, ['train', 'epochs'])
  if (isSet('train.epochs') && !isSet('train.steps')) merged = without(merged, ['train', 'steps'])
  // A type comes before the options that belong to it.
  const isType = (path: readonly string[]) => Number(path.at(-1) === 'type')
  settings.sort((a, b) => isType(b.path) - isType(a.path) || a.path.length - b.path.length)
  for (const { flag, path, value } of settings) merged = assign(merged, path, readFlag(root, flag, path, value))
  return merged
}

function optionPath(root: OptionSchema, flag: string): string[] {
  const path: string[] = []
  for (const segment of flag.split('.')) {
    const camelCase = segment.replace(/-+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
    // Under labels a name is the user's own and stays as it is.
    const name = [camelCase, segment].find(name => isNamed(root, path, name)) ?? segment
    if (schemasAt(root, [...path, name]).length === 0)
      throw unknownOption(camelCase, path, root, undefined, 'command line', printFlag)
    path.push(name)
  }
  return path
}

const isNamed = (root: OptionSchema, path: readonly string[], name: string) =>
  schemasAt(root, path)
    .flatMap(schema => alternatives(schema))
    .some(schema => schema.properties !== undefined && Object.hasOwn(schema.properties, name))

/** `['train', 'learningRate']` -> `--train.learning-rate` */
function printFlag(path: readonly (string | number)[]): string {
  return `--${path.map(key => String(key).replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)).join('.')}`
}

function readFlag(root: OptionSchema, flag: string, path: readonly string[], value: unknown): unknown {
  if (typeof value !== 'string') return value
  try {
    return readText(schemasAt(root, path), value)
  } catch (cause) {
    throw invalid(`command line: ${printFlag(path)} cannot be read`, {
      found: value,
      expected: 'a number, true, false, null, [a, list] or { a: mapping }',
      hint: `given as ${flag}`,
      cause,
    })
  }
}

/** A text as the first of what an option may be: a text, a number or a switch, one of several words, a list, or whatever YAML says. */
function readText(given: readonly OptionSchema[], text: string): unknown {
  const schemas = given.flatMap(schema => alternatives(schema))
  const isWord = (schema: OptionSchema) => schema.const !== undefined || schema.enum !== undefined
  const takes = (type: string) => schemas.some(schema => schema.type === type && !isWord(schema))
  if (takes('string'))
    return (takes('object') ? mappingIn(text) : undefined) ?? (takes('array') ? listIn(text) : undefined) ?? text
  const isPlain = /^(true|false|null|[-+]?\.?\d[\w.+-]*)$/.test(text.trim())
  const plain: unknown = isPlain ? parseValue(text) : undefined
  if (typeof plain === 'number' ? takes('number') || takes('integer') : plain === null ? takes('null') : takes(typeof plain))
    return plain
  if (schemas.some(isWord)) return text
  const pairs = /^\s*\{/.test(text) ? undefined : pairsIn(text)
  const entries = schemas.flatMap(({ additionalProperties }) =>
    typeof additionalProperties === 'object' ? [additionalProperties] : [],
  )
  if (pairs !== undefined && entries.length > 0)
    return Object.fromEntries(pairs.map(([name, value]) => [name, readText(entries, value)]))
  if (takes('array') && !text.trimStart().startsWith('[')) {
    const items = schemas.flatMap(schema => schemasAt(schema, [0]))
    return text.split(',').map(part => (items.length > 0 ? readText(items, part.trim()) : part.trim()))
  }
  return parseValue(text, { maxAliasCount: 0 })
}

/** A mapping in the place of a name: `{"url": "…"}`; undefined where YAML does not read it as one. */
function mappingIn(text: string): Mapping | undefined {
  if (!/^\s*\{[\s\S]*\}\s*$/.test(text)) return undefined
  const parsed = parseYaml(text)
  return 'value' in parsed && isRecord(parsed.value) ? parsed.value : undefined
}

/** A list in the place of a text, which may begin with a bracket of its own: JSON alone is one. */
function listIn(text: string): readonly unknown[] | undefined {
  const value = /^\s*\[/.test(text) ? jsonOrUndefined(text) : undefined
  return Array.isArray(value) ? value : undefined
}

/** `0=no,1=yes`; undefined where that is not what a text is, or a name stands there twice. */
function pairsIn(text: string): (readonly [string, string])[] | undefined {
  const pairs = text.split(',').map(part => /^\s*([^=]*[^=\s])\s*=(.*)$/s.exec(part))
  if (pairs.some(pair => pair === null)) return undefined
  const read = pairs.map(pair => [pair![1]!, pair![2]!.trim()] as const)
  return new Set(read.map(([name]) => name)).size === read.length ? read : undefined
}

/** A copy with `value` at `path`. */
function assign(config: Mapping, path: readonly string[], value: unknown): Mapping {
  const [key, ...rest] = path
  if (key === undefined) return config
  if (rest.length === 0) {
    const kept = key === 'type' && config.type !== value ? {} : config
    return { ...kept, [key]: value }
  }
  const below = Object.hasOwn(config, key) ? config[key] : undefined
  return { ...config, [key]: assign(isRecord(below) ? below : {}, rest, value) }
}

/** A copy without what stands at `path`. */
function without(config: Mapping, path: readonly string[]): Mapping {
  const [key, ...rest] = path
  if (key === undefined || !Object.hasOwn(config, key)) return config
  const below = config[key]
  if (rest.length > 0) return isRecord(below) ? { ...config, [key]: without(below, rest) } : config
  return Object.fromEntries(Object.entries(config).filter(([name]) => name !== key))
}

const invalid = (message: string, details: { found?: string; expected?: string; hint?: string; cause?: unknown }) =>
  new GradpromptError('invalid-config', message, details)
