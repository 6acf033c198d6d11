import type { ActiveLoss, LossTerm } from '../../losses/loss.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { LabelledRow } from '../../model/row.js'
import type { InitialisationContext } from '../../prompts/method.js'
import type { Config } from '../options/schema.js'
import type { TeacherModel } from '../study/teacher-model.js'

/** What a run's options hold a prompt to beside its own loss. One is one file beside this one, and a line in `index.ts`. */
export interface Regulariser {
  /** The losses that it adds; none where the options do not ask for it. */
  losses(train: Config['train']): readonly ActiveLoss[]
  /** What a batch's rows bring for each of these. Asked once, before the first step, and only where it adds some. */
  open(
    train: Config['train'],
    context: RegulariserContext,
  ): Promise<(rows: readonly LabelledRow[]) => Promise<readonly LossTerm[]>>
}

export interface RegulariserContext {
  /** The prompt before its first step. */
  readonly start: ActivePrompt
  readonly model: LanguageModel
  readonly exampleRows: InitialisationContext['exampleRows']
  /** What is learned and kept, as it stands. */
  readonly parameters: ReadonlyMap<string, Float32Array>
  /** The model of `train.distillation.model`. */
  readonly other?: TeacherModel | undefined
}
