import type { Ask } from '../moves/writer.js'
import { type Case, shown, shownCase } from './critic.js'

/** What is asked where a search makes its own questions, in words of our own: for texts, for their labels, and for what mistakes on them say. */

export interface Classes {
  readonly task: string
  readonly labels: readonly string[]
  /** What a class means, by its name. */
  readonly meanings: Readonly<Record<string, string>>
}

const classLine = ({ labels, meanings }: Classes) =>
  `Classes: ${labels.map(label => (meanings[label] === undefined ? label : `${label} (${meanings[label]})`)).join('; ')}`

const ways = [
  'Let one word point to the wrong class, and the sense of the whole to the right one.',
  'Say nothing outright: a reader has to infer the class.',
  'Mix something of both, and let one of them clearly weigh more.',
  'Write it short, informal and hurried.',
  'Let its subject or its tone be unusual for its class.',
] as const

const fenced = (text: string) => `"""\n${text}\n"""`
const percent = (share: number) => `${Math.round(100 * share)} %`

export const caseAsks = {
  /** A text near the border of two classes. */
  invent: (
    classes: Classes,
    label: string,
    near: string,
    {
      real,
      mistakes,
      way,
    }: {
      readonly real: readonly string[]
      readonly mistakes: readonly { input: string; output: string }[]
      readonly way: number
    },
  ): Ask => ({
    ask: [
      `Task: ${classes.task}\n${classLine(classes)}`,
      ...(real.length === 0 ? [] : [`Texts that people have written:\n${real.map(text => `- ${text}`).join('\n')}`]),
      ...(mistakes.length === 0 ? [] : [`Texts that a model got wrong:\n\n${mistakes.map(shown).join('\n\n')}`]),
      `Write one new text of the class ${label} that a careless reader takes for ${near}. ${ways[way % ways.length]} It is ${real.length + mistakes.length === 0 ? '' : 'unlike those above, '}of one to three sentences, and does not name its class. Write the text between <text> and </text>, and nothing else.`,
    ].join('\n\n'),
    begin: '<text>',
  }),

  /** Which class a text is of. */
  label: (classes: Classes, text: string): Ask => ({
    ask: `Task: ${classes.task}\n${classLine(classes)}\n\nText:\n${fenced(text)}\n\nWhich class is the text of?`,
    begin: 'The class is ',
  }),

  /** What goes wrong under a prompt, in groups. */
  analyse: (
    classes: Classes,
    prompt: string,
    score: number,
    confusion: readonly (readonly [right: string, said: string, count: number])[],
    mistakes: readonly Case[],
  ): Ask => ({
    ask: `A language model was given this instruction:\n${fenced(prompt)}\n\nTask: ${classes.task}\n${classLine(classes)}\nRight answers: ${percent(score)}\nMistakes by class:\n${confusion.map(([right, said, count]) => `- ${right} taken for ${said}: ${count}`).join('\n')}\n\n${mistakes.map(shownCase).join('\n\n')}\n\nSay in a few sentences which kinds of mistakes there are, and what the instruction would have to say against each.`,
    begin: '',
  }),

  /** A new prompt after those so far. */
  calibrate: (
    classes: Classes,
    history: readonly { readonly text: string; readonly score: number }[],
    analysis: string | undefined,
  ): Ask => ({
    ask: `You improve an instruction for a language model.\n\nTask: ${classes.task}\n${classLine(classes)}\n\nInstructions that were tried:\n\n${history.map(({ text, score }) => `Instruction: ${text}\nRight answers: ${percent(score)}`).join('\n\n')}\n\n${analysis === undefined ? 'The last one made no mistake: make it surer.' : `What goes wrong under the last one: ${analysis}`}\n\nWrite an instruction that is unlike all of these and has more right answers. It names every class, and says where one ends and another begins. Write the new instruction between <prompt> and </prompt>, and nothing else.`,
    begin: '<prompt>',
  }),
} as const
