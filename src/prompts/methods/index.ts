import type { PromptMethod } from '../method.js'
import { withSoftTokens } from '../soft-rows.js'
import { adaptionPrompt, adaptionPromptSchema } from './adaption-prompt.js'
import { adept, adeptSchema } from './adept.js'
import { cpt, cptSchema } from './cpt.js'
import { dept, deptSchema } from './dept.js'
import { iapt, iaptSchema } from './iapt.js'
import { idpg, idpgSchema } from './idpg.js'
import { lpt, lptSchema } from './lpt.js'
import { mpt, mptSchema } from './mpt.js'
import { pTuning, pTuningSchema } from './p-tuning.js'
import { prefixTuning, prefixTuningSchema } from './prefix-tuning.js'
import { promptTuning, promptTuningSchema } from './prompt-tuning.js'
import { softTemplate, softTemplateSchema } from './soft-template.js'

/** Options of every soft-prompt method. A new method is a file beside `prompt-tuning.ts`, and a word in each of these two lists. */
export const methodSchemas = [
  promptTuningSchema,
  softTemplateSchema,
  pTuningSchema,
  mptSchema,
  cptSchema,
  deptSchema,
  adeptSchema,
  prefixTuningSchema,
  adaptionPromptSchema,
  iaptSchema,
  lptSchema,
  idpgSchema,
] as const

const methods = [promptTuning, softTemplate, pTuning, mpt, cpt, dept, adept, prefixTuning, adaptionPrompt, iapt, lpt, idpg]

/** Every soft-prompt method by its `method.type`; each learns a template's soft tokens as well. */
export const promptMethods: ReadonlyMap<string, PromptMethod> = new Map(
  methods.map(method => [method.type, withSoftTokens(method as unknown as PromptMethod)]),
)
