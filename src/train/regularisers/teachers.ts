import { lessons, teacherLosses } from './distillation.js'
import type { Regulariser } from './regulariser.js'

/** `train.regularization` and `train.distillation`: the frozen model, another prompt, or both as one teacher. */
export const teachers: Regulariser = {
  losses: teacherLosses,
  open: (train, { start, model, exampleRows, other }) => lessons(train, start, model, { exampleRows, other }),
}
