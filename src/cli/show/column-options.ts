import type { ColumnsGiven } from '../../data/columns-given.js'
import { GradpromptError } from '../../errors.js'

/** Columns and labels, as options of the command line write them. */

/**
 * `text,label`: names of the columns of a file without a header; `text=review,topic=subject`: for a column of the template the one of
 * the data.
 * @throws GradpromptError `invalid-option`
 */
export function readColumns(text: string | undefined): ColumnsGiven | undefined {
  if (text === undefined) return undefined
  return text.includes('=') ? pairsOf(text, 'columns', 'names, or column=column pairs: --columns text=review') : namesOf(text)
}

export const namesOf = (text: string): string[] => text.split(',').map(name => name.trim())

/**
 * `text=a delight`, several of them, or `{"text": "a delight"}`: values for the columns of a template.
 * @throws GradpromptError `invalid-option`
 */
export function readValues(given: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(given.flatMap(text => Object.entries(objectIn(text) ?? pairIn(text))))
}

function objectIn(text: string): object | undefined {
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

/** `0=negative,1=positive` @throws GradpromptError `invalid-option` */
export const readLabels = (text: string | undefined): Record<string, string> | undefined =>
  text === undefined
    ? undefined
    : pairsOf(
        text,
        'labels',
        'value=word pairs: --labels 0=negative,1=positive',
        'words that hold a comma can stand in a config: --config',
      )

function pairsOf(text: string, option: string, expected: string, hint?: string): Record<string, string> {
  const pairs = text.split(',').map(pair => /^\s*([^=]*?)\s*=\s*(.*?)\s*$/s.exec(pair))
  if (pairs.every(pair => pair !== null)) return Object.fromEntries(pairs.map(pair => [pair[1]!, pair[2]!]))
  throw new GradpromptError('invalid-option', `--${option} is not valid`, {
    found: text,
    expected,
    ...(hint !== undefined && { hint }),
  })
}
