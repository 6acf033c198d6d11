import { z } from 'zod'
import { columnValue, type DataRecord } from '../../data/readers/records.js'
import { namedColumns } from '../../data/task-columns.js'
import { type LabelSet, labelWord } from '../../data/texts/labels.js'
import { fillPrompt } from '../../data/texts/prompt-place.js'
import { compileTemplate, type Template } from '../../data/texts/template.js'
import { endpointSchema } from '../../endpoint/options.js'
import type { Example, SearchContext } from '../moves/method.js'
import type { Ask } from '../moves/writer.js'

/** Who has a role: another model on this machine, or one behind an endpoint. */
export const roleOption = (does: string) =>
  z
    .union([
      z.string().min(1).describe('another model on this machine'),
      endpointSchema.describe('a model behind an OpenAI-compatible endpoint'),
    ])
    .optional()
    .describe(
      `who ${does}: another model on this machine, or { url, model, key } of an OpenAI-compatible endpoint; by default the model itself`,
    )

/** What every search has in which a model writes prompts. */
export const criticOptions = {
  temperature: z.number().positive().default(0.8).describe('of what the model writes'),
  maxPromptTokens: z.int().min(1).default(50).describe('tokens of a prompt that is written, at most'),
  maxWrittenTokens: z.int().min(1).default(120).describe('tokens of one answer of the critic, at most'),
  optimizer: roleOption('criticises and writes'),
}

/** How many questions a critic sees; the others say which prompt is better. */
export const feedbackOption = z
  .int()
  .min(1)
  .optional()
  .describe(
    'questions whose answers the optimiser sees; the others alone score what it writes. By default half of search.questions',
  )

/** A question with what the model made of it. */
export interface Case extends Example {
  readonly isRight: boolean
  /** The answer, or what it wrote before it; unknown where answers are free text that nothing is reasoned for. */
  readonly said?: string | undefined
}

/** A question and its right answer: the columns that the template names, each behind its name where there are several. */
export function exampleOf(
  record: DataRecord,
  index: number,
  { template, answer }: { readonly template: Template; readonly answer: string },
  labels: LabelSet | undefined,
): Example {
  const columns = namedColumns({ template: fillPrompt(template, ''), answer: '' })
  const values = columns.map(column => ({ column, value: columnValue(record, column, index) }))
  const input = values.map(({ column, value }) => (values.length > 1 ? `${column}: ${value}` : value)).join('\n')
  const word = labels && labelWord(labels, record, index)
  const filled = word === undefined ? record : { ...record, [labels!.column]: word }
  return { input, output: compileTemplate(answer).render(filled, index).trim() }
}

/** The last of a model's reasoning, which says where it went wrong; and the most of a question. */
const REASONING = 400
const INPUT = 1200

/** What the model answers to questions under a prompt. */
export async function casesOf(prompt: readonly number[], context: SearchContext, rows = context.rows): Promise<Case[]> {
  const answers = await context.objective.answers(prompt, rows)
  return rows.map((row, i) => {
    const { isRight, word, reasoning } = answers[i]!
    const said = word ?? (reasoning && context.space.text(reasoning).trim().slice(-REASONING))
    return { ...context.exampleOf(row), isRight, ...(said && { said }) }
  })
}

/**
 * What the critic is asked, in words of our own. Each ask begins the answer as well: a small model then goes on with what was asked for,
 * and the quotation mark that opens a prompt is mostly closed behind it.
 */
export const asks = {
  /** Forward generation (APE). */
  induce: (examples: readonly Example[]): Ask => ({
    ask: `Someone followed one short instruction and turned each of these inputs into its output.\n\n${examples.map(shown).join('\n\n')}\n\nWhich instruction did they follow? Write the instruction alone.`,
    begin: 'The instruction was: "',
  }),

  /** A variant of the same meaning (APE, APO). */
  paraphrase: (prompt: string): Ask => ({
    ask: `Say this instruction in other words, and let it ask for the same:\n\n${prompt}\n\nWrite the new instruction alone.`,
    begin: 'In other words: "',
  }),

  /** A gradient in words (APO). */
  criticise: (prompt: string, mistakes: readonly Case[]): Ask => ({
    ask: `A language model was given this instruction:\n\n${prompt}\n\nUnder it, these cases came out wrong:\n\n${mistakes.map(shownCase).join('\n\n')}\n\nWhich fault of the instruction leads to such mistakes? Answer in one or two sentences.`,
    begin: 'The instruction',
  }),

  /** A step against that gradient (APO). */
  edit: (prompt: string, mistakes: readonly Case[], criticism: string): Ask => ({
    ask: `A language model was given this instruction:\n\n${prompt}\n\nUnder it, these cases came out wrong:\n\n${mistakes.map(shownCase).join('\n\n')}\n\nA reviewer says: ${criticism}\n\nWrite a better instruction that mends this fault. Write the instruction alone.`,
    begin: 'The better instruction is: "',
  }),

  /** Failures looked at step by step (PE2). */
  inspect: (prompt: string, mistakes: readonly Case[]): Ask => ({
    ask: `You improve the instruction that a language model is given. The model sees the instruction together with one input, and writes the output.\n\nInstruction now:\n${prompt}\n\nCases:\n\n${mistakes.map(shownCase).join('\n\n')}\n\nGo through the cases one after the other, and say of each:\n1. What would a right answer have needed, and where did the model go astray?\n2. Does the instruction describe the task correctly and completely for this case?\n3. Does the instruction have to be changed, and if so, what is to be added, dropped or said differently?`,
    begin: '1.',
  }),

  /** What follows from it (PE2). */
  revise: (prompt: string, inspection: string, limit: number): Ask => ({
    ask: `You improve the instruction that a language model is given.\n\nInstruction now:\n${prompt}\n\nNotes on cases that came out wrong:\n${inspection}\n\nWrite a new instruction that takes the notes into account, applies to all inputs of this kind, and has at most ${limit} tokens. Write the instruction alone.`,
    begin: 'The new instruction is: "',
  }),

  /** The loss of one question in words (TextGrad). */
  judge: (prompt: string, one: Case): Ask => ({
    ask: `A language model was given this instruction:\n\n${prompt}\n\n${shownCase(one)}\n\nJudge how well the instruction served here, and say how it could be changed to make a right answer surer. One or two sentences.`,
    begin: 'The instruction',
  }),

  /** One step along the summed feedback (TextGrad). */
  rewrite: (prompt: string, feedback: readonly string[]): Ask => ({
    ask: `This instruction for a language model is to be improved:\n\n${prompt}\n\nFeedback from several cases:\n${feedback.map(text => `- ${text}`).join('\n')}\n\nRewrite the instruction so that it heeds all of the feedback. Write the instruction alone.`,
    begin: 'The improved instruction is: "',
  }),
} as const

/** A criticism with the words that it was begun with, on one line. */
export const whole = ({ begin }: Ask, text: string): string => `${begin}${text}`.replaceAll(/\s+/g, ' ').trim()

const clipped = (text: string) => (text.length > INPUT ? `${text.slice(0, INPUT)} …` : text)

export const shown = ({ input, output }: Example) => `Input: ${clipped(input)}\nOutput: ${output}`

export function shownCase({ input, output, isRight, said }: Case): string {
  const answer = said === undefined ? [] : [`The model's answer: ${said}`]
  return [`Input: ${clipped(input)}`, ...answer, `Right answer: ${output}${isRight ? ' (the model was right)' : ''}`].join('\n')
}
