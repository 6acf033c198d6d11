import type { SearchMethod } from './method.js'
import { ape, apeSchema } from './methods/ape.js'
import { apo, apoSchema } from './methods/apo.js'
import { arca, arcaSchema } from './methods/arca.js'
import { autoprompt, autopromptSchema } from './methods/autoprompt.js'
import { categorical, categoricalSchema } from './methods/categorical.js'
import { fluent, fluentSchema } from './methods/fluent.js'
import { gbda, gbdaSchema } from './methods/gbda.js'
import { gcg, gcgSchema } from './methods/gcg.js'
import { greater, greaterSchema } from './methods/greater.js'
import { pe2, pe2Schema } from './methods/pe2.js'
import { pez, pezSchema } from './methods/pez.js'
import { promptquine, promptquineSchema } from './methods/promptquine.js'
import { randomShortlist, randomShortlistSchema } from './methods/random-shortlist.js'
import { rlprompt, rlpromptSchema } from './methods/rlprompt.js'
import { textgrad, textgradSchema } from './methods/textgrad.js'

/** Options of every search. A new one is a file beside `methods/autoprompt.ts`, and a word in each of these two lists. */
export const searchSchemas = [
  greaterSchema,
  gcgSchema,
  autopromptSchema,
  arcaSchema,
  pezSchema,
  gbdaSchema,
  fluentSchema,
  categoricalSchema,
  rlpromptSchema,
  promptquineSchema,
  apeSchema,
  apoSchema,
  pe2Schema,
  textgradSchema,
  randomShortlistSchema,
] as const

const methods = [
  greater,
  gcg,
  autoprompt,
  arca,
  pez,
  gbda,
  fluent,
  categorical,
  rlprompt,
  promptquine,
  ape,
  apo,
  pe2,
  textgrad,
  randomShortlist,
]

/** Every search by its `search.type`. */
export const searchMethods: ReadonlyMap<string, SearchMethod> = new Map(
  methods.map(method => [method.type, method as unknown as SearchMethod]),
)
