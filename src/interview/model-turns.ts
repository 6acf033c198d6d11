import { z } from 'zod'
import { jsonOrUndefined } from '../json.js'
import { type Brief, type Field, fields, formQuestions, missingIn } from './brief.js'

/**
 * What a model may say in an interview: a question about an empty field, or an instruction; JSON, whose form is forced where the model runs
 * here. Whether it is taken, and what comes next, is not its matter.
 */

/** A model as an interview needs it. */
export interface InterviewModel {
  /** @returns JSON by the schema, if the model keeps to it */
  json(ask: string, schema: object): Promise<string>
  /** What it answers to a text. */
  run(text: string): Promise<string>
}

const labels: Readonly<Record<Field, string>> = {
  task: 'task',
  inputs: 'input fields',
  output: 'form of the output',
  constraints: 'constraints',
  examples: 'examples',
  mustNot: 'what an answer must not do',
}

const known = (brief: Brief) =>
  fields
    .map(
      field =>
        `${labels[field]}: ${brief[field] === undefined ? '(not asked yet)' : brief[field] === '' ? '(nothing)' : brief[field]}`,
    )
    .join('\n')

const MOST = 300
const EXAMPLE = 'What should the answer look like?'
const plain = (text: string) => text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, ' ')
const questionSchema = z.object({ field: z.enum(fields), question: z.string().trim().min(8).max(MOST) })
const instructionSchema = z.object({ instruction: z.string().trim().min(12).max(4000) })

const textSchema = (name: string, most: number, more: object = {}) => ({
  type: 'object',
  properties: { ...more, [name]: { type: 'string', maxLength: most } },
  required: [...Object.keys(more), name],
  additionalProperties: false,
})

/** The question that a model asks for one of the empty fields; undefined where what it says is none. */
export async function questionOf(
  model: InterviewModel,
  brief: Brief,
  empty: readonly Field[],
  asked: readonly { readonly question: string }[],
): Promise<{ field: Field; question: string } | undefined> {
  const ask = `You help somebody to write an instruction for a language model. You ask, and do not answer or do the task yourself.\n\nWhat is known so far:\n${known(brief)}\n\nAsk one short question, in the words of this task, about the most important of what was not asked yet: ${empty.join(', ')}. For example: {"field": "output", "question": "${EXAMPLE}"}`
  const reply = await model.json(ask, textSchema('question', MOST, { field: { type: 'string', enum: empty } }))
  const parsed = questionSchema.safeParse(jsonOrUndefined(reply))
  if (!parsed.success) return undefined
  const { field, question } = parsed.data
  // What ends otherwise is an answer, or a text that never came to its end; small models say the example, or themselves, over again.
  const isOld = [EXAMPLE, ...asked.map(one => one.question)].some(old => plain(old) === plain(question))
  return empty.includes(field) && question.endsWith('?') && !question.includes('\n') && !isOld ? { field, question } : undefined
}

/** An instruction after the brief, or after notes on one; undefined where what the model says is of no use. */
export async function instructionOf(
  model: InterviewModel,
  brief: Brief,
  change?: { readonly draft: string; readonly notes: readonly string[] },
): Promise<string | undefined> {
  const example = '{"instruction": "Read the mail and say in one word whether it is spam."}'
  const ask =
    change === undefined
      ? `Write the instruction that a language model is given for this task.\n\n${known(brief)}\n\nThe instruction says all of this, to the model, and nothing about any single input. For example: ${example}`
      : `Change this instruction for a language model so that it heeds the notes, and leave the rest as it is.\n\nInstruction: ${change.draft}\n\nNotes:\n${change.notes.map(note => `- ${note}`).join('\n')}\n\nFor example: ${example}`
  const parsed = instructionSchema.safeParse(jsonOrUndefined(await model.json(ask, textSchema('instruction', 1200))))
  if (!parsed.success) return undefined
  const instruction = parsed.data.instruction.replaceAll(/\s+/gu, ' ')
  const isSame = change !== undefined && instruction === change.draft
  // A question, or a text that names no class, is no instruction for this task.
  return isSame || instruction.endsWith('?') || missingIn(instruction, brief).length > 0 ? undefined : instruction
}

/** What a form asks. */
export const formQuestion = (field: Field) => ({ field, question: formQuestions[field] })
