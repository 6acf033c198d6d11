import { compileTemplate, escapeTemplate } from '../data/texts/template.js'

/** The final template: the instruction, and a line for each input field. */

const named = (name: string) => `${name[0]!.toUpperCase()}${name.slice(1).replaceAll('_', ' ')}`

/** What stands behind the instruction: `Mail: {mail}`, and where the answer begins. */
export const inputLines = (placeholders: readonly string[]): string =>
  [...placeholders.map(name => `${named(name)}: {${name}}`), 'Answer:'].join('\n')

export const templateOf = (instruction: string, placeholders: readonly string[]): string =>
  `${escapeTemplate(instruction)}\n\n${inputLines(placeholders)}`

/** A template with an input in it, as the model sees it. */
export const filled = (instruction: string, input: Readonly<Record<string, string>>): string =>
  compileTemplate(templateOf(instruction, Object.keys(input))).render(input, 0)
