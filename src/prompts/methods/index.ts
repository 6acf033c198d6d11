import { type TypedOptions, typedOptions } from '../../config/typed-options.js'
import { Registry } from '../../registry.js'
import type { PromptMethod } from '../method.js'
import { methodCalls } from '../method-calls.js'
import { withSoftTokens } from '../soft-rows.js'
import { adaptionPrompt, adaptionPromptSchema } from './adaption-prompt.js'
import { adept, adeptSchema } from './adept.js'
import { cpt, cptSchema } from './cpt.js'
import { dept, deptSchema } from './dept.js'
import { iapt, iaptSchema } from './iapt.js'
import { idpg, idpgSchema } from './idpg.js'
import { lapt, laptSchema } from './lapt.js'
import { loreft, loreftSchema } from './loreft.js'
import { lpt, lptSchema } from './lpt.js'
import { mpt, mptSchema } from './mpt.js'
import { pTuning, pTuningSchema } from './p-tuning.js'
import { personal, personalSchema } from './personal.js'
import { prefixTuning, prefixTuningSchema } from './prefix-tuning.js'
import { promptTuning, promptTuningSchema } from './prompt-tuning.js'
import { softTemplate, softTemplateSchema } from './soft-template.js'
import { softCot, softCotSchema } from './softcot.js'
import { steering, steeringSchema } from './steering.js'

/** Every method that is built in, with its options. A new one is a file beside `prompt-tuning.ts`, and a line here. */
const builtIn = [
  [promptTuning, promptTuningSchema],
  [softTemplate, softTemplateSchema],
  [pTuning, pTuningSchema],
  [mpt, mptSchema],
  [personal, personalSchema],
  [lapt, laptSchema],
  [cpt, cptSchema],
  [dept, deptSchema],
  [adept, adeptSchema],
  [prefixTuning, prefixTuningSchema],
  [adaptionPrompt, adaptionPromptSchema],
  [iapt, iaptSchema],
  [lpt, lptSchema],
  [idpg, idpgSchema],
  [softCot, softCotSchema],
  [loreft, loreftSchema],
  [steering, steeringSchema],
] as const

type SchemasOf<Entries> = {
  readonly [Place in keyof Entries]: Entries[Place] extends readonly [unknown, infer Schema] ? Schema : never
}

/** Options of the built-in methods. */
export const methodSchemas = builtIn.map(([, schema]) => schema) as unknown as SchemasOf<typeof builtIn>

/** Every soft-prompt method by its `method.type`; each learns a template's soft tokens as well. People's own join in. */
export const promptMethods = new Registry<PromptMethod>(
  {
    word: 'method',
    exports: ['method'],
    name: 'type',
    requires: {
      paper: 'a text',
      learningRate: 'a number above 0',
      placement: 'a function',
      parameters: 'a function',
      initialise: 'a function',
    },
    may: {
      options: 'an object or a function',
      check: 'a function',
      examples: 'a function',
      textLimit: 'a function',
      resolve: 'a function',
      whileLearning: 'a function',
      constrain: 'a function',
      frozenLayers: 'a function',
      ownTargets: 'a function',
      tasks: 'a function',
      forTask: 'a function',
      inputRows: 'a function',
      sequenceRows: 'a function',
      offset: 'a function',
      layerRows: 'a function',
      prefix: 'a function',
      attention: 'a function',
      layerOutput: 'a function',
      penalty: 'a function',
      figures: 'a function',
      atStrength: 'a function',
    },
    oneOf: ['inputRows', 'sequenceRows', 'offset', 'layerRows', 'prefix', 'attention', 'layerOutput'],
    calls: methodCalls,
    prepare: withSoftTokens,
  },
  builtIn.map(([method, options]): [string, PromptMethod] => [
    method.type,
    Object.assign(withSoftTokens<{ readonly type: string }>(method), { options }),
  ]),
)

/** Options of every method, those of people's own last. */
export const allMethodSchemas = (): readonly TypedOptions[] => [
  ...(methodSchemas as unknown as readonly TypedOptions[]),
  ...promptMethods.own.map(([type, { options, paper }]) => typedOptions(type, options, paper)),
]
