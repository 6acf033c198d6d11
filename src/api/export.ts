import { readdir } from 'node:fs/promises'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { readRecords } from '../data/read.js'
import type { DataNotice } from '../data/readers/reader.js'
import type { DataRecord } from '../data/readers/records.js'
import { RowBuilder } from '../data/rows/rows.js'
import type { TaskConfig } from '../data/task-config.js'
import { fillPrompt, PROMPT_COLUMN } from '../data/texts/prompt-place.js'
import { compileMessages } from '../data/texts/rendering.js'
import { promptTokenizer } from '../data/texts/soft-tokens.js'
import { compileTemplate, type Template } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'
import { refuseOccupied, writeFolder } from '../export/folder.js'
import { exportTargets, refuseUnheld } from '../export/index.js'
import { makeSelfTest, type SelfTestCase, writeSelfTest } from '../export/self-test.js'
import type { ExportTarget, FoundContext, TargetOptions } from '../export/target.js'
import { type ActivePrompt, plainPrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { withModel } from '../model/with-model.js'
import { ownCommand } from '../own-command.js'
import { promptTuningSchema } from '../prompts/methods/prompt-tuning.js'
import { softVocabulary } from '../prompts/soft-rows.js'
import { isStatic, staticRows } from '../prompts/static.js'
import { openPrompt, type PromptGiven } from '../sources/open.js'
import { loadPrompt, loadPromptMethod, promptTask } from '../sources/prompt.js'
import type { FoundRun } from '../sources/run.js'
import type { PromptFile } from '../store/prompt-file.js'

/** A run of either kind, or its folder. */
type Exported = Extract<PromptGiven, string | { readonly folder: string }>

export interface ExportOptions extends TargetOptions {
  /** Where the prompt is to be used: `peft`, `hf`, … (`gradprompt export --help` lists them), a target of your own, or the path of its module. */
  readonly to: string | ExportTarget
  /** The folder to make. */
  readonly out: string
  /** The model or its name; by default that of the run. */
  readonly model?: LanguageModel | string | undefined
  /** Of a prompt of several tasks the one to export: it then is rows, which every target with a place for prompt tuning holds. */
  readonly promptTask?: string | undefined
  /** Export a prompt that was learned on another model of the same width. */
  readonly force?: boolean | undefined
  /** How many rows the self-test has at most (3 by default), and how many greedy tokens each (8). */
  readonly selfTest?: SelfTestSize | undefined
  /** Hears, before anything is computed, what is to be said of the run: that it has not ended. */
  readonly onWarning?: ((warning: DataNotice) => void) | undefined
}

export interface SelfTestSize {
  readonly rows?: number
  readonly tokens?: number
}

const names = {
  to: true,
  out: true,
  model: true,
  promptTask: true,
  force: true,
  dtype: true,
  delta: true,
  selfTest: true,
  onWarning: true,
} satisfies OptionNames<ExportOptions>

const mostTestRows = 50

/**
 * Writes what a run learned for another tool, with a self-test beside it: a few rows of the run's own training data, and what a
 * consumer must compute for them. What a search has found goes to targets that take words.
 * @returns the folder and the files in it
 * @throws GradpromptError `unknown-target`, `model-mismatch`, `not-exportable`, `run-not-finished`, and what the target throws
 */
export async function exportPrompt(run: Exported, options: ExportOptions): Promise<{ folder: string; files: string[] }> {
  refuseUnknown('exportPrompt', options, names)
  const { to, out, model: given, promptTask: task, force, onWarning, selfTest: size = {}, ...others } = options
  const { rows: count = 3, tokens: newTokens = 8 } = size
  const target = exportTargets.get(await exportTargets.load(to))
  const source = await openPrompt(run, { force })
  const { found, task: config, file, notice } = source
  if (notice !== undefined) onWarning?.(notice)
  const taken = takenOptions(target, others)
  if (task !== undefined) promptTask(file?.method ?? { type: 'text' }, task, 'promptTask')
  if (found !== undefined) {
    await writeFolder(out, folder => writeWords(target, found, folder))
    return { folder: out, files: (await readdir(out)).sort() }
  }
  if (source.kind !== 'vectors') throw notARun(run)
  if (file !== undefined && task === undefined) refuseUnheld(target, await loadPromptMethod(file), file.method)
  // Before a model is loaded; whoever makes the folder meanwhile is met when it gets its name.
  await refuseOccupied(out)
  const baseModel = config?.model ?? source.base ?? given ?? missingModel()
  // What the file is to come to elsewhere is said in float32.
  await withModel(given ?? baseModel, { ...config, precision: 'fp32' }, async model => {
    const one = file && task !== undefined ? await ofTask(file, await loadPrompt(file, model, { force }), task, model) : file
    const whole = one === undefined ? (await source.active(model))! : await loadPrompt(one, model, { force })
    refuseUnheld(target, whole.method, whole.config)
    const active = ofFirstTask(whole)
    const prompt = one ?? fileOf(whole, model)
    const inputs = await selfTestInputs(config, model, prompt, { count, newTokens })
    const { vocabSize } = model.config
    const tested = await asRows(active, prompt, model)
    const logits = (given: number[][], last: number) => model.logits(given, tested, { last })
    const rows = inputs.map(({ ids }) => ids)
    const guesses = inputs.map(({ answer }) => answer)
    const selfTest = await makeSelfTest({ vocabSize, logits }, rows, { newTokens, guesses })
    const cases = selfTest.cases.map((made, i): SelfTestCase => {
      const { answer: _, ...input } = inputs[i]!
      return { ...made, ...input }
    })
    const name = typeof baseModel === 'string' ? baseModel : baseModel.checkpoint.path
    await writeFolder(out, async folder => {
      await writeSelfTest(folder, cases)
      const rows = async () => (config === undefined || prompt.privacy ? [] : answeredRows(config))
      const context = {
        prompt,
        active,
        model,
        baseModel: name,
        selfTest: { ...selfTest, cases },
        answeredRows: rows,
        folder,
        out,
      }
      await target.write({ ...context, options: taken })
    })
  })
  return { folder: out, files: (await readdir(out)).sort() }
}

async function writeWords(target: ExportTarget, found: FoundRun, folder: string): Promise<void> {
  if (target.writeFound === undefined) {
    const fitting = [...exportTargets].filter(([, { writeFound }]) => writeFound !== undefined).map(([name]) => name)
    throw new GradpromptError('not-exportable', `${target.name} takes soft prompts, and ${found.folder} has found words`, {
      found: 'a run of gradprompt search',
      expected: `one of ${fitting.join(', ')}`,
      hint: ownCommand`export ${found.folder} --to text --out DIR`,
    })
  }
  const { template, answer, data } = found.config
  const classes = data.labels ?? found.labels ?? undefined
  // Of several words of a class the first is the answer.
  const labels = classes && Object.values(classes).map(words => (typeof words === 'string' ? words : words[0]!))
  // A prompt that was found in private leaves without a row, and without what it scored on them.
  const rows = found.privacy === undefined ? await answeredRows(found.config) : []
  await target.writeFound({ found, template: fillPrompt(template, found.prompt), answer, labels, rows, folder })
}

/** Rows for other tools' tests, with what the answer to each is; none where the data are gone. */
async function answeredRows({
  template,
  answer,
  data,
}: Pick<TaskConfig, 'template' | 'answer' | 'data'>): Promise<FoundContext['rows']> {
  const path = data.test ?? data.dev ?? data.train
  const columns = compileMessages(template).columns.filter(column => column !== PROMPT_COLUMN)
  const filled = compileTemplate(answer)
  const needed = [...new Set([...columns, ...filled.columns])]
  const file = await readRecords(path, { columns: data.columns, task: data.task, needed }).catch(() => undefined)
  const word = (value: string) => [data.labels?.[value] ?? value].flat()[0]!
  return (file?.records ?? []).slice(0, mostTestRows).map(record => ({
    values: Object.fromEntries(columns.map(column => [column, String(record[column])])),
    answer: filled.render(Object.fromEntries(filled.columns.map(column => [column, word(String(record[column]))]))),
  }))
}

const notARun = (given: Exported) =>
  new GradpromptError('not-a-run', 'only what was learned or found can be exported', {
    found: typeof given === 'string' ? `${given}, which holds words as they are` : 'a prompt without its run',
    expected: 'a run of gradprompt tune or gradprompt search, a prompt file, or vectors of another tool',
  })

const missingModel = (): never => {
  throw new GradpromptError('missing-option', 'the prompt does not say which model it is for', {
    expected: '--model MODEL, or model: a name or an open model',
  })
}

/** A prompt from another tool, which knows nothing of a task: its text is whatever it is given. */
function fileOf({ method, config, parameters }: ActivePrompt, { name, hash, config: sizes }: LanguageModel): PromptFile {
  const { numVirtualTokens, position } = method.placement(config, sizes)
  const tensors = method.parameters(config, sizes).map(({ name, shape }) => ({ name, shape, data: parameters.get(name)! }))
  const { hiddenSize } = sizes
  const task = { template: '{text}', answer: '{answer}', seed: 0 }
  return { method: { ...config }, model: { name, hash }, hiddenSize, numVirtualTokens, position, ...task, tensors }
}

/** A prompt that is rows in front of the text, as these: all such prompts of one length run in one program. */
async function asRows(active: ActivePrompt, { position }: PromptFile, { config }: LanguageModel): Promise<ActivePrompt> {
  if (!isStatic(active.method, active.config)) return active
  const shapes = active.method.parameters(active.config, config)
  const data = await staticRows(
    active.method,
    active.config,
    shapes.map(({ name, shape }) => ({ name, shape, data: active.parameters.get(name)! })),
  )
  return plainPrompt({ data, shape: [data.length / config.hiddenSize, config.hiddenSize], position }, config)
}

/** One task of a prompt as a prompt of its own: the rows that it comes to. @throws GradpromptError `not-exportable`, `unknown-task` */
async function ofTask(
  file: PromptFile,
  whole: ActivePrompt,
  task: string,
  { config: sizes }: LanguageModel,
): Promise<PromptFile> {
  const { method, config } = whole
  const index = promptTask(config, task, 'promptTask')
  if (!isStatic(method, config))
    throw new GradpromptError('not-exportable', `One task of a prompt of ${method.type} cannot be exported by itself here`, {
      found: `promptTask: ${task}, of a prompt that is more than rows before the text`,
      expected: 'a prompt that comes to rows before the text for each task',
    })
  const parameters = method.forTask!(config, whole.parameters, index)
  const tensors = method.parameters(config, sizes).map(({ name, shape }) => ({ name, shape, data: parameters.get(name)! }))
  const data = await staticRows(method, config, tensors)
  const { numVirtualTokens } = file
  const plain = promptTuningSchema.parse({ type: 'prompt-tuning', numVirtualTokens, position: file.position })
  return { ...file, method: plain, tensors: [{ name: 'prompt', shape: [numVirtualTokens, sizes.hiddenSize], data }] }
}

/** A prompt of several tasks is tested as its first. */
const ofFirstTask = ({ method, config, parameters }: ActivePrompt): ActivePrompt => ({
  method,
  config,
  parameters: method.tasks?.(config) ? method.forTask!(config, parameters, 0) : parameters,
})

/** @throws GradpromptError `invalid-option` for an option that the target does not read */
function takenOptions(target: ExportTarget, given: TargetOptions): TargetOptions {
  for (const [name, value] of Object.entries(given)) {
    const takers = [...exportTargets].filter(([, { takes }]) => takes?.includes(name as keyof TargetOptions))
    if (value === undefined || value === false || target.takes?.includes(name as keyof TargetOptions)) continue
    throw new GradpromptError('invalid-option', `the target ${target.name} has no option ${name}`, {
      found: `${name}: ${String(value)}`,
      expected: target.takes?.join(', ') || 'none',
      hint: `${takers.map(([taker]) => taker).join(', ')} ${takers.length === 1 ? 'has' : 'have'} it`,
    })
  }
  return given
}

/** What is fed, and what of the answer may come behind it. */
type SelfTestInput = Pick<SelfTestCase, 'ids' | 'text' | 'addSpecialTokens'> & { readonly answer: readonly number[] }

/** The beginnings of a few training rows, as they are fed before the answer, and their texts. */
async function selfTestInputs(
  config: TaskConfig | undefined,
  model: LanguageModel,
  prompt: PromptFile,
  { count, newTokens }: { readonly count: number; readonly newTokens: number },
): Promise<SelfTestInput[]> {
  const soft = softVocabulary(prompt.method, model.config)
  const builder = new RowBuilder(model.tokenizer, {
    template: (config ?? prompt).template as Template,
    answer: (config ?? prompt).answer,
    contextLength: model.config.maxPositionEmbeddings - newTokens,
    numVirtualTokens: prompt.numVirtualTokens,
    truncate: true,
    soft,
  })
  // A run may outlive its data, and a prompt file has none: then the columns' names stand in for their values.
  const standIn: DataRecord = Object.fromEntries(builder.columns.map(column => [column, column]))
  // A private prompt leaves without a row that it was learned from.
  const records =
    config === undefined || prompt.privacy ? [standIn] : await trainingRecords(config.data, builder.columns, { standIn, count })
  const addSpecialTokens = typeof (config ?? prompt).template === 'string'
  const tokenizer = promptTokenizer(model.tokenizer, soft)
  const contexts = records.flatMap((record, i): SelfTestInput[] => {
    const { segments } = builder.training(record, i)
    const context = segments.find(({ role }) => role === 'context')
    if (context === undefined) return []
    const { ids, text } = context
    const answer = segments.find(({ role }) => role === 'label')?.ids ?? []
    const isWhole = tokenizer.encode(text, { addSpecialTokens }).join() === ids.join()
    return [isWhole ? { ids, text, addSpecialTokens, answer } : { ids, answer }]
  })
  return contexts.length > 0 ? contexts : [{ ids: model.tokenizer.encode('x'), answer: [] }]
}

const trainingRecords = (
  { train, columns, task }: TaskConfig['data'],
  needed: readonly string[],
  { standIn, count }: { readonly standIn: DataRecord; readonly count: number },
) =>
  readRecords(train, { columns, task, needed }).then(
    file => file.records.slice(0, count),
    () => [standIn],
  )
