import type { Generation } from '../generate/request.js'
import type { ActiveStrategy } from './asking.js'
import type { Strategy } from './strategy.js'
import { majority } from './votes.js'

const temperature = 0.7

const resampling: Strategy<{ readonly tokens: number }> = {
  type: 'resampled',
  paper: 'the answer that most samples come to, of as many as a number of tokens buys',
  async answer({ input, read }, model, { tokens }) {
    const answers: [Generation, ...Generation[]] = [await model.answer(input, { temperature })]
    let spent = answers[0].ids.length
    while (spent + Math.max(1, answers.at(-1)!.ids.length) <= tokens) {
      const left = tokens - spent
      const next = await model.answer(input, { sample: answers.length, temperature, maxNewTokens: left })
      // What the caller's own limit ends is an answer; what has used up the tokens is none.
      const limit = answers.find(({ finishReason }) => finishReason === 'length')?.ids.length
      if (next.finishReason === 'length' && next.ids.length === left && left !== limit) break
      answers.push(next)
      spent += Math.max(1, next.ids.length)
    }
    const { index, agreement } = majority(answers.map(({ text }) => read(text)))
    return { answer: answers[index]!, answers, figures: { agreement } }
  },
}

/**
 * What a strategy is held against: no more tokens, spent on answers that know nothing of one another. There is one at least, however long.
 * @param tokens that the strategy has generated for the input
 */
export function resampled(tokens: number): ActiveStrategy {
  const options = { type: resampling.type, tokens }
  return { strategy: resampling as unknown as Strategy, options, key: options }
}
