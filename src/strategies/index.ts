import { randomUUID } from 'node:crypto'
import type { z } from 'zod'
import { valueProblem } from '../config/problems.js'
import { typedOptions } from '../config/typed-options.js'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { inWords, type Look } from '../own-calls.js'
import { Registry, sourceOf } from '../registry.js'
import type { ActiveStrategy } from './asking.js'
import { derived } from './derived.js'
import { recursive } from './recursive.js'
import { retries } from './retries.js'
import { rewriting } from './rewriting.js'
import { samples } from './samples.js'
import { selfConsistency } from './self-consistency.js'
import { ownFigures, type Strategy } from './strategy.js'
import { treeSearch } from './tree-search.js'

const isAnswer = (given: unknown): boolean =>
  isRecord(given) && typeof given.text === 'string' && Array.isArray(given.ids) && typeof given.finishReason === 'string'

const expectedAnswers = '{ answer, answers }: one of the answers that model.answer gave, and all of them in their order'

const answered: Look = given => {
  if (!isRecord(given)) return { found: inWords(given), expected: expectedAnswers }
  const { answer, answers, figures } = given
  if (!isAnswer(answer)) return { found: `answer: ${inWords(answer)}`, expected: expectedAnswers }
  if (!Array.isArray(answers) || answers.length === 0) return { found: `answers: ${inWords(answers)}`, expected: expectedAnswers }
  const other = answers.findIndex(entry => !isAnswer(entry))
  if (other >= 0) return { found: `answers[${other}]: ${inWords(answers[other])}`, expected: expectedAnswers }
  if (figures === undefined) return undefined
  const expected = 'figures: numbers by name, such as { turns: 3 }'
  if (!isRecord(figures) || Array.isArray(figures)) return { found: `figures: ${inWords(figures)}`, expected }
  for (const [name, value] of Object.entries(figures)) {
    if (!Number.isFinite(value)) return { found: `figures.${name}: ${inWords(value)}`, expected }
    if ((ownFigures as readonly string[]).includes(name))
      return { found: `figures.${name}`, expected: `another name: rows have ${ownFigures.join(', ')} of themselves` }
  }
  return undefined
}

/** Every strategy by its `type`. A new one is a file beside `retries.ts`, and a line here; people's own join in. */
const builtIn = [selfConsistency, samples, retries, rewriting, derived, recursive, treeSearch] as const

export const strategies = new Registry<Strategy>(
  {
    word: 'strategy',
    exports: ['strategy'],
    name: 'type',
    requires: { paper: 'a text', answer: 'a function' },
    may: { options: 'an object or a function', samplesAlone: 'a boolean', eachCounts: 'a boolean' },
    calls: { later: ['answer'], looks: { answer: answered } },
  },
  builtIn.map((strategy): [string, Strategy] => [strategy.type, strategy as unknown as Strategy]),
)

/** A strategy of people's own, with options of whatever kind it declares. */
// biome-ignore lint/suspicious/noExplicitAny: what its options are it says itself
export type OwnStrategy = Strategy<any>

/** A strategy's name (or the path of a module, or an object of people's own), or that with its options. */
export type StrategyGiven = string | ({ readonly type: string | OwnStrategy } & Readonly<Record<string, unknown>>)

/** Objects of people's own, whose code is not known, are known again in this process alone. */
const objects = new WeakMap<object, string>()

/** What tells the code of people's own strategies apart: the text of their module. */
function codeOf(strategy: Strategy): string | null {
  if (!strategies.own.some(([, entry]) => entry === strategy)) return null
  const known = sourceOf(strategy) ?? objects.get(strategy) ?? randomUUID()
  objects.set(strategy, known)
  return known
}

/** @throws GradpromptError `unknown-strategy`, `invalid-option`, and as loading people's own does */
export async function strategyOf(given: StrategyGiven | undefined): Promise<ActiveStrategy | undefined> {
  if (given === undefined) return undefined
  const asked = typeof given === 'string' ? { type: given } : given
  const type = await strategies.load(asked.type)
  const strategy = strategies.get(type)
  const parsed = (typedOptions(type, strategy.options, strategy.paper) as z.ZodType).safeParse({ ...asked, type })
  if (parsed.success) {
    const options = parsed.data as { readonly type: string }
    return { strategy, options, key: [options, codeOf(strategy)] }
  }
  const { name, isMissing, found, expected } = valueProblem(parsed.error.issues, asked)
  throw new GradpromptError(
    'invalid-option',
    `strategy${name === '' ? '' : `.${name}`} is ${isMissing ? 'missing' : 'not valid'}`,
    { found, expected },
  )
}
