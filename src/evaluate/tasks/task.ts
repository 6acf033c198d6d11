import type { DataRecord } from '../../data/readers/records.js'
import { compileMessages } from '../../data/texts/rendering.js'
import {
  type ChatMessage,
  compileTemplate,
  escapeTemplate,
  prependInstruction,
  type Template,
  type TemplateMessage,
} from '../../data/texts/template.js'
import type { ExtractionRule } from '../answers/extraction.js'

/** How an answer is found in a generated text, and what it counts for. */
export interface Filter {
  readonly name: string
  /** Tried in order; the first that matches gives the answer. Where none does the row counts 0. */
  readonly rules: readonly ExtractionRule[]
  /** From 0 to 1, or whether it is right. */
  score(extracted: string, answer: string, question: string): number | boolean
}

/** A task whose answers are generated: its prompt, where an answer ends, how it is read and scored. */
export interface GenerationTask {
  readonly name: string
  /** Whose conventions these are, with the version that was read. */
  readonly conventions?: string
  /** Text before everything else. */
  readonly description: string
  /** The question, with {column} placeholders. */
  readonly template: Template
  /** What follows the template in a worked example. */
  readonly example: string
  /** Between examples. */
  readonly separator: string
  /** Worked examples that are usual. */
  readonly shots: number
  /** What follows the template when the answer is learned or scored by its likelihood. */
  readonly answer: string
  readonly stop: readonly string[]
  readonly maxNewTokens: number
  /** What scores an answer where nothing else is asked for, in place of the filters: the name of a scorer. */
  readonly scorer?: string
  /** The first one decides whether a row is right. */
  readonly filters: readonly [Filter, ...Filter[]]
  /** The text of a row that rules may read options and words out of. */
  question(row: DataRecord): string
  /** A row's right answer, as `Filter.score` takes it. */
  reference(row: DataRecord): string
}

/**
 * The template of a prompt: the description, worked examples, and the question still with its placeholders. In a chat each example
 * is a turn of its own, and the description part of the system message.
 */
export function promptTemplate(task: GenerationTask, examples: readonly DataRecord[] = []): Template {
  const { description, template, example, separator } = task
  if (typeof template !== 'string') return chatTemplate(task, template, examples)
  const worked = compileTemplate(template + example)
  const shots = examples.map((row, i) => escapeTemplate(worked.render(row, i)) + separator)
  return escapeTemplate(description) + shots.join('') + template
}

function chatTemplate(
  { description, example }: GenerationTask,
  turns: readonly TemplateMessage[],
  examples: readonly DataRecord[],
): Template {
  const answer = compileTemplate(example)
  const asked = turns.filter(({ role }) => role !== 'system')
  const question = compileMessages(asked)
  const shots = examples.flatMap((row, i) => [
    ...(question.render(row, i) as ChatMessage[]).map(({ role, content }) => ({ role, content: escapeTemplate(content) })),
    { role: 'assistant' as const, content: escapeTemplate(answer.render(row, i).trim()) },
  ])
  const messages = [...turns.filter(({ role }) => role === 'system'), ...shots, ...asked]
  return description.trim() === '' ? messages : prependInstruction(messages, description.trim())
}

/** A text up to the first of the stop strings. */
export function cutAtStop(text: string, stop: readonly string[]): string {
  const places = stop
    .filter(part => part !== '')
    .map(part => text.indexOf(part))
    .filter(place => place !== -1)
  return places.length === 0 ? text : text.slice(0, Math.min(...places))
}

/** The columns of a benchmark as `data.task` reads them. */
export const benchmarkColumns = {
  question: (row: DataRecord) => row.question ?? '',
  reference: (row: DataRecord) => row.answer ?? '',
} satisfies Partial<GenerationTask>
