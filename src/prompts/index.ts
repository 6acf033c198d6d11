import { adept, adeptSchema } from './adept.js'
import { dept, deptSchema } from './dept.js'
import type { PromptMethod } from './method.js'
import { promptTuning, promptTuningSchema } from './prompt-tuning.js'

/** Options of every soft-prompt method. A new method is a file beside `prompt-tuning.ts`, and a word in each of these two lists. */
export const methodSchemas = [promptTuningSchema, deptSchema, adeptSchema] as const

const methods = [promptTuning, dept, adept]

/** Every soft-prompt method by its `method.type`. */
export const promptMethods: ReadonlyMap<string, PromptMethod> = new Map(
  methods.map(method => [method.type, method as unknown as PromptMethod]),
)
