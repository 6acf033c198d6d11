import type { DataNotice } from '../../data/readers/reader.js'
import { GradpromptError } from '../../errors.js'
import { needsOf, type SearchConfig } from '../config.js'
import { searchMethods } from '../methods/index.js'
import type { SearchTask } from './task.js'

/**
 * Refuses what would show rows beside the noise of a private search, or past the account of it.
 * @returns what a private search says before it begins
 * @throws GradpromptError `breaks-privacy`; what the method itself refuses, as `privacy-unreachable`
 */
export function refuseUnprivate(
  { search, data, evaluate }: SearchConfig,
  task: Pick<SearchTask, 'questions' | 'dev' | 'labels'>,
): readonly DataNotice[] {
  const method = searchMethods.get(search.type)
  if (!method.isPrivate) return []
  const refuse = (found: string, why: string, hint: string): never => {
    throw new GradpromptError('breaks-privacy', `${search.type} is not private with this: ${why}`, { found, hint })
  }
  const { writer } = needsOf({ search })
  if (search.batchSize !== undefined)
    refuse('search.batchSize', 'each row takes part by its own chance, and not in batches of one size', 'leave it out')
  if (search.questions !== undefined)
    refuse('search.questions', 'which rows are drawn would depend on the other rows', 'leave it out: all training rows take part')
  if (data.limit !== undefined || evaluate.limit !== undefined)
    refuse(
      data.limit === undefined ? 'evaluate.limit' : 'data.limit',
      'which rows are kept would depend on the other rows',
      'write the rows that are to take part into a file of their own',
    )
  if (data.split !== undefined)
    refuse(
      'data.split',
      'which rows are set aside would depend on the other rows',
      'write them into files of their own: data.dev, data.test',
    )
  if (typeof writer === 'object')
    refuse('an endpoint in search.optimizer', 'it would be sent the rows', 'take a model on this machine, or leave it out')
  const limit = Object.entries(search.budget).find(([, value]) => value !== undefined)
  if (limit !== undefined)
    refuse(
      `search.budget.${limit[0]}`,
      'how far it gets would depend on how long the rows are',
      'leave it out: search.steps, search.maxWrittenTokens and search.retries say how many votes there are',
    )
  if (search.extractor !== undefined)
    refuse('search.extractor', 'a look before the search tells of rows without noise', 'leave it out')
  if (search.pseudoLabels !== undefined)
    refuse('search.pseudoLabels', 'which rows are kept would depend on the other rows', 'leave it out')
  if (task.labels !== undefined && data.labels === undefined)
    refuse('classes that were found in the rows', 'which classes there are would show rows', 'name them in data.labels')
  return method.check?.(search, { rows: task.questions.length, heldOut: task.dev.length, steps: search.steps }) ?? []
}
