import { z } from 'zod'
import { valueProblem } from '../../config/problems.js'
import { template } from '../../data/task-config.js'
import type { Template } from '../../data/texts/template.js'
import { GradpromptError } from '../../errors.js'

/** How a prompt is tuned on the rows that it answers, without their labels. */
const share = z.number().positive().max(1)

/** What a row may be given at most: each view and each step is a pass over the model. */
export const mostOfTestTime = { views: 1000, paraphrases: 1000, steps: 10_000, batch: 100_000 } as const

/** Of views alone: a batch has none. */
const viewShape = {
  views: z.int().min(1).max(mostOfTestTime.views).default(16).describe('texts that a row is seen as, with the row itself'),
  dropout: share.lt(1).default(0.15).describe('chance of each word to be left out of a view'),
  templates: z.array(template).optional().describe("further templates, of which each makes a view; by default the run's own"),
  paraphrases: z.int().min(0).max(mostOfTestTime.paraphrases).default(0).describe('views that the model writes in other words'),
  similar: share
    .optional()
    .describe('share of the views that is looked at: those most like the row itself; 0.8 with paraphrases, otherwise 1'),
  keep: share.default(0.25).describe('share of what is looked at that is tuned on: the surest views, at least one'),
}

const testTimeSchema = z.strictObject({
  ...viewShape,
  steps: z.int().min(1).max(mostOfTestTime.steps).default(1).describe('steps from the prompt as it was learned, for each row'),
  learningRate: z.number().positive().default(5e-3).describe('of each step'),
  batch: z
    .int()
    .min(2)
    .max(mostOfTestTime.batch)
    .optional()
    .describe('rows that are tuned on together, in place of views of each'),
})

export type TestTimeInput = z.input<typeof testTimeSchema>

export interface TestTimeOptions extends Omit<z.output<typeof testTimeSchema>, 'templates' | 'similar'> {
  readonly templates: readonly Template[]
  readonly similar: number
}

/**
 * What a call asks for, with its defaults.
 * @param given true: as it is by default
 * @param learnt further templates of the run
 * @returns undefined where nothing is tuned
 * @throws GradpromptError `invalid-option`
 */
export function testTimeOptions(
  given: boolean | TestTimeInput | undefined,
  learnt: readonly Template[] | undefined,
): TestTimeOptions | undefined {
  if (given === undefined || given === false) return undefined
  const input = given === true ? {} : given
  const parsed = testTimeSchema.safeParse(input)
  if (!parsed.success) {
    const { name, isMissing, found, expected } = valueProblem(parsed.error.issues, input)
    throw invalid(`testTime${name === '' ? '' : `.${name}`} is ${isMissing ? 'missing' : 'not valid'}`, found, expected)
  }
  const { batch, ...options } = parsed.data
  const unread = batch === undefined ? undefined : Object.keys(viewShape).find(name => Object.hasOwn(input, name))
  if (unread !== undefined)
    throw invalid(
      `testTime.${unread} has no effect where rows are tuned on together`,
      `testTime.batch: ${batch}`,
      'one of the two: a batch has no views',
    )
  const templates = batch === undefined ? (options.templates ?? learnt ?? []) : []
  const wanted = 1 + templates.length + options.paraphrases
  if (batch === undefined && wanted > options.views)
    throw invalid(
      'testTime.views has no room for what is to be seen',
      `${options.views} views, for the row itself, ${templates.length} further templates and ${options.paraphrases} paraphrases`,
      `${wanted} at least`,
    )
  const similar = options.similar ?? (options.paraphrases > 0 ? 0.8 : 1)
  return { ...options, templates, similar, ...(batch !== undefined && { batch }) }
}

/** In a line, for whoever reads what an evaluation was of. */
export function describeTestTime({
  batch,
  views,
  templates,
  dropout,
  paraphrases,
  similar,
  keep,
  ...step
}: TestTimeOptions): string {
  const steps = `${step.steps} step${step.steps === 1 ? '' : 's'} of ${step.learningRate}`
  if (batch !== undefined) return `${steps} on ${batch} rows together`
  const made = [
    ...(templates.length > 0 ? [`${templates.length} of templates`] : []),
    ...(paraphrases > 0 ? [`${paraphrases} paraphrased`] : []),
    ...(views > 1 + templates.length + paraphrases ? [`words dropped by ${dropout}`] : []),
  ]
  const looked = similar < 1 ? `, the ${similar} most similar looked at` : ''
  return `${steps} on the ${keep} surest of ${views} views${made.length > 0 ? ` (${made.join(', ')})` : ''}${looked}`
}

const invalid = (message: string, found: string, expected: string) =>
  new GradpromptError('invalid-option', message, { found, expected })
