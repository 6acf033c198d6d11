import { readdir } from 'node:fs/promises'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { readRecords } from '../data/read.js'
import type { DataRecord } from '../data/readers/records.js'
import { RowBuilder } from '../data/rows/rows.js'
import type { TaskConfig } from '../data/task-config.js'
import { promptTokenizer } from '../data/texts/soft-tokens.js'
import { GradpromptError } from '../errors.js'
import { writeFolder } from '../export/folder.js'
import { exportTargets, refuseUnheld } from '../export/index.js'
import { makeSelfTest, type SelfTestCase, writeSelfTest } from '../export/self-test.js'
import type { ExportTarget, TargetOptions } from '../export/target.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { withModel } from '../model/with-model.js'
import { softVocabulary } from '../prompts/soft-rows.js'
import { loadPrompt, loadPromptMethod } from '../sources/prompt.js'
import { type LearnedRun, readLearnedRun } from '../sources/run.js'
import type { PromptFile } from '../store/prompt-file.js'

export interface ExportOptions extends TargetOptions {
  /** Where the prompt is to be used: `peft`, `hf`, … (`gradprompt export --help` lists them), a target of your own, or the path of its module. */
  readonly to: string | ExportTarget
  /** The folder to make. */
  readonly out: string
  /** The model or its name; by default that of the run. */
  readonly model?: LanguageModel | string | undefined
  /** Export a prompt that was learned on another model of the same width. */
  readonly force?: boolean | undefined
}

const names = { to: true, out: true, model: true, force: true, dtype: true, delta: true } satisfies OptionNames<ExportOptions>

const selfTestRows = 3
const selfTestTokens = 8

/**
 * Writes what a run learned for another tool, with a self-test beside it: a few rows of the run's own training data, and what a
 * consumer must compute for them.
 * @returns the folder and the files in it
 * @throws GradpromptError `unknown-target`, `model-mismatch`, `not-exportable`, `run-not-finished`, and what the target throws
 */
export async function exportPrompt(
  run: LearnedRun | string,
  options: ExportOptions,
): Promise<{ folder: string; files: string[] }> {
  refuseUnknown('exportPrompt', options, names)
  const { to, out, model: given, force, ...others } = options
  const target = exportTargets.get(await exportTargets.load(to))
  const { config, prompt } = typeof run === 'string' ? await readLearnedRun(run) : run
  const taken = takenOptions(target, others)
  refuseUnheld(target, await loadPromptMethod(prompt), prompt.method)
  await withModel(given ?? config.model, config, async model => {
    const active = ofFirstTask(await loadPrompt(prompt, model, { force }))
    const inputs = await selfTestInputs(config, model, prompt)
    const { vocabSize } = model.config
    const rows = inputs.map(({ ids }) => ids)
    const selfTest = await makeSelfTest({ vocabSize, logits: given => model.logits(given, active) }, rows, {
      newTokens: selfTestTokens,
    })
    const cases = selfTest.cases.map((made, i): SelfTestCase => ({ ...made, ...inputs[i]! }))
    await writeFolder(out, async folder => {
      await writeSelfTest(folder, cases)
      const context = { prompt, active, model, baseModel: config.model, selfTest: { ...selfTest, cases }, folder }
      await target.write({ ...context, options: taken })
    })
  })
  return { folder: out, files: (await readdir(out)).sort() }
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

type SelfTestInput = Pick<SelfTestCase, 'ids' | 'text' | 'addSpecialTokens'>

/** The beginnings of a few training rows, as they are fed before the answer, and their texts. */
async function selfTestInputs(config: TaskConfig, model: LanguageModel, prompt: PromptFile): Promise<SelfTestInput[]> {
  const soft = softVocabulary(prompt.method, model.config)
  const builder = new RowBuilder(model.tokenizer, {
    template: config.template,
    answer: config.answer,
    contextLength: model.config.maxPositionEmbeddings - selfTestTokens,
    numVirtualTokens: prompt.numVirtualTokens,
    truncate: true,
    soft,
  })
  const { data } = config
  // A run may outlive its data: then the columns' names stand in for their values.
  const standIn: DataRecord = Object.fromEntries(builder.columns.map(column => [column, column]))
  const records = await readRecords(data.train, { columns: data.columns, task: data.task, needed: builder.columns }).then(
    file => file.records.slice(0, selfTestRows),
    () => [standIn],
  )
  const addSpecialTokens = typeof config.template === 'string'
  const tokenizer = promptTokenizer(model.tokenizer, soft)
  const contexts = records.flatMap((record, i): SelfTestInput[] => {
    const context = builder.training(record, i).segments.find(({ role }) => role === 'context')
    if (context === undefined) return []
    const { ids, text } = context
    const isWhole = tokenizer.encode(text, { addSpecialTokens }).join() === ids.join()
    return [isWhole ? { ids, text, addSpecialTokens } : { ids }]
  })
  return contexts.length > 0 ? contexts : [{ ids: model.tokenizer.encode('x') }]
}
