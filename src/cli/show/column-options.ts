import type { ColumnsGiven } from '../../data/columns-given.js'
import { GradpromptError } from '../../errors.js'

/** Columns and labels, as options of the command line write them. */

/**
 * `text,label`: names of the columns of a file without a header; `text=review,topic=subject`, or a JSON object: for a column of the template
 * the one of the data.
 * @throws GradpromptError `invalid-option`
 */
export function readColumns(text: string | undefined): ColumnsGiven | undefined {
  if (text === undefined) return undefined
  const isPairs = !isList(text) && (text.includes('=') || objectIn(text) !== undefined)
  return isPairs ? pairsOf(text, 'columns', 'names, or column=column pairs: --columns text=review') : namesOf(text, 'columns')
}

/** `a,b`, or a JSON list, in which a name may have a comma. @throws GradpromptError `invalid-option` */
export function namesOf(text: string, option: string): string[] {
  const names = isList(text) ? textsIn(text) : text.split(',').map(name => name.trim())
  if (names !== undefined) return names
  throw new GradpromptError('invalid-option', `--${option} is not valid`, {
    found: text,
    expected: `names divided by commas, or a JSON list of them: --${option} '["a, b","c"]'`,
  })
}

/** Names may begin with a bracket: what is meant for a list ends in one too, and quotes its texts. */
const isList = (text: string) => /^\s*\[\s*(?:"[\s\S]*)?\]\s*$/.test(text)

/** The texts of a JSON list, where it is one. */
export function textsIn(json: string): string[] | undefined {
  try {
    const list: unknown = JSON.parse(json)
    return Array.isArray(list) && list.every(text => typeof text === 'string') ? list : undefined
  } catch {
    return undefined
  }
}

/**
 * `text=a delight`, several of them, or `{"text": "a delight"}`: values for the columns of a template.
 * @throws GradpromptError `invalid-option`
 */
export function readValues(given: readonly string[]): Record<string, unknown> {
  const pairs = given.flatMap(text => Object.entries(objectIn(text) ?? pairIn(text)))
  return onceEach(pairs, 'columns', given.join(' '))
}

/** The JSON object that a text is, where it is one. */
export function objectIn(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

function pairIn(text: string): Record<string, string> {
  const at = text.indexOf('=')
  if (at > 0) return { [text.slice(0, at).trim()]: text.slice(at + 1) }
  throw new GradpromptError('invalid-option', '--columns is not valid', {
    found: text,
    expected: 'a value for a column of the template: --columns "text=a delight"; or, beside --input, names of its columns',
  })
}

/** `0=negative,1=positive`, or a JSON object @throws GradpromptError `invalid-option` */
export const readLabels = (text: string | undefined): Record<string, string> | undefined =>
  text === undefined ? undefined : pairsOf(text, 'labels', 'value=word pairs: --labels 0=negative,1=positive')

/** Spaces around a name and a value are left out; in a JSON object all stands as it is. */
function pairsOf(text: string, option: string, expected: string): Record<string, string> {
  const object = objectIn(text)
  const pairs = object === undefined ? text.split(',').map(pairOf) : Object.entries(object)
  if (pairs.every(pair => pair !== undefined && typeof pair[1] === 'string'))
    return onceEach(pairs as [string, string][], option, text)
  throw new GradpromptError('invalid-option', `--${option} is not valid`, { found: text, expected, hint: asObject(option) })
}

function pairOf(text: string): [string, string] | undefined {
  const [, name, value] = /^\s*([^=]*?)\s*=\s*(.*?)\s*$/s.exec(text) ?? []
  return name === undefined || value === undefined ? undefined : [name, value]
}

const asObject = (option: string) =>
  `names and values with commas, = or spaces at their ends stand in a JSON object: --${option} '{"a ": "b, c"}'`

/** @throws GradpromptError `invalid-option` where a name has two values, of which one would be lost */
function onceEach<Value>(pairs: readonly (readonly [string, Value])[], option: string, found: string): Record<string, Value> {
  const names = pairs.map(([name]) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice === undefined) return Object.fromEntries(pairs)
  throw new GradpromptError('invalid-option', `--${option} names ${JSON.stringify(twice)} twice`, {
    found,
    expected: 'each name once',
    hint: asObject(option),
  })
}
