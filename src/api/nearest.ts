import { type NearestTokens, nearestTokens } from '../evaluate/nearest-tokens.js'
import type { LanguageModel } from '../model/language-model.js'
import { withModel } from '../model/with-model.js'
import { readPromptAt } from '../sources/open.js'

/**
 * What the vectors of a run's prompt, or of a prompt file's, read as: the nearest tokens of each.
 * @throws GradpromptError as reading a prompt and loading a model do
 */
export async function readVectors(prompt: string, model: LanguageModel | string): Promise<NearestTokens[]> {
  const file = await readPromptAt(prompt)
  return withModel(model, {}, model => nearestTokens(model, file))
}
