import { z } from 'zod'
import type { Generation } from '../generate/request.js'
import { withQuestion } from './inputs.js'
import { rewritten } from './rewritten.js'
import { unlessRoom, withRoom } from './room.js'
import type { Strategy } from './strategy.js'

const options = z.strictObject({
  rounds: z.int().min(1).max(1000).default(3).describe('rewrites at most'),
  maxWrittenTokens: z.int().min(8).default(256).describe('of a verdict with its rewrite'),
})

const ask = (question: string, answer: string) => `Someone asks a language model, and reads its answer.

Example
Question: how long by train
Answer: It depends on where you start.
Verdict: bad
<prompt>How long does the train take? Name what has to be known for that, and give the usual range in hours.</prompt>

Example
Question: What is 12 times 12?
Answer: 12 times 12 is 144.
Verdict: good

Now this
Question: ${question}
Answer: ${answer}

Say "good" where the answer is complete and answers what is asked. Otherwise say "bad", and write the question anew between <prompt> and </prompt>: the same question, with every number and name, so clear that it cannot be misread. Do not answer it.
Verdict:`

/**
 * The question is written anew, by how it was answered, until the model finds its answer good. The one who writes is the same model: where it
 * answers in the question, the gain is its own.
 */
export const rewriting: Strategy<z.output<typeof options>> = {
  type: 'rewriting',
  paper:
    'the question rewritten by how it was answered, until the answer is found good (PRoMPTd, Srivastava et al. 2023, arXiv 2310.02107)',
  options,
  async answer({ input, question }, model, { rounds, maxWrittenTokens }) {
    const answers: [Generation, ...Generation[]] = [await model.answer(input)]
    let now = question
    let rejected = 0
    let hasRoom = true
    for (let round = 1; round <= rounds; round++) {
      const asking = ask(now, answers.at(-1)!.text.trim())
      const verdict = await withRoom(() => model.instruct(asking, { maxNewTokens: maxWrittenTokens }))
      if (verdict === undefined) {
        hasRoom = false
        break
      }
      if (/^\W*good\b/iu.test(verdict)) break
      const next = rewritten(verdict, question)
      if (next === undefined || next === now) {
        rejected = 1
        break
      }
      const answer = await withRoom(() => model.answer(withQuestion(input, question, next)))
      if (answer === undefined) {
        hasRoom = false
        break
      }
      now = next
      answers.push(answer)
    }
    return { answer: answers.at(-1)!, answers, figures: { rewrites: answers.length - 1, rejected, ...unlessRoom(hasRoom) } }
  },
}
