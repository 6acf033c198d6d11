import type { z } from 'zod'
import { valueProblem } from '../config/problems.js'
import { typedOptions } from '../config/typed-options.js'
import { GradpromptError } from '../errors.js'
import { Registry } from '../registry.js'
import type { ActiveStrategy } from './asking.js'
import { derived } from './derived.js'
import { recursive } from './recursive.js'
import { retries } from './retries.js'
import { rewriting } from './rewriting.js'
import { selfConsistency } from './self-consistency.js'
import type { Strategy } from './strategy.js'
import { treeSearch } from './tree-search.js'

/** Every strategy by its `type`. A new one is a file beside `retries.ts`, and a line here; people's own join in. */
const builtIn = [selfConsistency, retries, rewriting, derived, recursive, treeSearch] as const

export const strategies = new Registry<Strategy>(
  {
    word: 'strategy',
    exports: ['strategy'],
    name: 'type',
    requires: { paper: 'a text', answer: 'a function' },
    may: { options: 'an object or a function', samplesAlone: 'a boolean' },
    calls: { later: ['answer'] },
  },
  builtIn.map((strategy): [string, Strategy] => [strategy.type, strategy as unknown as Strategy]),
)

/** A strategy's name (or the path of a module of people's own), or that with its options. */
export type StrategyGiven = string | ({ readonly type: string } & Readonly<Record<string, unknown>>)

/** @throws GradpromptError `unknown-strategy`, `invalid-option`, and as loading people's own does */
export async function strategyOf(given: StrategyGiven | undefined): Promise<ActiveStrategy | undefined> {
  if (given === undefined) return undefined
  const asked = typeof given === 'string' ? { type: given } : given
  const type = await strategies.load(asked.type)
  const strategy = strategies.get(type)
  const parsed = (typedOptions(type, strategy.options, strategy.paper) as z.ZodType).safeParse({ ...asked, type })
  if (parsed.success) return { strategy, options: parsed.data as { type: string } }
  const { name, isMissing, found, expected } = valueProblem(parsed.error.issues, asked)
  throw new GradpromptError(
    'invalid-option',
    `strategy${name === '' ? '' : `.${name}`} is ${isMissing ? 'missing' : 'not valid'}`,
    { found, expected },
  )
}
