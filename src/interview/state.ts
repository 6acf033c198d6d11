import { z } from 'zod'
import { fields } from './brief.js'

/** Where an interview stands: all of it, so that it goes on from a file. */

export const states = ['engage', 'draft', 'evaluate', 'test', 'refine', 'final'] as const
export type StateName = (typeof states)[number]

const text = z.string()

export const interviewSchema = z.object({
  version: z.literal(1),
  /** What comes next; null when the template is written. */
  state: z.enum(states).nullable(),
  /** The states that were entered, in order. */
  visited: z.array(z.enum(states)),
  brief: z.object(
    Object.fromEntries(fields.map(field => [field, text.optional()])) as Record<
      (typeof fields)[number],
      z.ZodOptional<z.ZodString>
    >,
  ),
  /** Questions that were asked for the brief, and whose words they were in. */
  asked: z.array(z.object({ field: z.enum(fields), question: text, by: z.enum(['model', 'form']) })),
  /** A question that has no answer yet: the same is asked again. */
  pending: z.object({ field: z.enum(fields), question: text, by: z.enum(['model', 'form']) }).nullable(),
  draft: text,
  /** The draft before it. */
  previous: text.nullable(),
  /** What the person said of drafts and answers, and no draft heeds yet. */
  notes: z.array(text),
  /** The person's own inputs: a value for each placeholder. */
  inputs: z.array(z.record(text, text)),
  round: z.int().min(0),
  tests: z.array(
    z.object({
      round: z.int(),
      input: z.int(),
      output: text,
      /** Under the draft before, where there was one. */
      before: text.nullable(),
      verdict: z.enum(['up', 'down']).nullable(),
      note: text,
    }),
  ),
  /** Replies of the model that were of no use. */
  unusable: z.int().min(0),
  log: z.array(z.object({ state: z.enum(states), key: text, question: text, answer: text })),
})

export type InterviewState = z.output<typeof interviewSchema>

export const beginning = (): InterviewState => ({
  version: 1,
  state: 'engage',
  visited: ['engage'],
  brief: {},
  asked: [],
  pending: null,
  draft: '',
  previous: null,
  notes: [],
  inputs: [],
  round: 0,
  tests: [],
  unusable: 0,
  log: [],
})
