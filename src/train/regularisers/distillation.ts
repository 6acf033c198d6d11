import { declareCode } from '../../code-identity.js'
import { plainRow } from '../../data/texts/soft-tokens.js'
import { GradpromptError } from '../../errors.js'
import { hiddenDifference } from '../../losses/hidden-difference.js'
import { type ActiveLoss, type LossTerm, lossTerm } from '../../losses/loss.js'
import { teacherDivergence } from '../../losses/teacher-divergence.js'
import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { LabelledRow } from '../../model/row.js'
import { type Checkpoint, openCheckpoint, shortName } from '../../model/weights/checkpoint.js'
import { hashModel } from '../../model/weights/weight-file.js'
import { sourcePrompt } from '../../prompts/initialisation.js'
import type { InitialisationContext } from '../../prompts/method.js'
import { softVocabulary } from '../../prompts/soft-rows.js'
import { staticRows } from '../../prompts/static.js'
import { sourceWeights } from '../../prompts/transfer.js'
import { loadPrompt } from '../../sources/prompt.js'
import { promptPath, readPrompt } from '../../store/prompt-file.js'
import type { Config } from '../options/schema.js'
import { checkTeacherModel, type TeacherModel } from '../study/teacher-model.js'
import { createTeacher, type Teacher } from './regularization.js'

type Distillation = NonNullable<Config['train']['distillation']>

type Teaching = Pick<Config['train'], 'regularization' | 'distillation'>

/** The losses that a run's options hold the prompt to a teacher by; what the teacher says of a batch comes from `lessons`. */
export function teacherLosses({ regularization, distillation }: Teaching): ActiveLoss[] {
  const { temperature } = regularization ?? distillation ?? {}
  if (temperature === undefined) return []
  const divergence = lossTerm(teacherDivergence, { type: 'teacher-divergence', temperature })
  return distillation?.hidden ? [divergence, lossTerm(hiddenDifference, { type: 'hidden-difference' })] : [divergence]
}

/**
 * What a run's options teach beside the labels: the frozen model (`train.regularization`), another prompt (`train.distillation`), or
 * both, as one teacher.
 *
 * @param start the prompt before its first step
 * @param options.exampleRows what the task is like: with `train.distillation.scale`
 * @param options.other the model of `train.distillation.model`
 * @returns of a batch's rows the terms of `teacherLosses`
 * @throws GradpromptError as `distillationTeacher`; `invalid-config`
 */
export async function lessons(
  train: Teaching,
  start: ActivePrompt,
  model: LanguageModel,
  {
    exampleRows = () => [],
    other,
  }: { readonly exampleRows?: InitialisationContext['exampleRows']; readonly other?: TeacherModel | undefined } = {},
): Promise<(rows: readonly LabelledRow[]) => Promise<LossTerm[]>> {
  const { regularization, distillation } = train
  const teachers: { weight: number; temperature: number; teacher: Teacher }[] = []
  let distiller: Teacher | undefined
  let near = 1
  if (regularization) {
    await model.prepareLogits(undefined)
    teachers.push({ ...regularization, teacher: createTeacher(model, undefined, { read: reader(start, undefined, model) }) })
  }
  if (distillation) {
    distiller = await distillationTeacher(distillation, start, model, other)
    if (distillation.scale === 'neurons') near = await overlap(distillation.from!, start, model, exampleRows)
    teachers.push({ ...distillation, weight: distillation.weight * near, teacher: distiller })
  }
  const [divergence, difference] = teacherLosses(train)
  const [first] = teachers
  if (first === undefined || divergence === undefined) return () => Promise.resolve([])
  const { temperature } = first
  const weight = teachers.reduce((sum, teacher) => sum + teacher.weight, 0)
  return async rows => {
    const said = await Promise.all(teachers.map(({ teacher }) => teacher.logProbabilities(rows)))
    const logProbabilities =
      said.length === 1
        ? said[0]!
        : rows.map((_, i) =>
            meanTeacher(
              said.map(of => of[i]!),
              teachers.map(teacher => teacher.weight / weight),
              { temperature, vocabSize: model.config.vocabSize },
            ),
          )
    const terms: LossTerm[] = [{ ...divergence, data: { weight, rows: logProbabilities } }]
    if (difference)
      terms.push({ ...difference, data: { weight: distillation!.hidden * near, rows: await distiller!.hidden(rows) } })
    return terms
  }
}

/**
 * The model under another prompt, or another model, as a teacher: one that an earlier run learned, or the one that this run starts from (PANDA, Zhong et al.
 * 2022, arXiv 2208.10160: what the source prompt knows is not to be forgotten). A prompt of several tasks may have a teacher for each,
 * learned on that task alone (Wang et al. 2023, arXiv 2303.02861: the source training of multitask prompt tuning).
 *
 * @throws GradpromptError `invalid-config` (not as many runs as tasks), `model-mismatch`, `file-not-found`, and those of `readPrompt`
 */
