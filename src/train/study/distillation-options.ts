import { z } from 'zod'
import { sourcePrompt } from '../../prompts/initialisation.js'

/** What teaches a prompt beside the labels, or in their place: `train.distillation`. */
export const distillationSchema = z.strictObject({
  from: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .optional()
    .describe(
      `the prompt that teaches: a run; a list with a run for each of method.tasks; or ${sourcePrompt}, the prompt that method.init.type: runs gives; with train.distillation.model it may be left out: no prompt`,
    ),
  model: z
    .string()
    .min(1)
    .optional()
    .describe('the model that teaches, by default the one that learns: for a quantised one the same at full precision'),
  alone: z
    .boolean()
    .default(false)
    .describe("learn from the teacher alone, without the label tokens' cross entropy: what the text says then does not matter"),
  weight: z.number().positive().default(1).describe("of the divergence from the teacher, beside the label tokens' cross entropy"),
  temperature: z.number().positive().default(1).describe('divides the logits of both before they are compared'),
  hidden: z
    .number()
    .min(0)
    .default(0)
    .describe("weight of the mean squared difference from the teacher's hidden states at the labels (MPT); 0: none"),
  scale: z
    .enum(['none', 'neurons'])
    .default('none')
    .describe("multiply both weights by how near the teacher's prompt is to the task (PANDA): by the neurons that both activate"),
})

type Distillation = z.output<typeof distillationSchema>

/** Refuses teachers that contradict themselves or the options beside them. */
export function refuseTeaching(
  distillation: Distillation,
  {
    loss,
    labelSmoothing,
    init,
  }: { readonly loss?: unknown; readonly labelSmoothing: number; readonly init?: { readonly type?: string } | undefined },
  refuse: (message: string, hint: string) => void,
): void {
  if (distillation.from === undefined && distillation.model === undefined)
    refuse('train.distillation names no teacher', 'name a run (train.distillation.from), or a model (train.distillation.model)')
  if (distillation.model !== undefined && distillation.scale !== 'none')
    refuse(
      `train.distillation.scale: ${distillation.scale} compares two prompts of one model`,
      'leave it or train.distillation.model out',
    )
  if (distillation.alone && (loss !== undefined || labelSmoothing > 0))
    refuse('train.distillation.alone leaves out the loss that train.loss or train.labelSmoothing names', 'keep one of the two')
  if (distillation.from === sourcePrompt && init?.type !== 'runs')
    refuse(
      `train.distillation.from: ${sourcePrompt} needs method.init.type: runs`,
      'start from a run (method.init), or name the run that teaches (train.distillation.from)',
    )
}
