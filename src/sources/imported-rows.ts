import { GradpromptError } from '../errors.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import { promptMethods } from '../prompts/methods/index.js'
import type { ImportedRows } from './imports/imported.js'

/** Rows from another tool, as a prompt that acts on a model: as prompt tuning's do. Which tool they came from is unknown here. */

export interface RowsTarget {
  readonly name: string
  readonly hiddenSize: number
  /** What its embeddings are multiplied by behind the table; by default 1. */
  readonly inputMultiplier?: number
}

/** @throws GradpromptError `model-mismatch`: rows of another width */
export function importedRows(
  path: string,
  { data, width, position = 'before-bos' }: ImportedRows,
  { name, hiddenSize, inputMultiplier: multiplier = 1 }: RowsTarget,
): ActivePrompt {
  if ((width ?? hiddenSize) !== hiddenSize || data.length % hiddenSize !== 0) {
    throw new GradpromptError('model-mismatch', `the rows of ${path} do not fit the model`, {
      found: width === undefined ? `${data.length} numbers` : `rows of ${width} numbers`,
      expected: width === undefined ? `a multiple of ${hiddenSize}, the width of ${name}` : `${hiddenSize}, the width of ${name}`,
      hint: 'name the model that they were learned on',
    })
  }
  const rows = multiplier === 1 ? data : data.map(x => x * multiplier)
  const type = 'prompt-tuning'
  const options = { type, numVirtualTokens: data.length / hiddenSize, position }
  return { method: promptMethods.get(type), config: options, parameters: new Map([['prompt', rows]]) }
}
