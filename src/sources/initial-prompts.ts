import type { ModelConfig } from '../../models/blocks/family.js'
import { GradpromptError } from '../errors.js'
import { isFile } from '../files.js'
import type { SourcePrompt } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { staticRows } from '../prompts/static.js'
import { isPromptFile, type PromptFile, promptPath, readPrompt } from '../store/prompt-file.js'
import { importedRows } from './imported-rows.js'
import { loadPromptMethod } from './prompt.js'

/** Prompts of earlier runs as what a new prompt may start from: `prompts/transfer.ts` says how several become one. */

/** The model that a prompt is to act on. */
export interface TransferTarget {
  readonly name: string
  readonly hash: string
  readonly hiddenSize: number
  /** What its embeddings are multiplied by behind the table (`ModelFamily.inputMultiplier`); by default 1. */
  readonly inputMultiplier?: number
}

/**
 * Reads the prompts to start from, and refuses those that do not fit. They are small, so this is done before a model's weights are read.
 *
 * @param from run folders, prompt files, or files of rows that other tools wrote
 * @param count rows that each must have
 * @throws GradpromptError `file-not-found`, `model-mismatch` (another model or width), `prompt-length-mismatch`, `not-static` (no rows at
 *   the input), and those of `readPrompt`
 */
export async function readSources(from: readonly string[], target: TransferTarget, count: number): Promise<SourcePrompt[]> {
  const sources: SourcePrompt[] = []
  for (const path of from) {
    const file = (await importedFile(path, target)) ?? (await readPrompt(await promptPath(path, 'method.init.from')))
    const describe = ({ name, hash, hiddenSize }: TransferTarget) => `${name} (hidden size ${hiddenSize}, ${hash.slice(0, 12)})`
    if (file.hiddenSize !== target.hiddenSize || file.model.hash !== target.hash) {
      throw new GradpromptError('model-mismatch', `method.init.from: the prompt of ${path} was learned on another model`, {
        found: describe({ ...file.model, hiddenSize: file.hiddenSize }),
        expected: describe(target),
        hint: 'a soft prompt means something to its own model alone: name runs of this model, or set model to theirs',
      })
    }
    const method = await loadPromptMethod(file)
    if (method.inputRows === undefined) {
      throw new GradpromptError('not-static', `method.init.from: the prompt of ${path} has no rows at the input`, {
        found: `method.type: ${file.method.type}`,
        expected: `one of ${promptMethods
          .values()
          .filter(method => method.inputRows)
          .map(({ type }) => type)
          .join(', ')}`,
      })
    }
    if (file.numVirtualTokens !== count) {
      throw new GradpromptError('prompt-length-mismatch', `method.init.from: the prompt of ${path} has another length`, {
        found: `${file.numVirtualTokens} virtual tokens`,
        expected: `${count} (method.numVirtualTokens)`,
        hint: `set method.numVirtualTokens to ${file.numVirtualTokens}`,
      })
    }
    const { method: options, tensors } = file
    sources.push({ method: options, tensors, rows: () => staticRows(method, options, tensors) })
  }
  return sources
}

/** Rows that another tool wrote, which name no model: those that are as wide as this one are taken for its own. */
async function importedFile(path: string, target: TransferTarget): Promise<PromptFile | undefined> {
  const isImport = (await isFile(path)) && !(path.endsWith('.safetensors') && (await isPromptFile(path)))
  const imported = isImport ? await (await import('./imports/index.js')).importedPrompt(path) : undefined
  if (imported === undefined) return undefined
  if (imported.kind === 'text') {
    throw new GradpromptError('not-a-prompt', `method.init.from: ${path} holds words`, {
      found: 'a prompt of words',
      expected: 'rows of vectors',
      hint: 'start from words by method.init.type: text',
    })
  }
  const { method, config, parameters } = importedRows(path, imported, target)
  const { numVirtualTokens, position } = method.placement(config, { hiddenSize: target.hiddenSize } as ModelConfig)
  const { name, hash, hiddenSize } = target
  const tensors = [{ name: 'prompt', shape: [numVirtualTokens, hiddenSize], data: parameters.get('prompt')! }]
  return {
    method: config,
    model: { name, hash },
    hiddenSize,
    numVirtualTokens,
    position,
    template: '',
    answer: '',
    seed: 0,
    tensors,
  }
}
