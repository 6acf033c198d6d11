import type { SearchMethod } from '../moves/method.js'
import { ape, apeSchema } from './ape.js'
import { apo, apoSchema } from './apo.js'
import { arca, arcaSchema } from './arca.js'
import { autoprompt, autopromptSchema } from './autoprompt.js'
import { categorical, categoricalSchema } from './categorical.js'
import { fluent, fluentSchema } from './fluent.js'
import { gbda, gbdaSchema } from './gbda.js'
import { gcg, gcgSchema } from './gcg.js'
import { greater, greaterSchema } from './greater.js'
import { pe2, pe2Schema } from './pe2.js'
import { pez, pezSchema } from './pez.js'
import { promptquine, promptquineSchema } from './promptquine.js'
import { randomShortlist, randomShortlistSchema } from './random-shortlist.js'
import { rlprompt, rlpromptSchema } from './rlprompt.js'
import { textgrad, textgradSchema } from './textgrad.js'

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
