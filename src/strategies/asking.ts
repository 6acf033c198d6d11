import { GradpromptError } from '../errors.js'
import type { Tokenizer } from '../formats/tokenizer.js'
import { type GenerationInput, renderInput } from '../generate/input.js'
import type { Generation, GenerationRequest, Generator } from '../generate/request.js'
import { type Room, sampleSeed, tokenBudget } from '../generate/settings.js'
import type { AnswerCall, Answered, Asked, Asking, InstructCall, Strategy } from './strategy.js'

/** A strategy over an engine: its calls become requests, and what they cost is counted. */

export interface AskingOptions {
  readonly engine: Pick<Generator, 'generate'>
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'decode' | 'applyChatTemplate' | 'chatTemplate'>
  readonly room: Room
  /** Of the input, for messages. */
  readonly origin: string
  readonly seed: number | undefined
  /** The request for an answer to an input as the caller wants it, with a seed of its own for each sample. */
  request(input: GenerationInput, call: AnswerCall): GenerationRequest
  readonly signal?: AbortSignal | undefined
}

/** What an answer took. */
export interface Spent {
  calls: number
  /** Generated. */
  tokens: number
}

export interface StrategyAnswer extends Answered {
  readonly spent: Readonly<Spent>
}

/** A strategy, with its options checked. */
export interface ActiveStrategy {
  readonly strategy: Strategy
  readonly options: { readonly type: string }
}

/** @throws GradpromptError as the strategy's calls do: `context-exceeded`, `aborted` */
export async function answerBy(
  { strategy, options }: ActiveStrategy,
  asked: Asked,
  given: AskingOptions,
): Promise<StrategyAnswer> {
  const spent = { calls: 0, tokens: 0 }
  const answered = await strategy.answer(asked, askingOf(given, spent), options as never)
  return { ...answered, spent }
}

/** The digits a rating may be, each of them one token in every vocabulary at hand. */
const digits = '123456789'

function askingOf({ engine, tokenizer, room, origin, seed, request, signal }: AskingOptions, spent: Spent): Asking {
  const call = async (given: GenerationRequest): Promise<Generation> => {
    const answer = await engine.generate({ ...given, ...(signal && { signal }) })
    if (answer.finishReason === 'aborted') throw new GradpromptError('aborted', 'stopped', { exitCode: 1 })
    spent.calls++
    spent.tokens += answer.ids.length
    return answer
  }
  const isChat = tokenizer.chatTemplate !== undefined
  const encoded = (input: GenerationInput) => {
    const { text, addSpecialTokens } = renderInput(tokenizer, input)
    return tokenizer.encode(text, { addSpecialTokens })
  }
  /** Under no prompt: what a model was tuned to answer is of no help with instructions. */
  const plain = (text: string, maxNewTokens: number): GenerationRequest => {
    const ids = encoded(isChat ? { messages: [{ role: 'user', content: text }] } : { prompt: `${text}\n` })
    return { ids, maxNewTokens: tokenBudget(origin, ids.length, { ...room, numVirtualTokens: 0 }, undefined, maxNewTokens) }
  }
  return {
    answer: (input, asked = {}) => call(request(input, asked)),
    async instruct(text, { maxNewTokens, temperature, sample = 0 }: InstructCall) {
      const sampled = temperature === undefined ? {} : { temperature, seed: sampleSeed(seed ?? 0, sample) }
      return (await call({ ...plain(text, maxNewTokens), ...sampled })).text
    },
    async rate(text) {
      const { alternatives } = await call({ ...plain(text, 1), logProbabilities: true, alternatives: 20 })
      let [mass, sum] = [0, 0]
      for (const { id, logProbability } of alternatives?.[0] ?? []) {
        const digit = tokenizer.decode([id]).trim()
        if (digit.length !== 1 || !digits.includes(digit)) continue
        mass += Math.exp(logProbability)
        sum += Math.exp(logProbability) * Number(digit)
      }
      return mass > 0 ? sum / mass : 5
    },
    async likelihood(input, text) {
      const ids = tokenizer.encode(text, { addSpecialTokens: false })
      const { continuation } = await call({ ids: encoded(input), maxNewTokens: 0, continuation: { ids, scored: ids.length } })
      return continuation!.logProbabilities.reduce((sum, value) => sum + value, 0) / ids.length
    },
  }
}
