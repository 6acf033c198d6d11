import { invalidConfig } from '../config/problems.js'
import type { DataNotice } from '../data/readers/reader.js'
import type { ScoringRow } from '../data/rows/rows.js'
import { type Preferences, rejectedBeside, usualColumns } from '../data/texts/preferences.js'
import type { Rewards } from '../evaluate/preferences.js'
import { candidateLikelihoods } from '../evaluate/score.js'
import { losses } from '../losses/index.js'
import type { ActiveLoss } from '../losses/loss.js'
import type { LanguageModel } from '../model/language-model.js'
import type { Reference } from './reference.js'

/** What a loss over preferences and the task's preferences say about each other. Which losses there are is unknown here. */

interface Given extends Preferences {
  readonly answer: string
  readonly answerType?: string | null | undefined
  readonly data: { readonly labels?: unknown }
  readonly train: { readonly batchSize: number }
}

/**
 * Where a run's preferences stand: as they are given, or as the answer lets a loss over preferences find them.
 * @throws GradpromptError `invalid-config`
 */
export function completePreferences(
  { answer, answerType, rejected, thumbs, data, train }: Given,
  { loss, options }: ActiveLoss,
  source: string,
): Preferences {
  const refuse = (message: string, hint: string): never => {
    throw invalidConfig(source, message, { hint })
  }
  if (rejected !== undefined && thumbs !== undefined)
    refuse('rejected and thumbs exclude each other', 'rows are pairs, or single answers: keep one of the two')
  const kind = loss.preferences
  if (thumbs !== undefined && kind !== 'pairs or thumbs')
    refuse(`train.loss.type: ${options.type} does not read thumbs`, `of the losses, ${thumbLosses().join(' and ')} does`)
  const found = thumbs === undefined && kind !== undefined ? (rejected ?? rejectedBeside(answer)) : rejected
  const column = thumbs ?? (kind === 'pairs or thumbs' && found === undefined ? usualColumns.thumbs : undefined)
  if (kind === 'pairs' && found === undefined)
    refuse(
      `train.loss.type: ${options.type} compares two answers, and only one is named (answer: ${JSON.stringify(answer)})`,
      `name both: answer: " {${usualColumns.chosen}}", rejected: " {${usualColumns.rejected}}"`,
    )
  if (found === answer) refuse('answer and rejected are the same text', 'name the column of what was not chosen in rejected')
  if (found !== undefined || column !== undefined) {
    if (data.labels !== undefined)
      refuse('data.labels and preferences exclude each other', 'preferred answers are texts: leave data.labels out')
    if (answerType === 'classes')
      refuse('answerType: classes and preferences exclude each other', 'preferred answers are texts: leave answerType out')
  }
  if (loss.leastBatch !== undefined && train.batchSize < loss.leastBatch)
    refuse(
      `train.batchSize (${train.batchSize}) is too small for train.loss.type: ${options.type}`,
      `it compares records with each other: take at least ${loss.leastBatch}`,
    )
  return { ...(found !== undefined && { rejected: found }), ...(column !== undefined && { thumbs: column }) }
}

const thumbLosses = () => losses.keys().filter(type => losses.get(type).preferences === 'pairs or thumbs')

/** What a held-out answer is worth to a loss; undefined where it says nothing of that. */
export function rewardsUnder({ loss, options }: ActiveLoss, reference: Reference, model: LanguageModel): Rewards | undefined {
  if (!loss.reward) return undefined
  const under = loss.reference?.(options) ?? null
  const known = new WeakMap<ScoringRow, readonly number[]>()
  const before = async (rows: readonly ScoringRow[]) => {
    const others = rows.filter(row => !known.has(row))
    const prompt = under === 'start' ? reference.start : undefined
    const said = await candidateLikelihoods(model, prompt, others, {})
    for (const [i, row] of others.entries()) known.set(row, said[i]!)
    return rows.map(row => known.get(row)!)
  }
  return { reference: under === null ? undefined : before, of: answer => loss.reward!(options, answer) }
}

/** What is to be said of a loss's reference before the first step. */
export function referenceNotices({ loss, options }: ActiveLoss): DataNotice[] {
  if (loss.reference?.(options) !== 'none') return []
  return [
    {
      code: 'reference-not-start',
      message:
        'rewards are counted from the model without a prompt, not from the prompt that learning starts from: the loss does not start where all answers are worth 0, and what the prompt already does counts as a reward',
    },
  ]
}
