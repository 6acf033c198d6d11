import { z } from 'zod'
import { shownBefore, withQuestion } from './inputs.js'
import { rewritten } from './rewritten.js'
import type { Strategy } from './strategy.js'

const options = z.strictObject({
  prompts: z
    .int()
    .min(1)
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
        model.instruct(ask(question), { maxNewTokens: maxWrittenTokens, sample, ...(prompts > 1 && { temperature }) }),
      ),
    )
    const texts = [...new Set(replies.flatMap(reply => rewritten(reply, question) ?? []))]
    const figures = { derived: texts.length }
    if (texts.length === 0) {
      const answer = await model.answer(input)
      return { answer, answers: [answer], figures }
    }
    const others = texts.map(text => withQuestion(input, question, text))
    const first = await Promise.all(others.map(other => model.answer(other)))
    const likely = texts.length === 1 ? [0] : await Promise.all(others.map((other, i) => model.likelihood(shownBefore({ prompt: '' }, other, first[i]!.text), question))) // biome-ignore format: one line
    const best = likely.indexOf(Math.max(...likely))
    const answer = await model.answer(shownBefore(input, others[best]!, first[best]!.text))
    return { answer, answers: [...first, answer], figures }
  },
}
