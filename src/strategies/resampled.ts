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
    while (spent + answers.at(-1)!.ids.length <= tokens) {
      const next = await model.answer(input, { sample: answers.length, temperature })
      answers.push(next)
      spent += Math.max(1, next.ids.length)
    }
    const { index, agreement } = majority(answers.map(({ text }) => read(text)))
    return { answer: answers[index]!, answers, figures: { agreement } }
  },
}

/**
 * What a strategy is held against: the same tokens spent on answers that know nothing of one another.
 * @param tokens that the strategy has generated for the input
 */
export const resampled = (tokens: number): ActiveStrategy => ({
  strategy: resampling as unknown as Strategy,
  options: { type: resampling.type, tokens } as { type: string },
})
