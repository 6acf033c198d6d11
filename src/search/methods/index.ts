import { Registry } from '../../registry.js'
import type { SearchMethod } from '../moves/method.js'
import { arca, arcaSchema } from './arca.js'
import { autoprompt, autopromptSchema } from './autoprompt.js'
import { categorical, categoricalSchema } from './categorical.js'
import { fluent, fluentSchema } from './fluent.js'
import { gbda, gbdaSchema } from './gbda.js'
import { gcg, gcgSchema } from './gcg.js'
import { greater, greaterSchema } from './greater.js'
import { pez, pezSchema } from './pez.js'
import { promptquine, promptquineSchema } from './promptquine.js'
import { randomShortlist, randomShortlistSchema } from './random-shortlist.js'
import { rlprompt, rlpromptSchema } from './rlprompt.js'
import { searchCalls } from './search-calls.js'
import { ape, apeSchema } from './written/ape.js'
import { apo, apoSchema } from './written/apo.js'
import { bestOfN, bestOfNSchema } from './written/best-of-n.js'
import { bootstrapDemos, bootstrapDemosSchema } from './written/bootstrap-demos.js'
import { capo, capoSchema } from './written/capo.js'
import { dpOpt, dpOptSchema } from './written/dp-opt.js'
import { evoprompt, evopromptSchema } from './written/evoprompt.js'
import { gepa, gepaSchema } from './written/gepa.js'
import { ipc, ipcSchema } from './written/ipc.js'
import { miprov2, miprov2Schema } from './written/miprov2.js'
import { opro, oproSchema } from './written/opro.js'
import { pe2, pe2Schema } from './written/pe2.js'
import { promptagent, promptagentSchema } from './written/promptagent.js'
import { promst, promstSchema } from './written/promst.js'
import { snippets, snippetsSchema } from './written/snippets.js'
import { spo, spoSchema } from './written/spo.js'
import { textgrad, textgradSchema } from './written/textgrad.js'

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
  [gepa, gepaSchema],
  [miprov2, miprov2Schema],
  [capo, capoSchema],
  [opro, oproSchema],
  [evoprompt, evopromptSchema],
  [promptagent, promptagentSchema],
  [promst, promstSchema],
  [spo, spoSchema],
  [ipc, ipcSchema],
  [bootstrapDemos, bootstrapDemosSchema],
  [snippets, snippetsSchema],
  [dpOpt, dpOptSchema],
  [bestOfN, bestOfNSchema],
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
    requires: { paper: 'a text', steps: 'a whole number from 1', start: 'a function', step: 'a function' },
    may: {
      options: 'an object or a function',
      defaults: 'an object or a function',
      forecast: 'a function',
      check: 'a function',
      choose: 'a function',
      needs: 'a function',
      objective: 'a function',
    },
    calls: searchCalls,
  },
  builtIn.map(([method, options]): [string, SearchMethod] => [method.type, { ...method, options } as unknown as SearchMethod]),
)
