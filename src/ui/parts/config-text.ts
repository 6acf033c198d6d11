import { type Document, parseDocument } from 'yaml'
import { kindOf, sweepConfigSchema } from '../../api/sweep/plan.js'
import { mergeFlags } from '../../config/load.js'
import { alternatives, type OptionSchema, schemasAt } from '../../config/options.js'
import { parseYaml } from '../../config/yaml.js'
import { GradpromptError } from '../../errors.js'
import { searchConfigJsonSchema } from '../../search/config.js'
import { configJsonSchema } from '../../train/config.js'

/**
 * A config as a text and as a form at once. The text is what counts: a field of the form that has been changed is written into it, with all
 * comments kept; what has been typed into the text is read, and fills the form.
 */

export const commands = ['tune', 'search', 'sweep'] as const
export type LearningCommand = (typeof commands)[number]

/** The options of a command; a sweep's are those of what it is of as well. */
export function schemaOf(command: LearningCommand, config: Readonly<Record<string, unknown>> = {}): OptionSchema {
  if (command === 'sweep') return sweepConfigSchema(kindOf(config))
  return (command === 'search' ? searchConfigJsonSchema() : configJsonSchema()) as OptionSchema
}

/** @throws GradpromptError `invalid-config` */
export function readConfigText(text: string): Record<string, unknown> {
  const parsed = parseYaml(text)
  if ('problem' in parsed)
    throw new GradpromptError(
      'invalid-config',
      `${parsed.problem.line === undefined ? '' : `line ${parsed.problem.line}: `}${parsed.problem.message}`,
      { expected: 'YAML or JSON' },
    )
  const value = parsed.value ?? {}
  if (typeof value !== 'object' || Array.isArray(value))
    throw new GradpromptError('invalid-config', 'the text is not a config', { expected: 'a mapping of options' })
  return value as Record<string, unknown>
}

/**
 * The text with another value of one option.
 * @param option its dotted name
 * @param value as it is typed; empty: the option is not given
 * @throws GradpromptError `invalid-config`, `unknown-option`
 */
export function withOption(command: LearningCommand, text: string, option: string, value: string): string {
  const before = readConfigText(text)
  const root = schemaOf(command, before)
  const path = option.split('.')
  const document: Document = parseDocument(text)
  if (value === '') {
    if (document.hasIn(path)) document.deleteIn(path)
    // A mapping that has become empty says nothing.
    for (let length = path.length - 1; length > 0; length--) {
      const above = document.getIn(path.slice(0, length)) as { items?: readonly unknown[] } | undefined
      if (above?.items?.length === 0) document.deleteIn(path.slice(0, length))
    }
    return document.contents === null || isEmpty(document) ? '' : String(document)
  }
  const takesList = schemasAt(root, path)
    .flatMap(schema => alternatives(schema))
    .some(({ type }) => type === 'array' || type === 'object')
  const isList = takesList && /^\s*[[{]/.test(value)
  const after = mergeFlags(before, { [option]: isList ? readConfigText(`value: ${value}`).value : value }, root)
  const keys = path.filter(key => key !== '')
  document.setIn(keys, document.createNode(keys.reduce<unknown>((at, key) => (at as Record<string, unknown>)?.[key], after)))
  // Another type leaves no options of the old one, and steps take out epochs.
  const [top] = keys as [string]
  if (JSON.stringify((document.toJS() as Record<string, unknown>)[top]) !== JSON.stringify(after[top]))
    document.set(top, document.createNode(after[top]))
  return String(document)
}

const isEmpty = (document: Document) => (document.contents as { items?: readonly unknown[] } | null)?.items?.length === 0
