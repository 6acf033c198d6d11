import { losses } from '../losses/index.js'
import type { ActiveLoss, ContextRow, LossContext, LossTerm } from '../losses/loss.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { type LabelledRow, labelPositions } from '../model/row.js'
import type { InitialisationContext } from '../prompts/method.js'
import type { Config } from './config.js'
import { lessons, teacherLosses } from './distillation.js'

/** What a run minimises: the loss that its options name, and what they hold the prompt to besides. What the losses compute is unknown here. */

/** `train.loss`; without it the cross entropy. */
export function chosenLoss({ loss, labelSmoothing }: Config['train']): ActiveLoss {
  const options = loss ?? ({ type: 'cross-entropy', labelSmoothing } as const)
  return { loss: losses.get(options.type), options }
}

/** All losses that are added up: what the gradient's program is compiled from. */
export const runLosses = (train: Config['train']): ActiveLoss[] => [chosenLoss(train), ...teacherLosses(train)]

/** The texts that are learned of each record: the config's answer, unless the loss says others. */
export function learnedAnswers({ train, answer }: Pick<Config, 'train' | 'answer'>): readonly string[] {
  const { loss, options } = chosenLoss(train)
  return loss.answers?.(options, answer) ?? [answer]
}

/**
 * The losses of a batch's rows, with what these bring.
 * @param start the prompt before its first step
 * @throws GradpromptError as `lessons` does
 */
export async function termsOf(
  train: Config['train'],
  start: ActivePrompt,
  model: LanguageModel,
  exampleRows: InitialisationContext['exampleRows'],
): Promise<(rows: readonly LabelledRow[]) => Promise<readonly LossTerm[]>> {
  const chosen = chosenLoss(train)
  const data = chosen.loss.data?.(chosen.options, contextOf(start, model))
  const teach = await lessons(train, start, model, exampleRows)
  return async rows => [{ ...chosen, ...(data && { data: await data(rows) }) }, ...(await teach(rows))]
}

function contextOf(prompt: ActivePrompt, model: LanguageModel): LossContext {
  const { vocabSize } = model.config
  const start = { ...prompt, parameters: new Map([...prompt.parameters].map(([name, values]) => [name, values.slice()])) }
  const known = { start: new WeakMap<ContextRow, Float32Array>(), none: new WeakMap<ContextRow, Float32Array>() }
  const say = async (under: 'start' | 'none', row: ContextRow) => {
    const remembered = known[under].get(row)
    if (remembered) return remembered
    const all = await model.labelLogProbabilities(under === 'start' ? start : undefined, row)
    const own = Float32Array.from(labelPositions(row), (position, i) => all[i * vocabSize + row.labels[position]!]!)
    known[under].set(row, own)
    return own
  }
  return {
    model: model.config,
    async logProbabilities(under, rows) {
      const said: Float32Array[] = []
      for (const row of rows) said.push(await say(under, row))
      return said
    },
  }
}