export async function distillationTeacher(
  { from, hidden }: Pick<Distillation, 'from' | 'hidden'>,
  start: ActivePrompt,
  student: LanguageModel,
  other?: TeacherModel,
): Promise<Teacher> {
  const withHidden = hidden > 0
  const model = (await other?.open()) ?? student
  if (from === undefined) {
    await model.prepareLogits(undefined)
    return createTeacher(model, undefined, { withHidden, read: reader(start, undefined, model) })
  }
  if (from === sourcePrompt) {
    const parameters = new Map([...start.parameters].map(([name, values]) => [name, values.slice()]))
    return createTeacher(model, { ...start, parameters }, { withHidden })
  }
  const paths = typeof from === 'string' ? [from] : from
  const tasks = start.method.tasks?.(start.config)?.names
  if (paths.length > 1 && paths.length !== tasks?.length) {
    throw new GradpromptError('invalid-config', 'train.distillation.from does not name a run for each task', {
      found: `${paths.length} runs`,
      expected: tasks ? `1, or ${tasks.length}: one for each of method.tasks, in their order` : '1: the prompt has one task',
    })
  }
  const teachers: Teacher[] = []
  for (const path of paths) {
    const prompt = await loadPrompt(await readPrompt(await promptPath(path, 'train.distillation.from')), model)
    teachers.push(createTeacher(model, underOwnTask(prompt, tasks), { withHidden, read: reader(start, prompt, model) }))
  }
  if (teachers.length === 1) return teachers[0]!
  const each = async (rows: readonly LabelledRow[], say: (teacher: Teacher, row: LabelledRow) => Promise<Float32Array[]>) => {
    const results: Float32Array[] = []
    for (const row of rows) results.push(...(await say(teachers[row.task ?? 0]!, row)))
    return results
  }
  return {
    logProbabilities: rows => each(rows, (teacher, row) => teacher.logProbabilities([row])),
    hidden: rows => each(rows, (teacher, row) => teacher.hidden([row])),
  }
}

/**
 * How near the teacher's prompt is to the task: PANDA's metric, between that prompt and the task's own examples (see `transfer.ts`).
 * @throws GradpromptError `invalid-config` where there is not one prompt, or it has no rows at the input
 */
async function overlap(
  from: NonNullable<Distillation['from']>,
  start: ActivePrompt,
  model: LanguageModel,
  exampleRows: InitialisationContext['exampleRows'],
): Promise<number> {
  const paths = typeof from === 'string' ? [from] : from
  const teachers = await Promise.all(
    paths.map(async path =>
      path === sourcePrompt ? start : loadPrompt(await readPrompt(await promptPath(path, 'train.distillation.from')), model),
    ),
  )
  const [teacher] = teachers
  if (teachers.length > 1 || !teacher!.method.inputRows)
    throw new GradpromptError('invalid-config', 'train.distillation.scale: neurons needs one teacher with rows at the input', {
      found: `train.distillation.from: ${teachers.map(({ method }) => method.type).join(', ')}`,
      expected: 'one run of a method such as prompt-tuning',
      hint: 'leave train.distillation.scale out, and set train.distillation.weight',
    })
  const { method, config, parameters } = teacher!
  const tensors = method.parameters(config, model.config).map(({ name, shape }) => ({ name, shape, data: parameters.get(name)! }))
  const [weight] = await sourceWeights('panda', [await staticRows(method, config, tensors)], {
    model: model.config,
    embeddingRows: ids => model.embeddingRows(ids),
    keysAndValues: rows => model.keysAndValues(rows),
    exampleRows,
  })
  return weight!
}

/**
 * Refuses teachers that do not fit the model, before any weight is read.
 * @throws GradpromptError `model-mismatch`, `file-not-found`, and those of `readPrompt`
 */
export async function checkTeachers(
  distillation: Pick<Distillation, 'from' | 'model' | 'hidden'> | undefined,
  checkpoint: Checkpoint,
): Promise<void> {
  if (distillation === undefined) return
  const { from, model, hidden } = distillation
  if (model !== undefined) await checkTeacherModel(model, checkpoint, hidden > 0)
  if (from === undefined || from === sourcePrompt) return
  const teacher = model === undefined ? checkpoint : await openCheckpoint(model)
  if (model !== undefined) await teacher.file.close()
  const base = { config: teacher.config, name: shortName(teacher), hash: await hashModel(teacher.files) }
  for (const path of [from].flat()) await loadPrompt(await readPrompt(await promptPath(path, 'train.distillation.from')), base)
}

/** Rows as a teacher sees them: with soft tokens only where its own template had the same; otherwise with the words that these start from. */
export function reader(student: ActivePrompt, teacher: ActivePrompt | undefined, model: LanguageModel) {
  const soft = softVocabulary(student.config, model.config)
  const known = softVocabulary(teacher?.config, model.config)
  if (soft === undefined || JSON.stringify(soft) === JSON.stringify(known)) return (row: LabelledRow) => row
  return (row: LabelledRow) => plainRow(row, soft)
}

/** A teacher of several tasks follows a row's task if its tasks are those of the rows; otherwise it says what all its tasks share. */
function underOwnTask(teacher: ActivePrompt, tasks: readonly string[] | undefined): ActivePrompt {
  const { forTask, ...method } = teacher.method
  const own = teacher.method.tasks?.(teacher.config)?.names
  if (forTask && own?.join('\n') === tasks?.join('\n')) return teacher
  return { ...teacher, method: declareCode(import.meta.url, method, [teacher.method]) }
}

/** Log-probabilities at temperature 1 that are, at the given one, the weighted mean of the teachers' probabilities. */
function meanTeacher(
  teachers: readonly Float32Array[],
  weights: readonly number[],
  { temperature, vocabSize }: { temperature: number; vocabSize: number },
): Float32Array {
  const mean = new Float32Array(teachers[0]!.length)
  for (let start = 0; start < mean.length; start += vocabSize) {
    for (const [k, teacher] of teachers.entries()) {
      let sum = 0
      for (let i = start; i < start + vocabSize; i++) sum += Math.exp(teacher[i]! / temperature)
      for (let i = start; i < start + vocabSize; i++) mean[i]! += (weights[k]! * Math.exp(teacher[i]! / temperature)) / sum
    }
    for (let i = start; i < start + vocabSize; i++) mean[i] = temperature * Math.log(Math.max(mean[i]!, 1e-38))
  }
  return mean
}
