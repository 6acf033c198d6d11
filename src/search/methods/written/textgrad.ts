import { z } from 'zod'
import { beginning, outcomeOf, ranked } from '../../moves/beam.js'
import type { SearchMethod } from '../../moves/method.js'
import { draw } from '../../space/candidates.js'
import { asks, casesOf, criticOptions, whole } from '../../writing/critic.js'
import { promptsOf } from '../../writing/written-prompts.js'

export const textgradSchema = z.strictObject({
  type: z.literal('textgrad'),
  ...criticOptions,
  examples: z.int().min(1).default(3).describe('questions of a step that are judged in words: its batch'),
})

type State = { readonly ids: readonly number[]; readonly loss: number | null }

/**
 * Each question of a small batch is judged in words, all of the feedback together leads to one rewrite, and the rewrite is taken back
 * where it is worse on the questions of the search.
 */
export const textgrad: SearchMethod<z.output<typeof textgradSchema>, State> = {
  type: 'textgrad',
  paper: 'Yuksekgonul et al. 2024, "TextGrad: Automatic Differentiation via Text"',
  steps: 12,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  start: (_, context) => Promise.resolve(beginning(context)[0]!),

  async step(current, options, context) {
    const prompt = context.space.wordingOf(current.ids)
    const writer = context.writer!
    const cases = await casesOf(current.ids, context, draw(context.rows, options.examples, context.random()))
    const judge = cases.map(one => asks.judge(prompt, one))
    const feedback = await writer.write(judge, options)
    const rewrite = asks.rewrite(
      prompt,
      feedback.map((text, i) => whole(judge[i]!, text)),
    )
    const answers = await writer.write([rewrite], options)
    const { candidates, figures } = promptsOf(answers, current.ids, [current.ids], options, context)
    const { beam, scored } = await ranked([current], candidates, context)
    const [old, other] = [beam.find(({ ids }) => ids === current.ids)!, beam.find(({ ids }) => ids !== current.ids)]
    const next = other !== undefined && other.loss <= old.loss ? other : old
    return outcomeOf(next, next, scored, [], figures)
  },
}
