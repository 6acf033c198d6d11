import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { DataNotice } from '../data/readers/reader.js'
import type { RunTask } from '../data/task-config.js'
import { type AnswerEnd, resolveAnswerEnd } from '../data/texts/answer-end.js'
import type { Encoder } from '../data/texts/encoder.js'
import { fillPrompt } from '../data/texts/prompt-place.js'
import type { Template } from '../data/texts/template.js'
import { GradpromptError } from '../errors.js'
import { exists } from '../files.js'
import { isRecord } from '../json.js'
import type { ActivePrompt, SoftPrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { inWords } from '../own-calls.js'
import { isPromptFile, type PromptFile, readPrompt } from '../store/prompt-file.js'
import { openRun } from '../store/run-folder.js'
import { asEnsemble } from './ensemble.js'
import { importedRows } from './imported-rows.js'
import type { ImportedRows, ImportedText } from './imports/imported.js'
import { activeRows, loadPrompt } from './prompt.js'
import { classesIn, type FoundPrompt, type FoundRun, type LearnedRun, readFoundRun, readLearnedRun } from './run.js'
import { atStrength } from './strength.js'

/**
 * Everything that may stand for a prompt: a run of either kind, its folder, a prompt file, the folder of a PEFT adapter, rows of
 * vectors, a text, or nothing. The library and the command line open all of them here, and know no more of what they were given.
 */
export type PromptGiven = LearnedRun | SearchedRun | PromptFile | SoftPrompt | { readonly text: string } | string | undefined

/** A search as it was returned by the one who ran it. */
interface SearchedRun {
  readonly folder: string
  readonly config: RunTask
  readonly result: FoundPrompt & { readonly initial?: FoundPrompt; readonly verdict?: { readonly text: string } }
}

/** A prompt, opened: what is known of it without its model. */
export interface PromptSource {
  /** What acts: vectors in front of the text; words that a search has found; a plain instruction; nothing. */
  readonly kind: 'vectors' | 'found' | 'text' | 'none'
  /** Of the run. */
  readonly folder?: string | undefined
  /** The task that the run had; of a search with the found prompt in its template. */
  readonly task?: RunTask | undefined
  /** What was learned. */
  readonly file?: PromptFile | undefined
  /** What was found. */
  readonly found?: FoundRun | undefined
  /** A plain instruction; of words with places for values the same, braces and all. */
  readonly text?: string | undefined
  /** Words that came from another tool, as the text that columns are filled into. */
  readonly template?: Template | undefined
  /** The model that an adapter names as its own: a path, or an id of the Hub. */
  readonly base?: string | undefined
  /** To be said before it is used: that its run has not ended. */
  readonly notice?: DataNotice | undefined
  /**
   * What acts on a model by vectors; undefined where words do, or nothing.
   * @throws GradpromptError `model-mismatch`, `not-a-prompt`, `unknown-method`
   */
  active(model: LanguageModel): Promise<ActivePrompt | undefined>
}

export interface OpenOptions {
  /** Use a prompt that was learned on another model of the same width. */
  readonly force?: boolean | undefined
  /** How strongly it acts, of a method with a slider: 1, the default, is as it was learned, 0 the model alone. */
  readonly strength?: number | undefined
  /** Where classes are scored: so many prompts in its place, moved as the inputs that it was learned on differ; their shares are averaged. */
  readonly ensemble?: number | undefined
}

/**
 * @throws GradpromptError `file-not-found`, `not-a-prompt`, `run-not-finished`, `run-corrupt`, `invalid-config`; `invalid-option` as
 *   `atStrength` and `asEnsemble`
 */
export async function openPrompt(given: PromptGiven, options: OpenOptions = {}): Promise<PromptSource> {
  const opened = await openGiven(given, options)
  const source = options.strength === undefined ? opened : await atStrength(opened, options.strength, options)
  return options.ensemble === undefined ? source : asEnsemble(source, options.ensemble, options)
}

async function openGiven(given: PromptGiven, options: OpenOptions): Promise<PromptSource> {
  if (given === undefined) return { kind: 'none', active: nothing }
  if (typeof given === 'string') return openPath(given, options)
  const whole: unknown = given
  if (!isRecord(whole) || !['text', 'data', 'result', 'folder', 'method'].some(member => member in whole))
    throw new GradpromptError('not-a-prompt', 'this stands for no prompt', {
      found: inWords(given),
      expected:
        'a run or its folder, the path of a prompt, { text }, or vectors as { data: a Float32Array, shape: [rows, hidden size] }',
    })
  if ('text' in given) return { kind: 'text', text: given.text, active: nothing }
  if ('data' in given) return { kind: 'vectors', active: async model => activeRows(given, model) }
  if ('result' in given && 'prompt' in given.result && 'ids' in given.result) {
    const { folder, config, result } = given
    const { prompt, ids, initial, verdict } = result
    const details = await openRun(folder).then(run => run.details, nothing)
    const found = { prompt, ids, initial, verdict: verdict?.text, labels: classesIn(details) }
    return foundSource({ folder, config, modules: { name: folder }, ...found })
  }
  if ('folder' in given) return learnedSource(given as LearnedRun, options)
  return { kind: 'vectors', file: given as PromptFile, active: model => loadPrompt(given as PromptFile, model, options) }
}

async function openPath(path: string, options: OpenOptions): Promise<PromptSource> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) {
    throw new GradpromptError('file-not-found', `there is no prompt at ${path}`, {
      expected: 'the folder of a run, its prompt.safetensors, the folder of a PEFT adapter, or a file of another tool',
    })
  }
  if (!found.isDirectory()) {
    const imported = await importedAt(path)
    return imported === undefined ? openGiven(await readFileOfPrompt(path), options) : importedSource(path, imported)
  }
  if (await exists(join(path, 'adapter_config.json'))) {
    const { adapterBase, readPeftAdapter } = await import('./peft-adapter.js')
    // The width is the model's to say, and the model is not there yet.
    return { kind: 'vectors', base: await adapterBase(path), active: model => readPeftAdapter(path, model.checkpoint) }
  }
  const container = await containerIn(path)
  if (container !== undefined) return openGiven(await readPrompt(container), options)
  const run = await openRun(path)
  return run.isSearch
    ? foundSource(await readFoundRun(run))
    : learnedSource(await readLearnedRun(path, { unfinished: true }), options)
}

