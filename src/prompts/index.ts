import type { PromptMethod } from './method.js'
import { promptTuning } from './prompt-tuning.js'

/** Every soft-prompt method by its `method.type`. A new one is a file beside `prompt-tuning.ts`, a line here and one in the config's schema. */
export const promptMethods: ReadonlyMap<string, PromptMethod> = new Map(
  [promptTuning].map(method => [method.type, method as unknown as PromptMethod]),
)
