import type { TrainingRow } from '../../data/rows/rows.js'
import type { ActiveLoss, LossTerm } from '../../losses/loss.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { PromptGradient } from '../../model/prompt-gradient.js'
import { elementCount } from '../../numbers.js'
import type { Privacy } from '../privacy/options.js'
import { privateGradient, type RecordGradient } from '../privacy/private-gradient.js'
import type { Batches } from './batches.js'
import { classGradient } from './class-gradient.js'

/** How the gradient of a step is computed where it is not that of its rows as one batch: of classes, or under differential privacy. */

export interface StepOptions {
  readonly model: LanguageModel
  readonly prompt: ActivePrompt
  readonly batch: Batches
  readonly chosen: ActiveLoss
  readonly losses: (rows: readonly TrainingRow[]) => Promise<readonly LossTerm[]>
  /** Rows that each record makes. */
  readonly answers: number
  readonly recompute: boolean
  readonly privacy: { readonly mechanism: Privacy; readonly expected: number; readonly key: Uint8Array } | undefined
}

type StepGradient = (step: number) => Promise<Omit<PromptGradient, 'rows'>>

/** @returns undefined: of the rows as they are */
export function stepGradient(options: StepOptions): StepGradient | undefined {
  const { model, prompt, batch, chosen, recompute, privacy } = options
  const isOfClasses = chosen.loss.ofClasses !== undefined
  if (privacy !== undefined) {
    const shapes = prompt.method.parameters(prompt.config, model.config).filter(({ frozen }) => !frozen)
    const sizes = new Map(shapes.map(({ name, shape }) => [name, elementCount(shape)]))
    const { mechanism, expected, key } = privacy
    return step => privateGradient(sizes, ofRecords(options, step), { ...mechanism, expected }, { key, step })
  }
  if (!isOfClasses) return undefined
  return step => classGradient(model, prompt, batch.scoring(step), chosen, { recompute })
}

/** Of each record by itself: its rows are one group, and nothing of it depends on another. */
function ofRecords(
  { model, prompt, batch, chosen, losses, answers, recompute }: StepOptions,
  step: number,
): (() => Promise<RecordGradient>)[] {
  if (chosen.loss.ofClasses !== undefined)
    return batch.scoring(step).map(row => () => classGradient(model, prompt, [row], chosen, { recompute }))
  const rows = batch.training(step)
  return Array.from({ length: rows.length / answers }, (_, i) => async () => {
    const own = rows.slice(i * answers, (i + 1) * answers)
    return model.promptGradient(prompt, own, {
      losses: await losses(own),
      groups: answers > 1 ? [answers] : undefined,
      recompute,
    })
  })
}