/**
 * What ends an answer under a prompt: what was learned with vectors, or what a search's task says. Behind reasoning nothing is marked.
 * @returns undefined where nothing ends it, or nothing is known of it
 */
export function answerEndOf({ file, task, kind }: PromptSource, tokenizer: Encoder): AnswerEnd | undefined {
  if (file !== undefined) return file.answerEnd
  const isScored = kind === 'found' && task?.search?.extractor === undefined
  return isScored && task !== undefined ? resolveAnswerEnd(task, tokenizer) : undefined
}

/** @throws GradpromptError `not-a-prompt` where neither the name nor the bytes are of a file that is known, and as `readPrompt` does */
async function readFileOfPrompt(path: string): Promise<PromptFile> {
  try {
    return await readPrompt(path)
  } catch (cause) {
    const isNamed = path.toLowerCase().endsWith('.safetensors')
    if (isNamed || !(cause instanceof GradpromptError) || !['truncated-file', 'invalid-safetensors'].includes(cause.code))
      throw cause
    throw new GradpromptError('not-a-prompt', `${path} is not a prompt`, {
      found: 'a file that nothing here reads as one',
      expected:
        'the folder of a run, its prompt.safetensors, the folder of a PEFT adapter, or a file of another tool by its name',
      hint: 'docs/exports.md lists what is read; a text of words ends in .txt',
      cause,
    })
  }
}

/** What another tool wrote; undefined: a prompt file of this project's, or nothing that a reader knows. */
async function importedAt(path: string) {
  if (path.toLowerCase().endsWith('.safetensors') && (await isPromptFile(path))) return undefined
  const { importedPrompt } = await import('./imports/index.js')
  return importedPrompt(path)
}

const rowsTarget = ({ name, config, checkpoint: { family, config: own } }: LanguageModel) => ({
  name,
  hiddenSize: config.hiddenSize,
  inputMultiplier: family.inputMultiplier(own),
})

function importedSource(path: string, imported: ImportedRows | ImportedText): PromptSource {
  if (imported.kind === 'rows') return { kind: 'vectors', active: async model => importedRows(path, imported, rowsTarget(model)) }
  const { text, template, leftOut } = imported
  return {
    kind: 'text',
    text,
    template,
    ...(leftOut !== undefined && { notice: { code: 'partly-imported', message: `${path}: ${leftOut}` } }),
    active: nothing,
  }
}

/** The prompt file of a folder that is no run: what an export to `gradprompt` has written. */
async function containerIn(folder: string): Promise<string | undefined> {
  const isFile = async (name: string) => (await stat(join(folder, name)).catch(() => undefined))?.isFile() === true
  return (await isFile('config.yaml')) || !(await isFile('prompt.safetensors')) ? undefined : join(folder, 'prompt.safetensors')
}

/** The prompt of a run folder that has learned vectors, or a prompt file. */
export async function readPromptAt(path: string): Promise<PromptFile> {
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory()
  if (!isFolder) return readPrompt(path)
  const container = await containerIn(path)
  if (container !== undefined) return readPrompt(container)
  return (await readLearnedRun(path)).prompt
}

const nothing = async (): Promise<undefined> => undefined

const learnedSource = ({ folder, config, prompt, notice }: LearnedRun, options: OpenOptions): PromptSource => ({
  kind: 'vectors',
  folder,
  notice,
  task: config,
  file: prompt,
  active: model => loadPrompt(prompt, model, options),
})

const foundSource = (found: FoundRun): PromptSource => ({
  kind: 'found',
  folder: found.folder,
  notice: found.notice,
  task: { ...found.config, template: fillPrompt(found.config.template, found.prompt) },
  found,
  active: nothing,
})
