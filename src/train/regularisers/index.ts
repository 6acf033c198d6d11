import type { ActiveLoss, LossTerm } from '../../losses/loss.js'
import type { LabelledRow } from '../../model/row.js'
import type { Config } from '../options/schema.js'
import { prior } from './prior.js'
import type { RegulariserContext } from './regulariser.js'
import { teachers } from './teachers.js'

/** In the order in which their losses are added up. */
const regularisers = [teachers, prior] as const

export const regulariserLosses = (train: Config['train']): ActiveLoss[] => regularisers.flatMap(one => one.losses(train))

/** @returns of a batch's rows the terms of `regulariserLosses` */
export async function openRegularisers(
  train: Config['train'],
  context: RegulariserContext,
): Promise<(rows: readonly LabelledRow[]) => Promise<LossTerm[]>> {
  const asked = regularisers.filter(one => one.losses(train).length > 0)
  const opened: Awaited<ReturnType<(typeof asked)[number]['open']>>[] = []
  for (const one of asked) opened.push(await one.open(train, context))
  return async rows => {
    const terms: LossTerm[] = []
    for (const of of opened) terms.push(...(await of(rows)))
    return terms
  }
}
