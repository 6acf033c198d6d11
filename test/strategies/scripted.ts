import type { GenerationInput } from '../../src/generate/input.js'
import type { Generation } from '../../src/generate/request.js'
import type { AnswerCall, Asking } from '../../src/strategies/strategy.js'

/** A model that says what it is told to, in turn, and keeps what it was asked. */
export interface Script {
  readonly answers?: readonly string[]
  readonly instructed?: readonly string[]
  readonly rates?: readonly number[]
  readonly likelihoods?: readonly number[]
}

export interface Heard {
  readonly answer: { readonly input: GenerationInput; readonly call: AnswerCall }[]
  readonly instruct: string[]
  readonly rate: string[]
  readonly likelihood: { readonly input: GenerationInput; readonly text: string | readonly number[] }[]
}

export const generation = (text: string): Generation => ({
  ids: [...text].map((_, i) => i),
  text,
  finishReason: 'stop',
  promptTokens: 1,
})

export function scripted(script: Script): { readonly model: Asking; readonly heard: Heard } {
  const heard: Heard = { answer: [], instruct: [], rate: [], likelihood: [] }
  const next = <T>(from: readonly T[] | undefined, place: number): T => {
    const said = from?.[place]
    if (said === undefined) throw new Error(`nothing is written for call ${place + 1}`)
    return said
  }
  return {
    heard,
    model: {
      answer: async (input, call = {}) => generation(next(script.answers, heard.answer.push({ input, call }) - 1)),
      instruct: async text => next(script.instructed, heard.instruct.push(text) - 1),
      rate: async text => next(script.rates, heard.rate.push(text) - 1),
      likelihood: async (input, text) => next(script.likelihoods, heard.likelihood.push({ input, text }) - 1),
    },
  }
}
