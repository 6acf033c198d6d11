import { z } from 'zod'
import { acceptanceOption, moveAmong, type PromptState } from '../moves/acceptance.js'
import type { SearchMethod } from '../moves/method.js'
import { positionAt, positionOption } from '../moves/positions.js'
import { distinct, pick, substituted } from '../space/candidates.js'

export const randomShortlistSchema = z.strictObject({
  type: z.literal('random-shortlist'),
  candidates: z.int().min(1).default(32).describe('tokens that are scored in a step, drawn from the vocabulary'),
  positions: positionOption,
  acceptance: acceptanceOption,
})

/** The control of every search by gradient: the same exact scoring, over tokens that nothing has chosen. */
export const randomShortlist: SearchMethod<z.output<typeof randomShortlistSchema>, PromptState> = {
  type: 'random-shortlist',
  paper: 'a control: no gradient',
  steps: 200,
  start: (_, { space }) => Promise.resolve({ ids: space.start }),

  async step({ ids }, { candidates, positions, acceptance }, context) {
    const position = positionAt(positions, context)
    const random = context.random()
    const drawn = Array.from({ length: candidates }, () => substituted(ids, [{ position, to: pick(context.allowed, random) }]))
    return moveAmong(context, ids, distinct(drawn, ids), acceptance)
  },
}
