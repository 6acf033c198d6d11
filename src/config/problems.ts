import type { z } from 'zod'
import { didYouMean, GradpromptError, nearest } from '../errors.js'
import { knownNames, listOptions, type OptionPath, type OptionSchema, schemasAt } from './options.js'

type Issue = z.core.$ZodIssue

/**
 * Who says what of a config, for messages: one name for all of it, or what knows of each option whether a file or a flag has set it.
 */
export type ConfigSource = string | ConfigOrigin

export interface ConfigOrigin {
  /** Of the whole. */
  readonly name: string
  /** Who has set an option, and how that one calls it; nothing where nobody has. */
  at(path: OptionPath): { readonly source: string; readonly option?: string } | undefined
}

export const sourceName = (source: ConfigSource): string => (typeof source === 'string' ? source : source.name)

/** An `invalid-config` error: `source` is the file, `message` names the options. */
export function invalidConfig(source: string, message: string, details: { found?: string; expected?: string; hint?: string }) {
  return new GradpromptError('invalid-config', `${source}: ${message}`, details)
}

/** The one problem to mend first, in words: an unknown option before anything that may follow from it. */
export function configProblem(
  issues: readonly Issue[],
  input: unknown,
  root: OptionSchema,
  source: ConfigSource,
): GradpromptError {
  const issue = firstIssue(issues, input)
  if (issue === undefined) return invalidConfig(sourceName(source), 'not a config', {})
  const path = pathOf(issue)
  if (issue.code === 'unrecognized_keys') {
    const [unknown = ''] = issue.keys
    return unknownOption(unknown, path, root, input, placeOf(source, [...path, unknown]).source)
  }
  const { source: place, option: name } = placeOf(source, path)
  const value = valueAt(input, path)
  const described = [path, path.slice(0, -1)].find(part => part.length > 0 && description(root, part, input) !== undefined)
  const details: { found: string; expected: string; hint?: string } = {
    found: unsecret(path, value),
    expected: expectation(issue),
  }
  const hint = typeof value === 'string' ? didYouMean(value, choices(issue)) : undefined
  if (hint !== undefined) details.hint = hint
  else if (wantsQuotes(details.expected, value)) details.hint = `put it in quotes: "${bracedText(value) ?? printValue(value)}"`
  else if (described !== undefined) details.hint = `${printPath(described)}: ${description(root, described, input)}`
  const what = path.length === 0 ? 'not a config' : value === undefined ? `${name} is missing` : `${name} is not valid`
  return invalidConfig(place, what, details)
}

/** What a schema refuses of a value that is no config, such as the body of a request. */
export interface ValueProblem {
  /** `messages[0].role`; empty where the value as a whole is meant. */
  readonly name: string
  readonly isMissing: boolean
  readonly found: string
  readonly expected: string
  /** All of it. */
  readonly message: string
}

/** The one problem of a value to mend first, in the words that configs have. */
export function valueProblem(issues: readonly Issue[], input: unknown): ValueProblem {
  const issue = firstIssue(issues, input)!
  const path = [...pathOf(issue), ...(issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [])]
  const value = valueAt(input, path)
  const name = printPath(path)
  const isMissing = value === undefined
  const expected = issue.code === 'unrecognized_keys' ? 'nothing of this name' : expectation(issue)
  const found = unsecret(path, value)
  const message = `${name || 'this'} ${isMissing ? 'is missing:' : `is not valid: found ${found},`} expected ${expected}`
  return { name, isMissing, found, expected, message }
}

function firstIssue(issues: readonly Issue[], input: unknown): Issue | undefined {
  return issues.map(issue => relevant(issue, input)).sort((a, b) => rank(a) - rank(b))[0]
}

const pathOf = (issue: Issue) => issue.path.map(key => (typeof key === 'number' ? key : String(key)))

