import { defaultSeed } from '../../config/call-options.js'
import type { DataNotice } from '../../data/readers/reader.js'
import { plainAnswer } from '../../evaluate/answers/agreement.js'
import { rules } from '../../evaluate/answers/extraction.js'
import type { RenderOptions } from '../../generate/input.js'
import type { GenerationSettings } from '../../generate/settings.js'
import type { Reading } from '../../strategies/several-calls.js'
import type { AnswerOptions } from './generate.js'
import type { NamedPrompt } from './opening.js'

/** What a call asks for as the engine and the template take it. */

/** Who says how to sample wants to: without a temperature it is then 1, otherwise 0, the likeliest token. */
export function settingsOf(options: AnswerOptions, prompt: string | undefined): Omit<GenerationSettings, 'contrast'> {
  const { temperature, topK, topP, minP, repetitionPenalty, seed = defaultSeed } = options
  const { stop, stopTokenIds, logProbabilities, alternatives } = options
  const samples = topK !== undefined || topP !== undefined || minP !== undefined
  return {
    ...{ topK, topP, minP, repetitionPenalty, seed, stop, stopTokenIds, logProbabilities, alternatives, prompt },
    temperature: temperature ?? (samples ? 1 : 0),
    continuation: undefined,
  }
}

/** What a strategy reads of an answer: one of a closed set as it stands, otherwise what is said to be the answer, or all of it. */
export function readingOf(
  { tokenizer, room, labels }: Pick<NamedPrompt, 'tokenizer' | 'room' | 'labels'>,
  { choices }: Pick<AnswerOptions, 'choices'> = {},
): Reading {
  const isClosed = (choices ?? labels) !== undefined
  const ways = isClosed ? [rules.wholeText] : [rules.hashNumber, rules.answerResult, rules.afterPhrase, rules.wholeText]
  return { tokenizer, room, read: text => plainAnswer(text, ways) }
}

/** What was tuned or found for plain text knows nothing of turns. */
export function renderOf({ system, chat, variables }: AnswerOptions, { source, frame, tokenizer }: NamedPrompt): RenderOptions {
  const isPlain = source.kind !== 'none' && (frame.template === undefined || typeof frame.template === 'string')
  const auto = system !== undefined || (tokenizer.chatTemplate !== undefined && !isPlain)
  return { system, variables, chat: chat === 'auto' ? auto : chat }
}

/** Says each kind of thing once. */
export function once(onWarning: AnswerOptions['onWarning']): (warning: DataNotice) => void {
  const said = new Set<string>()
  return warning => {
    if (!said.has(warning.code)) onWarning?.(warning)
    said.add(warning.code)
  }
}
