import { z } from 'zod'
import type { GenerationInput } from '../generate/input.js'
import type { Generation } from '../generate/request.js'
import { told } from './inputs.js'
import type { Asking, Strategy } from './strategy.js'

const options = z
  .strictObject({
    controls: z
      .array(z.string())
      .min(1)
      .max(16)
      .default(['', 'Answer in a friendly and positive tone.', 'Answer in a neutral tone.'])
      .describe('what is told before the question, one of these for each piece of the answer; an empty text: nothing'),
    segment: z.int().min(1).max(256).default(8).describe('tokens of a piece'),
    pieces: z.int().min(1).max(512).default(8).describe('how many pieces an answer has at most'),
    fluency: z
      .number()
      .min(0)
      .default(1)
      .describe('mu: weight of the mean log-probability of a piece by the model alone, beside the attribute'),
    judge: z
      .string()
      .min(1)
      .refine(text => text.includes('{text}'), 'a text in which {text} stands for the answer so far')
      .default('Text: {text}\n\nIs this text positive in tone? Answer yes or no.')
      .describe('what the model alone is asked of the answer so far, which stands for {text}'),
    yes: z.string().min(1).default('yes').describe('the answer that speaks for the attribute'),
    no: z.string().min(1).default('no').describe('the one that speaks against it'),
  })
  .refine(({ yes, no }) => yes !== no, {
    path: ['no'],
    message: 'another answer than yes: of one and the same nothing is the likelier',
  })

/**
 * Control prompts that take turns within one answer (after "Harnessing the Plug-and-Play Controller by Prompting", Wang and Sha 2024, arXiv
 * 2402.04160, whose formulas are not published: the objective is ours, and no weight of the model is tuned). Every piece of an answer is
 * written under each of K controls; the one with the highest log-odds of the attribute + mu times the mean log-probability that the model
 * alone gives the piece is kept, and all go on from it. The answers so far are one text, so that of one control nothing changes.
 */
export const switching: Strategy<z.output<typeof options>> = {
  type: 'switching',
  paper:
    'pieces of an answer under several control prompts, of each the best by an attribute and fluency (after RLDAF, arXiv 2402.04160)',
  options,
  async answer({ input }, model, { controls, segment, pieces, fluency, ...judging }) {
    const inputs = controls.map(control => (control === '' ? input : told(input, control)))
    const taken = controls.map(() => 0)
    let answer: Generation | undefined
    let [last, switches] = [-1, 0]
    let odds: number | undefined
    for (let piece = 0; piece < pieces; piece++) {
      const begun = answer?.ids ?? []
      const written: Generation[] = []
      for (const own of inputs) written.push(await model.answer(own, { begun, maxNewTokens: segment }))
      let best = { at: 0, score: Number.NEGATIVE_INFINITY, odds: undefined as number | undefined }
      for (const [at, one] of written.entries()) {
        const added = one.ids.slice(begun.length)
        // What adds nothing has no likelihood, and is taken where the others add nothing either.
        if (added.length === 0 || controls.length === 1) continue
        const own = await attribute(model, one.text, judging)
        const score = own + fluency * (await model.likelihood(input, added, { begun }))
        if (score > best.score) best = { at, score, odds: own }
      }
      answer = written[best.at]!
      odds = best.odds ?? odds
      taken[best.at]!++
      if (last >= 0 && best.at !== last) switches++
      last = best.at
      if (answer.finishReason !== 'length' || answer.ids.length - begun.length < segment) break
    }
    const total = taken.reduce((sum, count) => sum + count, 0)
    const shares = Object.fromEntries(taken.map((count, i) => [`control ${i + 1}`, count / total]))
    const figures = { pieces: total, switches, ...shares, ...(odds !== undefined && { attribute: odds }) }
    return { answer: answer!, answers: [answer!], figures }
  },
}

/** Log-odds of the attribute: what the model alone answers when it is asked of a text. */
async function attribute(
  model: Asking,
  text: string,
  { judge, yes, no }: { readonly judge: string; readonly yes: string; readonly no: string },
): Promise<number> {
  const asked: GenerationInput = { messages: [{ role: 'user', content: judge.replaceAll('{text}', () => text) }] }
  return (await model.likelihood(asked, yes)) - (await model.likelihood(asked, no))
}
