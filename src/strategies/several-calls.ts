import type { Tokenizer } from '../formats/tokenizer.js'
import { renderInput } from '../generate/input.js'
import { encodeChoices, tokensOfChoices } from '../generate/limits/choices.js'
import type { Generation, GenerationRequest, Generator } from '../generate/request.js'
import { type Room, sampleSeed, tokenBudget } from '../generate/settings.js'
import { type ActiveStrategy, answerBy } from './asking.js'
import { questionOf } from './inputs.js'
import type { AnswerCall } from './strategy.js'

/** What a request's answers are known by. */
export interface Reading {
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'decode' | 'applyChatTemplate' | 'chatTemplate'>
  readonly room: Room
  /** By which answers agree. */
  read(text: string): string | undefined
}

/**
 * A generator that answers each request with several calls of another one. Requests that do not say what their tokens were made of are
 * answered at once: there is nothing to ask otherwise.
 * @param readingOf of the prompt that a request names
 */
export function severalCalls(
  engine: Generator,
  active: ActiveStrategy,
  readingOf: (request: GenerationRequest) => Reading,
): Generator {
  return {
    async generate(request) {
      const { asked, signal, onText, ...own } = request
      if (asked === undefined) return engine.generate(request)
      const { tokenizer, room, read } = readingOf(request)
      const origin = 'the prompt'
      const answered = await answerBy(
        active,
        { input: asked, question: questionOf(asked), read },
        {
          ...{ engine, tokenizer, room, origin, seed: own.seed, signal },
          request: (input, { sample = 0, temperature, maxNewTokens: most = own.maxNewTokens }: AnswerCall) => {
            const { text, addSpecialTokens } = renderInput(tokenizer, input)
            const plain = tokenizer.encode(text, { addSpecialTokens })
            const written = own.choices?.map(({ text, written = text }) => ({ text, written })) ?? []
            const { ids, choices } = encodeChoices(tokenizer, text, plain, written)
            const needed = own.choices && tokensOfChoices(choices)
            const maxNewTokens = tokenBudget(origin, ids.length, room, undefined, needed ?? Math.min(own.maxNewTokens, most))
            const seed = own.seed === undefined ? {} : { seed: sampleSeed(own.seed, sample) }
            const limits = { ...(own.choices && { choices }), maxNewTokens }
            return { ...own, ...seed, ids, ...limits, ...(temperature !== undefined && { temperature }) }
          },
        },
      ).catch((error: unknown) => {
        if (!signal?.aborted) throw error
        return undefined
      })
      const promptTokens = request.ids.length
      if (answered === undefined) return { ids: [], text: '', finishReason: 'aborted', promptTokens }
      const { answer, spent, figures } = answered
      onText?.(answer.text)
      const generation: Generation = { ...answer, promptTokens, severally: { ...spent, ...(figures && { figures }) } }
      return generation
    },
    dispose: () => engine.dispose(),
  }
}
