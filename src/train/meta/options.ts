import { z } from 'zod'
import { filterNames } from './filters.js'

/** How a prompt is learned that others start from: `train.meta`. */

const count = z.int().min(1)

export const metaSchema = z.strictObject({
  tasks: z.string().min(1).describe("the column that names a training row's task: two tasks at least"),
  update: z
    .enum(['reptile', 'maml'])
    .default('reptile')
    .describe(
      'what a step does with a prompt that was adapted to a task: reptile moves towards it, maml (first-order) follows the gradient that further rows of the task have there',
    ),
  tasksPerStep: count.max(1000).default(1).describe('tasks that a step adapts to, each from the same prompt'),
  inner: z
    .strictObject({
      steps: count.max(10_000).default(5).describe('steps that adapt the prompt to a task, each on train.batchSize of its rows'),
      learningRate: z.number().positive().default(0.05).describe('of these steps'),
      optimizer: z.enum(['adamw', 'sgd']).default('adamw').describe('their update rule; it remembers nothing from task to task'),
    })
    .prefault({})
    .describe('how the prompt is adapted to a task'),
  filter: z
    .enum(filterNames)
    .default('none')
    .describe(
      "what becomes of a gradient before an inner step: agreement takes out what another task's gradient speaks against; regulated passes it through a network that is learned beside the prompt (SUPMER)",
    ),
})

export type MetaOptions = z.output<typeof metaSchema>

/** The outer step where the options say nothing else: Reptile's P + 0.1 (P_adapted - P). */
export const reptileRate = 0.1

/** What of it one option says about another, in words; undefined: nothing. */
export function metaProblem({
  filter,
  update,
  inner,
}: MetaOptions): { readonly message: string; readonly hint: string } | undefined {
  if (filter !== 'regulated') return undefined
  if (update !== 'maml')
    return {
      message: `train.meta.filter: regulated learns from the gradient behind the inner steps, which train.meta.update: ${update} does not compute`,
      hint: 'use train.meta.update: maml',
    }
  if (inner.optimizer !== 'sgd')
    return {
      message: `train.meta.filter: regulated needs steps that are proportional to the gradient, and train.meta.inner.optimizer is ${inner.optimizer}`,
      hint: 'use train.meta.inner.optimizer: sgd',
    }
  return undefined
}
