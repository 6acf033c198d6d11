import { z } from 'zod'
import { shownBefore, withQuestion } from './inputs.js'
import { rewritten } from './rewritten.js'
import { unlessRoom, withRoom } from './room.js'
import type { Strategy } from './strategy.js'

const options = z.strictObject({
  prompts: z
    .int()
    .min(1)
    .max(1000)
    .default(1)
    .describe('derived questions, of which the one is shown behind whose answer the own question is likeliest'),
  temperature: z.number().min(0).max(10).default(0.7).describe('they are written at, where there are several'),
  maxWrittenTokens: z.int().min(8).default(256).describe('of a derived question'),
})

const ask = (
  question: string,
) => `Say this question in other words, as someone would who wants exactly the same answer. Keep every number and every name.

Question: ${question}

Write it between <prompt> and </prompt>, and do not answer it.
`

/** The same question in other words is answered first, and stands as an example before the question itself, which stays as it is. */
export const derived: Strategy<z.output<typeof options>> = {
  type: 'derived',
  paper: 'the question in other words, with its answer, as an example before it (derived prompts, 2024, arXiv 2409.01552)',
  options,
  async answer({ input, question }, model, { prompts, temperature, maxWrittenTokens }) {
    const replies = await Promise.all(
      Array.from({ length: prompts }, (_, sample) =>
        withRoom(() =>
          model.instruct(ask(question), { maxNewTokens: maxWrittenTokens, sample, ...(prompts > 1 && { temperature }) }),
        ),
      ),
    )
    const texts = [...new Set(replies.flatMap(reply => (reply === undefined ? [] : (rewritten(reply, question) ?? []))))]
    const answered = await Promise.all(
      texts.map(async text => {
        const other = withQuestion(input, question, text)
        return { other, answer: await withRoom(() => model.answer(other)) }
      }),
    )
    const shown = answered.flatMap(({ other, answer }) => (answer === undefined ? [] : [{ other, answer }]))
    // Where the question is nothing, one is as good as another.
    const isAlone = shown.length === 1 || question === ''
    const likely = await Promise.all(
      shown.map(async ({ other, answer }) =>
        isAlone
          ? 0
          : ((await withRoom(() => model.likelihood(shownBefore({ prompt: '' }, other, answer.text), question))) ?? -Infinity),
      ),
    )
    const best = shown[likely.indexOf(Math.max(...likely))]
    const last = best && (await withRoom(() => model.answer(shownBefore(input, best.other, best.answer.text))))
    const answer = last ?? (await model.answer(input))
    const isFull = replies.includes(undefined) || shown.length < answered.length || (best !== undefined && last === undefined)
    return {
      // The others answer questions of the model's own.
      ...{ answer, answers: [answer] },
      figures: { derived: texts.length, ...unlessRoom(!isFull) },
    }
  },
}
