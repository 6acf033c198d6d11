import { compileTemplate, type Template } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'

/** How a policy is asked for a hint, what of its answer is one, and how a hint stands before a question. Nothing is computed here. */

/** What a policy writes: what it is told behind the text, and how what it says is put before the text (`{hint}`). */
export const hintKinds = {
  keywords: {
    instruction: 'Write a few keywords that help to answer this, separated by commas. Write the keywords alone, and no answer.',
    say: 'Keywords: {hint}',
  },
  role: {
    instruction: 'Which expert would answer this well? Write one sentence that begins with "You are", and no answer.',
    say: '{hint}',
  },
} as const

export type HintKind = keyof typeof hintKinds

export interface HintForm {
  /** What the policy is told, behind the text. */
  readonly instruction: string
  /** A template of the one column `hint`: how a hint stands before the text. */
  readonly say: string
  /** Of a hint. */
  readonly maxHintTokens: number
}

/** The column that holds a hint, in templates and files. */
export const hintColumn = 'hint'
/** The column that holds what a policy is asked. */
export const askColumn = 'ask'

export const askFor = ({ instruction }: Pick<HintForm, 'instruction'>, text: string): string => `${text}\n\n${instruction}`

/** The template of a policy's rows: what a strategy's `instruct` makes of the same text. */
export const policyTemplate = (isChat: boolean): string | { role: 'user'; content: string }[] =>
  isChat ? [{ role: 'user', content: `{${askColumn}}` }] : `{${askColumn}}\n`

/** @throws GradpromptError `invalid-option` where it does not say where the hint stands */
export function requireSay(say: string): string {
  const { columns } = compileTemplate(say)
  if (columns.length === 1 && columns[0] === hintColumn) return say
  throw new GradpromptError('invalid-option', 'say does not say where the hint stands', {
    found: say,
    expected: 'a text with {hint} in it, and no other column: "Hint: {hint}"',
  })
}

/** A hint as it stands before a text. */
export const said = ({ say }: Pick<HintForm, 'say'>, hint: string): string =>
  compileTemplate(say).render({ [hintColumn]: hint }, 0)

/**
 * The hint in what a policy has written: its first line with something on it, without what stands before each hint anyway.
 * @returns '' where there is none
 */
export function hintIn(written: string, { say }: Pick<HintForm, 'say'>): string {
  const lines = written.split(/\r?\n/).map(line => line.replaceAll(/\s+/g, ' ').trim())
  const before = say.slice(0, say.indexOf('{')).trim().toLowerCase()
  const bare = lines.map(line =>
    before !== '' && line.toLowerCase().startsWith(before) ? line.slice(before.length).trim() : line,
  )
  return bare.find(line => /[\p{L}\p{N}]/u.test(line)) ?? ''
}

/**
 * The template of a task with a hint before what is asked: before a text, or in the last message of a user.
 * @throws GradpromptError `unsupported-template` where there is no such message, or the template has a column `hint` of its own
 */
export function withHint<Shown extends Template>(template: Shown, { say }: Pick<HintForm, 'say'>): Shown
export function withHint(template: Template, { say }: Pick<HintForm, 'say'>): Template {
  if (typeof template === 'string') {
    refuseOwnHint(template)
    return `${say}\n\n${template}`
  }
  const last = template.findLastIndex(({ role }) => role === 'user')
  if (last < 0)
    throw unsupported('a hint stands in the last message of a user', 'a template without one', 'a text, or messages with a user')
  for (const { content } of template) refuseOwnHint(content)
  return template.map((message, i) => (i === last ? { ...message, content: `${say}\n\n${message.content}` } : message))
}

function refuseOwnHint(template: string): void {
  if (!compileTemplate(template).columns.includes(hintColumn)) return
  throw unsupported('the template has a column of that name already', `{${hintColumn}}`, 'another name for the column')
}

const unsupported = (message: string, found: string, expected: string) =>
  new GradpromptError('unsupported-template', message, { found, expected })
