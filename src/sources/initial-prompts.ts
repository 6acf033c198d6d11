import { GradpromptError } from '../errors.js'
import type { SourcePrompt } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { staticRows } from '../prompts/static.js'
import { promptPath, readPrompt } from '../store/prompt-file.js'
import { loadPromptMethod } from './prompt.js'

/** Prompts of earlier runs as what a new prompt may start from: `prompts/transfer.ts` says how several become one. */

/** The model that a prompt is to act on. */
export interface TransferTarget {
  readonly name: string
  readonly hash: string
  readonly hiddenSize: number
}

/**
 * Reads the prompts to start from, and refuses those that do not fit. They are small, so this is done before a model's weights are read.
 *
 * @param from run folders or prompt files
 * @param count rows that each must have
 * @throws GradpromptError `file-not-found`, `model-mismatch` (another model or width), `prompt-length-mismatch`, `not-static` (no rows at
 *   the input), and those of `readPrompt`
 */
export async function readSources(from: readonly string[], target: TransferTarget, count: number): Promise<SourcePrompt[]> {
  const sources: SourcePrompt[] = []
  for (const path of from) {
    const file = await readPrompt(await promptPath(path, 'method.init.from'))
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
