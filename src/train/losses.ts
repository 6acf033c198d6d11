import { losses } from '../losses/index.js'
import type { ActiveLoss, LossTerm } from '../losses/loss.js'
import type { LanguageModel } from '../model/language-model.js'
import type { LabelledRow } from '../model/row.js'
import type { InitialisationContext } from '../prompts/method.js'
import type { Config } from './config.js'
import type { Reference } from './reference.js'
import { reader } from './regularisers/distillation.js'
import { openRegularisers, regulariserLosses } from './regularisers/index.js'
import { createContextTeacher } from './study/context-teacher.js'
import type { TeacherModel } from './study/teacher-model.js'

/** What a run minimises: the loss that its options name, and what they hold the prompt to besides. What the losses compute is unknown here. */

/** `train.loss`; without it the cross entropy. */
export function chosenLoss({ loss, labelSmoothing }: Config['train']): ActiveLoss {
  const options = loss ?? ({ type: 'cross-entropy', labelSmoothing } as const)
  return { loss: losses.get(options.type), options }
}

/** All losses that are added up: what the gradient's program is compiled from. */
export const runLosses = (train: Config['train']): ActiveLoss[] => [
  ...(train.distillation?.alone ? [] : [chosenLoss(train)]),
  ...regulariserLosses(train),
]

/** The texts that are learned of each record: the config's answer, of pairs both, unless the loss says others. */
export function learnedAnswers({ train, answer, rejected }: Pick<Config, 'train' | 'answer' | 'rejected'>): readonly string[] {
  const { loss, options } = chosenLoss(train)
  if (loss.preferences !== undefined && rejected !== undefined) return [answer, rejected]
  return loss.answers?.(options, answer) ?? [answer]
}

/**
 * The losses of a batch's rows, with what these bring.
 * @throws GradpromptError as the regularisers do
 */
export async function termsOf(
  train: Config['train'],
  reference: Reference,
  model: LanguageModel,
  {
    answers,
    exampleRows,
    parameters,
    other,
  }: {
    readonly answers: number
    readonly exampleRows: InitialisationContext['exampleRows']
    /** What is learned and kept, as it stands. */
    readonly parameters: ReadonlyMap<string, Float32Array>
    readonly other?: TeacherModel | undefined
  },
): Promise<(rows: readonly LabelledRow[]) => Promise<readonly LossTerm[]>> {
  const chosen = chosenLoss(train)
  const { logProbabilities } = reference
  const topTokens = createContextTeacher(model, reference, reader(reference.start, undefined, model))
  const data = chosen.loss.data?.(chosen.options, { model: model.config, answers, logProbabilities, topTokens })
  const hold = await openRegularisers(train, { start: reference.start, model, exampleRows, parameters, other })
  if (train.distillation?.alone) return hold
  return async rows => [{ ...chosen, ...(data && { data: await data(rows) }) }, ...(await hold(rows))]
}
