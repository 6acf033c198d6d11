/** What is to be known of a task before a prompt is written for it, and how a form asks for it. */

export const fields = ['task', 'inputs', 'output', 'constraints', 'examples', 'mustNot'] as const
export type Field = (typeof fields)[number]

/** What the person has said of each; what was left empty is an empty text. */
export type Brief = { readonly [Name in Field]?: string | undefined }

/** In the order in which a form asks: the most important first. */
export const formQuestions: Readonly<Record<Field, string>> = {
  task: 'What is the model to do? One sentence, such as: Sort a mail to a shop by what it is.',
  inputs: 'Which pieces of text does each request bring? Their names, such as: mail  or: question, context',
  output: 'What does an answer look like? Of a fixed set name each, with | between them: complaint | question | praise',
  constraints: 'What has every answer to keep to? Length, tone, language. Nothing: leave it empty.',
  examples: 'What would a typical request and a good answer be? Nothing: leave it empty.',
  mustNot: 'What must an answer never do? Nothing: leave it empty.',
}

/** Without these there is no prompt. */
export const required: readonly Field[] = ['task', 'inputs']

const NOTHING = /^(?:no|none|nothing|-|n\/?a)?[.!]?$/iu

/** An answer as the brief has it. */
export const clean = (text: string): string => {
  const plain = text.replaceAll(/\s+/gu, ' ').trim()
  return NOTHING.test(plain) ? '' : plain
}

/** The names of the input fields as placeholders: `{mail}`, `{order_number}`. */
export function placeholdersOf({ inputs = '' }: Brief): string[] {
  const names = inputs
    .replaceAll(/[{}]/gu, ' ')
    .split(/[,;|\n]|\sand\s/u)
    .map(name =>
      name
        .replace(/^\s*(?:the|a|an)\s+/iu, '')
        .trim()
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}]+/gu, '_')
        .replaceAll(/^_+|_+$/gu, ''),
    )
    .filter(name => name !== '' && !taken.has(name))
  return [...new Set(names)]
}

/** Names that a config and the rows have for something else. */
const taken = new Set(['prompt', 'label', 'answer', 'batch', 'asked'])

/** The fixed answers, where there are some. */
export function labelsOf({ output = '' }: Brief): string[] {
  if (!output.includes('|')) return []
  const found = output.split('|').map(label => label.trim())
  return [...new Set(found.filter(label => label !== ''))]
}

/** An instruction that says what the brief says, and nothing else. */
export function composed(brief: Brief): string {
  const sentence = (text: string) => (/[.!?]$/u.test(text) ? text : `${text}.`)
  const labels = labelsOf(brief)
  const { task = '', output = '', constraints = '', examples = '', mustNot = '' } = brief
  return [
    sentence(task),
    ...(labels.length > 0
      ? [`Answer with one of: ${labels.join(', ')}.`]
      : output === ''
        ? []
        : [sentence(`The answer is ${output}`)]),
    ...(constraints === '' ? [] : [sentence(`Keep to this: ${constraints}`)]),
    ...(examples === '' ? [] : [sentence(`For example: ${examples}`)]),
    ...(mustNot === '' ? [] : [sentence(`Never do this: ${mustNot}`)]),
  ].join(' ')
}

/** What a draft leaves out: labels that it does not name. */
export const missingIn = (draft: string, brief: Brief): string[] =>
  labelsOf(brief).filter(label => !draft.toLowerCase().includes(label.toLowerCase()))
