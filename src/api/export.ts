import { readdir } from 'node:fs/promises'
import { type OptionNames, refuseUnknown } from '../config/call-options.js'
import { readRecords } from '../data/read.js'
import type { DataRecord } from '../data/records.js'
import { RowBuilder } from '../data/rows.js'
import type { TaskConfig } from '../data/task-config.js'
import { GradpromptError, nearest } from '../errors.js'
import { makeSelfTest, type SelfTest } from '../export/self-test.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { withModel } from '../model/with-model.js'
import { hasPeftAdapter, peftAdapter } from '../sources/peft-adapter.js'
import { activePrompt } from '../sources/prompt.js'
import { type LearnedRun, readLearnedRun } from '../sources/run.js'
import type { PromptFile } from '../store/prompt-file.js'

export interface ExportOptions {
  /** Where the prompt is to be used: one of `exportTargets`. */
  readonly to: string
  /** The folder to make. */
  readonly out: string
  /** The model or its name; by default that of the run. */
  readonly model?: LanguageModel | string | undefined
  /** Export a prompt that was learned on another model of the same width. */
  readonly force?: boolean | undefined
}

interface ExportContext {
  readonly prompt: PromptFile
  readonly config: TaskConfig
  readonly model: LanguageModel
  readonly selfTest: SelfTest
  readonly out: string
}

interface ExportTarget {
  readonly description: string
  /** Whether prompts of this method can be written for it. */
  holds(type: string): boolean
  write(context: ExportContext): Promise<void>
}

/** Every target by its name. A new one is a file beside `peft.ts` and an entry here. */
export const exportTargets: ReadonlyMap<string, ExportTarget> = new Map([
  [
    'peft',
    {
      description: 'an adapter folder for PeftModel.from_pretrained',
      holds: hasPeftAdapter,
      async write({ prompt, config, model, selfTest, out }) {
        const { exportPeft } = await import('../export/peft.js')
        const adapter = await peftAdapter(prompt, model.checkpoint)
        await exportPeft({ adapter, position: prompt.position, baseModel: config.model, out, selfTest })
      },
    },
  ],
])

const names = { to: true, out: true, model: true, force: true } satisfies OptionNames<ExportOptions>

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
  const { to, out, model: given, force } = options
  const target = exportTargets.get(to) ?? unknownTarget(to)
  const { config, prompt } = typeof run === 'string' ? await readLearnedRun(run) : run
  await withModel(given ?? config.model, config, async model => {
    const active = ofFirstTask(activePrompt(prompt, model, { force }))
    const inputs = await selfTestInputs(config, model, prompt.numVirtualTokens)
    const { vocabSize } = model.config
    const selfTest = await makeSelfTest({ vocabSize, logits: rows => model.logits(rows, active) }, inputs, {
      newTokens: selfTestTokens,
    })
    await target.write({ prompt, config, model, selfTest, out })
  })
  return { folder: out, files: (await readdir(out)).sort() }
}

/** A prompt of several tasks is tested as its first. */
const ofFirstTask = ({ method, config, parameters }: ActivePrompt): ActivePrompt => ({
  method,
  config,
  parameters: method.tasks?.(config) ? method.forTask!(config, parameters, 0) : parameters,
})

function unknownTarget(name: string): never {
  const known = [...exportTargets.keys()]
  const meant = nearest(name, known)
  throw new GradpromptError('unknown-target', 'a prompt cannot be exported to that', {
    found: name,
    expected: `one of ${known.join(', ')}`,
    ...(meant !== undefined && { hint: `did you mean ${meant}?` }),
  })
}

/** The beginnings of a few training rows, as they are fed before the answer. */
async function selfTestInputs(config: TaskConfig, model: LanguageModel, numVirtualTokens: number): Promise<number[][]> {
  const builder = new RowBuilder(model.tokenizer, {
    template: config.template,
    answer: config.answer,
    contextLength: model.config.maxPositionEmbeddings - selfTestTokens,
    numVirtualTokens,
    truncate: true,
  })
  const { data } = config
  // A run may outlive its data: then the columns' names stand in for their values.
  const standIn: DataRecord = Object.fromEntries(builder.columns.map(column => [column, column]))
  const records = await readRecords(data.train, { columns: data.columns, task: data.task, needed: builder.columns }).then(
    file => file.records.slice(0, selfTestRows),
    () => [standIn],
  )
  const contexts = records.flatMap((record, i) => {
    const context = builder.training(record, i).segments.find(({ role }) => role === 'context')
    return context === undefined ? [] : [context.ids]
  })
  return contexts.length > 0 ? contexts : [model.tokenizer.encode('x')]
}
