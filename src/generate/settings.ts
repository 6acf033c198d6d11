import { uniformInt } from 'pure-rand/distribution/uniformInt'
import type { AnswerStops } from '../data/texts/answer-end.js'
import { GradpromptError } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { randomGenerator, streams } from '../random.js'
import type { Limits } from './limits/asked.js'
import { encodeChoices, tokensOfChoices } from './limits/choices.js'
import type { GenerationRequest } from './request.js'

/** How to generate, as a command line or an HTTP request says it: what is left out stays undefined. */
export type GenerationSettings = {
  readonly [Name in keyof Omit<
    GenerationRequest,
    'ids' | 'asked' | 'maxNewTokens' | 'choices' | 'grammar' | 'rejectedMass' | 'signal' | 'onText'
  >]: GenerationRequest[Name] | undefined
}

/** Settings under which an answer also ends where one under its prompt does. */
export function withEnds(settings: GenerationSettings, ends: AnswerStops | undefined): GenerationSettings {
  const { stop = [], stopTokenIds = [] } = settings
  return {
    ...settings,
    ...(ends && ends.stop.length > 0 && { stop: [...stop, ...ends.stop] }),
    ...(ends && ends.stopTokenIds.length > 0 && { stopTokenIds: [...stopTokenIds, ...ends.stopTokenIds] }),
  }
}

/** New tokens of an answer whose length nobody has limited. */
export const usualNewTokens = 256

/**
 * A request for the answer to one prompt.
 * @param sample which of several answers (to one prompt, or to the rows of one file) under the same seed, from 0
 */
export function generationRequest(
  ids: readonly number[],
  maxNewTokens: number,
  settings: GenerationSettings,
  sample = 0,
): GenerationRequest {
  const { seed } = settings
  const given = { ...settings, seed: seed === undefined ? undefined : sampleSeed(seed, sample) }
  const known = Object.entries(given).filter(([, value]) => value !== undefined)
  return { ...(Object.fromEntries(known) as Partial<GenerationRequest>), ids, maxNewTokens }
}

/** The seed of each answer among several: not seed + sample, which would repeat the answers of the next seed. */
export function sampleSeed(seed: number, sample: number): number {
  // The seed is mixed by itself first: else sample 31 of a seed is sample 0 of the next.
  return sample === 0 ? seed : uniformInt(randomGenerator(seed, streams.sample, sample), 0, 2 ** 31 - 1)
}

/**
 * A request for the answer to a text, with as many new tokens as it may have.
 * @param asked what names it in messages, its room, and the answers that may be given
 * @throws GradpromptError as `tokenBudget` does
 */
export function requestFor(
  {
    origin,
    tokenizer,
    room,
    limits,
  }: {
    readonly origin: string
    readonly tokenizer: Pick<Tokenizer, 'encode'>
    readonly room: Room
    readonly limits?: Limits | undefined
  },
  text: string,
  ids: readonly number[],
  {
    settings,
    maxNewTokens,
    usual = usualNewTokens,
    sample = 0,
  }: {
    readonly settings: GenerationSettings
    readonly maxNewTokens: number | undefined
    readonly usual?: number
    readonly sample?: number
  },
): GenerationRequest {
  const { choices, grammar, rejectedMass = false } = limits ?? {}
  const mass = rejectedMass && { rejectedMass }
  if (choices === undefined) {
    const budget = tokenBudget(origin, ids.length, room, maxNewTokens, usual)
    return { ...generationRequest(ids, budget, settings, sample), ...(grammar && { grammar, ...mass }) }
  }
  const encoded = encodeChoices(tokenizer, text, ids, choices)
  const budget = tokenBudget(origin, encoded.ids.length, room, maxNewTokens, tokensOfChoices(encoded.choices))
  return { ...generationRequest(encoded.ids, budget, settings, sample), choices: encoded.choices, ...mass }
}

/** The positions of a model, and how many of them a soft prompt takes. */
export interface Room {
  readonly contextLength: number
  readonly numVirtualTokens: number
}

/**
 * New tokens that a prompt may have: as many as are wanted, or as a default says and the context has left.
 * @param what names the prompt in the message
 * @throws GradpromptError `empty-prompt`, `context-exceeded` with the figures
 */
export function tokenBudget(
  what: string,
  promptTokens: number,
  { contextLength, numVirtualTokens }: Room,
  wanted: number | undefined,
  usual = usualNewTokens,
): number {
  if (promptTokens === 0) {
    throw new GradpromptError('empty-prompt', `${what} has no tokens`, {
      found: 'an empty text',
      expected: 'at least one token, from which the answer goes on',
    })
  }
  const left = contextLength - numVirtualTokens - promptTokens
  if (left >= (wanted ?? 1)) return wanted ?? Math.min(usual, left)
  const virtual = numVirtualTokens === 0 ? '' : ` after ${numVirtualTokens} of a soft prompt`
  throw new GradpromptError('context-exceeded', `${what} does not fit into the model's context`, {
    found: `${promptTokens} tokens${virtual}, and ${wanted ?? 1} new`,
    expected: `at most ${contextLength} tokens in all`,
    hint: left > 0 ? `there is room for ${left} new tokens: limit them, or shorten the prompt` : 'shorten the prompt',
  })
}
