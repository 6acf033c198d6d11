import { createHash, randomUUID } from 'node:crypto'
import type { z } from 'zod'
import { valueProblem } from '../config/problems.js'
import { typedOptions } from '../config/typed-options.js'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { inWords, type Look } from '../own-calls.js'
import { Registry, sourceOf } from '../registry.js'
import { openPrompt, type PromptSource } from '../sources/open.js'
import { type ActiveStrategy, ownPromptName } from './asking.js'
import { derived } from './derived.js'
import { hints } from './hints.js'
import { recursive } from './recursive.js'
import { retries } from './retries.js'
import { rewriting } from './rewriting.js'
import { samples } from './samples.js'
import { selfConsistency } from './self-consistency.js'
import { ownFigures, type Prepared, type Strategy } from './strategy.js'
import { switching } from './switching.js'
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

const prepared: Look = given => {
  const expected = '{ options, prompts }: what it answers with, and paths of its own prompts by name'
  if (!isRecord(given) || !isRecord(given.options)) return { found: inWords(given), expected }
  const { prompts = {} } = given
  const isPaths = isRecord(prompts) && Object.values(prompts).every(path => typeof path === 'string')
  return isPaths ? undefined : { found: `prompts: ${inWords(prompts)}`, expected }
}

/** Every strategy by its `type`. A new one is a file beside `retries.ts`, and a line here; people's own join in. */
const builtIn = [selfConsistency, samples, retries, rewriting, derived, recursive, treeSearch, hints, switching] as const

export const strategies = new Registry<Strategy>(
  {
    word: 'strategy',
    exports: ['strategy'],
    name: 'type',
    requires: { paper: 'a text', answer: 'a function' },
    may: { options: 'an object or a function', samplesAlone: 'a boolean', eachCounts: 'a boolean', prepare: 'a function' },
    calls: { later: ['answer', 'prepare'], looks: { answer: answered, prepare: prepared } },
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

/** @throws GradpromptError `invalid-option` where one is no soft prompt, and as `openPrompt` does */
async function openedPrompts(type: string, prompts: Readonly<Record<string, string>>): Promise<Map<string, PromptSource>> {
  const opened = new Map<string, PromptSource>()
  for (const [name, path] of Object.entries(prompts)) {
    const source = await openPrompt(path)
    if (source.kind !== 'vectors' || source.file === undefined)
      throw new GradpromptError('invalid-option', `a prompt of the strategy ${type} is no soft prompt`, {
        found: path,
        expected: 'a run of tune, or its prompt.safetensors',
      })
    opened.set(ownPromptName(type, name), source)
  }
  return opened
}

/** What tells prompts apart: their method and their numbers. */
function identities(prompts: ReadonlyMap<string, PromptSource>): unknown[] {
  return [...prompts].map(([name, { file }]) => {
    const hash = createHash('sha256')
    for (const { name, data } of file!.tensors)
      hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    return [name, file!.method, hash.digest('hex')]
  })
}

/** @throws GradpromptError `unknown-strategy`, `invalid-option`, and as loading people's own, and what it reads for itself, does */
export async function strategyOf(given: StrategyGiven | undefined): Promise<ActiveStrategy | undefined> {
  if (given === undefined) return undefined
  const asked = typeof given === 'string' ? { type: given } : given
  const type = await strategies.load(asked.type)
  const strategy = strategies.get(type)
  const parsed = (typedOptions(type, strategy.options, strategy.paper) as z.ZodType).safeParse({ ...asked, type })
  if (parsed.success) {
    const plain = parsed.data as { readonly type: string }
    const { options = plain, prompts } = ((await strategy.prepare?.(plain as never)) ?? {}) as Partial<Prepared<typeof plain>>
    if (prompts === undefined) return { strategy, options, key: [options, codeOf(strategy)] }
    const opened = await openedPrompts(strategy.type, prompts)
    return { strategy, options, key: [options, codeOf(strategy), identities(opened)], prompts: opened }
  }
  const { name, isMissing, found, expected } = valueProblem(parsed.error.issues, asked)
  throw new GradpromptError(
    'invalid-option',
    `strategy${name === '' ? '' : `.${name}`} is ${isMissing ? 'missing' : 'not valid'}`,
    { found, expected },
  )
}
