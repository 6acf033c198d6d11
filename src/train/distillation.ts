import { GradpromptError } from '../errors.js'
import { activePrompt } from '../evaluate/prompt.js'
import type { ActivePrompt, LabelledRow, LanguageModel } from '../model/language-model.js'
import { promptPath } from '../prompts/transfer.js'
import { readPrompt } from '../runs/prompt-file.js'
import { createTeacher, type Teacher } from './regularization.js'

/** What a prompt is held to beside the labels: see `distillationTeacher`. */
export interface DistillationOptions {
  /** `source-prompt`, a run, or a run for each task of the prompt. */
  readonly from: string | readonly string[]
}

/** The word that stands for the prompt as it starts. */
export const sourcePrompt = 'source-prompt'

/**
 * The model under another prompt, as a teacher: one that an earlier run learned, or the one that this run starts from (PANDA, Zhong et al.
 * 2022, arXiv 2208.10160: the knowledge of the source prompt is not to be forgotten). A prompt of several tasks may have a teacher for
 * each, learned on that task alone (Wang et al. 2023, arXiv 2303.02861: source training of multitask prompt tuning).
 *
 * @param start the prompt before its first step
 * @throws GradpromptError `invalid-config` (not as many runs as tasks), `model-mismatch`, `file-not-found`, and those of `readPrompt`
 */
export async function distillationTeacher(
  { from }: DistillationOptions,
  start: ActivePrompt,
  model: LanguageModel,
): Promise<Teacher> {
  if (from === sourcePrompt) {
    const parameters = new Map([...start.parameters].map(([name, values]) => [name, values.slice()]))
    return createTeacher(model, { ...start, parameters })
  }
  const paths = typeof from === 'string' ? [from] : from
  const tasks = start.method.tasks?.(start.config)?.names
  if (paths.length > 1 && paths.length !== tasks?.length) {
    throw new GradpromptError('invalid-config', 'train.distillation.from does not name a run for each task', {
      found: `${paths.length} runs`,
      expected: tasks ? `1, or ${tasks.length}: one for each of method.tasks, in their order` : '1: the method has one task',
    })
  }
  const teachers: Teacher[] = []
  for (const path of paths) {
    const teacher = activePrompt(await readPrompt(await promptPath(path, 'train.distillation.from')), model)
    teachers.push(createTeacher(model, underOwnTask(teacher, tasks)))
  }
  const [only, ...others] = teachers as [Teacher, ...Teacher[]]
  if (others.length === 0) return only
  return {
    async logProbabilities(rows) {
      const results: Float32Array[] = []
      for (const row of rows) results.push(...(await teachers[taskOf(row)]!.logProbabilities([row])))
      return results
    },
  }
}

const taskOf = ({ task = 0 }: LabelledRow) => task

/** A teacher of several tasks follows a row's task if its tasks are those of the rows; otherwise it is what all of its tasks share. */
function underOwnTask(teacher: ActivePrompt, tasks: readonly string[] | undefined): ActivePrompt {
  const { forTask, ...method } = teacher.method
  const own = teacher.method.tasks?.(teacher.config)?.names
  return forTask && own?.join('\n') === tasks?.join('\n') ? teacher : { ...teacher, method }
}
