import { GradpromptError } from '../../errors.js'
import { isStatic, staticRows } from '../../prompts/static.js'
import { loadPromptMethod } from '../../sources/prompt.js'
import { readLearnedRun } from '../../sources/run.js'

/**
 * The vectors that a run has learned, where they are the same for every text and stand at the input.
 * @returns rows [count, hiddenSize]
 * @throws GradpromptError `not-a-run`, `run-not-finished`, `prompt-not-static`
 */
export async function softPromptOf(folder: string): Promise<{ rows: Float32Array; count: number; hiddenSize: number }> {
  const { prompt } = await readLearnedRun(folder)
  const method = await loadPromptMethod(prompt)
  if (!isStatic(method, prompt.method))
    throw new GradpromptError('prompt-not-static', `the prompt of ${folder} is no list of vectors`, {
      found: `method ${prompt.method.type}`,
      expected: 'a run of a method whose vectors are the same for every text and stand at the input, such as prompt-tuning',
    })
  const rows = await staticRows(method, prompt.method, prompt.tensors)
  return { rows, count: rows.length / prompt.hiddenSize, hiddenSize: prompt.hiddenSize }
}
