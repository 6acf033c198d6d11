/** What a model is asked for when it writes rows, and what of its answer is one. */

export interface Wanted {
  readonly task: string
  /** The class that the text is to be of, and what that means; none where texts have no classes. */
  readonly label?: string | undefined
  readonly meaning?: string | undefined
  /** Texts of people's own. */
  readonly shown: readonly string[]
  /** A word that may stand in the text: without, a model writes a handful of texts over and over. */
  readonly topic?: string | undefined
  /** Which of several ways to write it. */
  readonly place: number
}

const ways = [
  'short',
  'of two sentences',
  'informal, as people write in a hurry',
  'careful and polite',
  'with a number or a name in it',
] as const

/** A message to a model that knows chat; otherwise a text that it goes on with, to the end of its line. */
export function askFor({ task, label, meaning, shown, topic, place }: Wanted, isChat: boolean): string {
  const means = meaning === undefined ? '' : ` (${meaning})`
  if (!isChat) {
    const head = (text: string) => `${label === undefined ? '' : `Label: ${label}${means}\n`}Text:${text}`
    return [task, ...shown.map(text => head(` ${text}`)), head('')].join('\n\n')
  }
  const about = topic === undefined ? '' : ` It may have to do with ${topic}.`
  return [
    `Task: ${task}${label === undefined ? '' : `\nClass: ${label}${meaning === undefined ? '' : `, which means: ${meaning}`}`}`,
    ...(shown.length === 0 ? [] : [`Texts that people have written:\n${shown.map(text => `- ${text}`).join('\n')}`]),
    `Write one ${shown.length === 0 ? '' : 'new '}text${label === undefined ? ' for this task' : ' of this class'}, ${ways[place % ways.length]}, as a person would.${about} Reply with the text only.`,
  ].join('\n\n')
}

/** A written text as a row has it: one line, without what announces it. @returns undefined where it says nothing */
export function cleaned(written: string): string | undefined {
  let text = written.replaceAll(/\s+/g, ' ').trim()
  text = text
    .replace(/^(?:(?:sure|certainly|of course|here(?: is|'s))[^:.!]{0,80}[:.!]\s*)?(?:(?:input|text|example)\s*:\s*)?/i, '')
    .trim()
  for (const [open, close] of ['""', '“”', "''", '``'] as const)
    if (text.length > 1 && text.startsWith(open!) && text.endsWith(close!) && !text.slice(1, -1).includes(open!))
      text = text.slice(1, -1).trim()
  return /\p{L}/u.test(text) ? text : undefined
}
