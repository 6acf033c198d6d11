import { Registry } from '../../registry.js'
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

/** Every search that is built in, with its options. A new one is a file beside `autoprompt.ts`, and a line here. */
const builtIn = [
  [greater, greaterSchema],
  [gcg, gcgSchema],
  [autoprompt, autopromptSchema],
  [arca, arcaSchema],
  [pez, pezSchema],
  [gbda, gbdaSchema],
  [fluent, fluentSchema],
  [categorical, categoricalSchema],
  [rlprompt, rlpromptSchema],
  [promptquine, promptquineSchema],
  [ape, apeSchema],
  [apo, apoSchema],
  [pe2, pe2Schema],
  [textgrad, textgradSchema],
  [randomShortlist, randomShortlistSchema],
] as const

type SchemasOf<Entries> = {
  readonly [Place in keyof Entries]: Entries[Place] extends readonly [unknown, infer Schema] ? Schema : never
}

/** Options of the built-in searches. */
export const searchSchemas = builtIn.map(([, schema]) => schema) as unknown as SchemasOf<typeof builtIn>

/** Every search by its `search.type`. People's own join in. */
export const searchMethods = new Registry<SearchMethod>(
  {
    word: 'search',
    exports: ['search'],
    name: 'type',
    requires: { paper: 'a text', steps: 'a number', start: 'a function', step: 'a function' },
  },
  builtIn.map(([method, options]): [string, SearchMethod] => [method.type, { ...method, options } as unknown as SearchMethod]),
)