/** A value as a message shows it: a key that stands where the name of one belongs, or in an address, is not repeated. */
const unsecret = (path: readonly (string | number)[], value: unknown): string =>
  path.at(-1) === 'key' ? 'a text that is not shown' : printValue(value).replaceAll(/\/\/[^/@\s"]+@/g, '//…@')

function placeOf(source: ConfigSource, path: OptionPath): { source: string; option: string } {
  const found = typeof source === 'string' ? undefined : source.at(path)
  return { source: found?.source ?? sourceName(source), option: found?.option ?? printPath(path) }
}

/** The text that was written where YAML has read `{column}` as a mapping. */
const bracedText = (value: unknown): string | undefined => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const [[column, nothing] = [], ...others] = Object.entries(value)
  return nothing === null && others.length === 0 ? `{${column}}` : undefined
}

/** A number or a word that YAML reads as something else, where a text may stand. */
const wantsQuotes = (expected: string, value: unknown) =>
  value !== undefined &&
  (expected === typeNames.string || (typeof value !== 'object' && expected.split(', or ').includes(typeNames.string!)))

/** An `unknown-option` error that lists the options at that place and names the one that was probably meant. */
export function unknownOption(
  name: string,
  path: OptionPath,
  root: OptionSchema,
  input: unknown,
  source: string,
  print: (path: OptionPath) => string = printPath,
): GradpromptError {
  const known = knownNames(root, path, input)
  const split = (dotted: string) => dotted.split('.')
  // Of several of the name the one that is not hidden deep in another.
  const [elsewhere] = listOptions(root)
    .filter(option => split(option.path).at(-1) === name)
    .sort((a, b) => split(a.path).length - split(b.path).length)
  const close = nearest(name, known)
  const other = elsewhere === undefined ? undefined : split(elsewhere.path)
  const meant = close !== undefined ? [...path, close] : other
  const ofOtherType = other !== undefined && printPath(other) === printPath([...path, name])
  return new GradpromptError('unknown-option', `${source}: there is no option ${print([...path, name])}`, {
    found: name,
    expected: known.length > 0 ? `one of ${known.join(', ')}` : `${printPath(path)} has no options of its own`,
    ...(ofOtherType
      ? { hint: `${print([...path, name])} belongs to another ${print([...path, 'type'])}` }
      : meant === undefined
        ? {}
        : { hint: `did you mean ${print(meant)}?` }),
  })
}

const description = (root: OptionSchema, path: OptionPath, input: unknown) => schemasAt(root, path, input)[0]?.description

const rank = (issue: Issue) => (issue.code === 'unrecognized_keys' ? 0 : 1)

/** Of a union, the problem within the member that was meant, when one member has the right type. */
function relevant(issue: Issue, input: unknown): Issue {
  if (issue.code !== 'invalid_union' || ownWords(issue) !== undefined) return issue
  const typed = issue.errors.filter(member => !member.some(inner => inner.code === 'invalid_type' && inner.path.length === 0))
  const inner = typed.length === 1 ? typed[0]?.[0] : undefined
  return inner === undefined ? issue : relevant({ ...inner, path: [...issue.path, ...inner.path] }, input)
}

const typeNames: Record<string, string> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping of options',
  record: 'a mapping',
  null: 'null',
}

/** What a schema says itself of what it expects, and not its library. */
const ownWords = (issue: Issue): string | undefined =>
  /^(?:Invalid \w|Too (?:big|small): |Unrecognized key)/.test(issue.message) ? undefined : issue.message

function expectation(issue: Issue): string {
  const own = ownWords(issue)
  if (own !== undefined) return own
  switch (issue.code) {
    case 'invalid_type':
      return typeNames[issue.expected] ?? issue.expected
    case 'invalid_value':
      return `one of ${issue.values.map(String).join(', ')}`
    case 'too_small':
      return bound(issue.origin, issue.inclusive === false ? 'more than' : 'at least', issue.minimum)
    case 'too_big':
      return bound(issue.origin, issue.inclusive === false ? 'less than' : 'at most', issue.maximum)
    case 'invalid_union': {
      const known = 'options' in issue ? choices(issue) : []
      if (known.length > 0) return `one of ${known.join(', ')}`
      return [...new Set(issue.errors.flatMap(member => member.slice(0, 1)).map(expectation))].join(', or ')
    }
    default:
      return issue.message
  }
}

function bound(origin: string, relation: string, limit: number | bigint): string {
  if (origin === 'string') return `a text of ${relation} ${limit} characters`
  if (origin === 'array') return `a list of ${relation} ${limit}`
  return `${relation} ${limit}`
}

/** The words that would have been valid, where there is a list of them. */
function choices(issue: Issue): string[] {
  if (issue.code === 'invalid_value') return issue.values.map(String)
  if (issue.code === 'invalid_union' && 'options' in issue && Array.isArray(issue.options)) return issue.options.map(String)
  if (issue.code === 'invalid_union') return issue.errors.flatMap(member => member.slice(0, 1)).flatMap(choices)
  return []
}

/** `['data', 'columns', 0]` -> `data.columns[0]` */
export function printPath(path: OptionPath): string {
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : i === 0 ? key : `.${key}`)).join('')
}

function valueAt(input: unknown, path: OptionPath): unknown {
  let value = input
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<string | number, unknown>)[key]
  }
  return value
}

const mostShown = 80

/** What is shown of a value at most, whose whole may be a million tokens. */
const beginning = (value: unknown): unknown =>
  typeof value === 'string' || Array.isArray(value) ? value.slice(0, mostShown) : value

function printValue(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (typeof value === 'number') return String(value)
  const text = JSON.stringify(value, (_, inner: unknown) => beginning(inner)) ?? String(value)
  return text.length > mostShown ? `${text.slice(0, mostShown - 3)}...` : text
}
