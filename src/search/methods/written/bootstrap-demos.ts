import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { z } from 'zod'
import type { Member } from '../../moves/member.js'
import type { SearchMethod } from '../../moves/method.js'
import { draw } from '../../space/candidates.js'
import { feedbackOption } from '../../writing/critic.js'
import { demoTexts, passing } from '../../writing/demos.js'
import { admitted, founder, measured, partsOf, poolOutcome, updated } from '../../writing/pool.js'
import { refusalFigures } from '../../writing/propose.js'

export const bootstrapDemosSchema = z.strictObject({
  type: z.literal('bootstrap-demos'),
  feedback: feedbackOption.describe(
    'questions that examples are taken from; the others alone score prompts. By default half of search.questions',
  ),
  sets: z.int().min(1).default(4).describe('sets of examples that a step scores'),
  labelled: z.int().min(0).default(4).describe('examples with their answers as the data have them, at most'),
  bootstrapped: z.int().min(1).default(4).describe('examples that the model itself answers rightly, at most'),
})

type Options = z.output<typeof bootstrapDemosSchema>
type State = { readonly pool: readonly Member[]; readonly tried: number }

/**
 * Examples that the model answers rightly by itself, shown with its own reasoning where it reasons, in random sets: the first is of labelled
 * examples alone, the second of the first that pass. The instruction stays as it is, and no text is written.
 */
export const bootstrapDemos: SearchMethod<Options, State> = {
  type: 'bootstrap-demos',
  paper: 'Khattab et al. 2023, "DSPy" (arXiv 2310.03714): BootstrapFewShot with random search',
  steps: 4,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  drawsRows: true,
  forecast: ({ sets, feedback: given }, { questions, steps }) => {
    const feedback = Math.min(questions - 1, given ?? Math.floor(questions / 2))
    return { answers: feedback + (questions - feedback) * (1 + steps * sets), written: 0 }
  },
  start: (_, context) => Promise.resolve({ pool: [founder(context)], tried: 0 }),

  async step({ pool, tried }, options, context) {
    const { feedback, select } = partsOf(context, options.feedback)
    const texts = await demoTexts(feedback, context)
    const right = await passing(context.space.start, feedback, context)
    const first = pool[0]!
    const drafts = Array.from({ length: options.sets }, (_, i) => ({
      parents: [0],
      origin: 'examples',
      components: first.components,
      demos: demoSet(tried + i, { right, all: feedback }, options, context).map(({ index }) => index),
    }))
    const { members, refused } = admitted(drafts, pool, context, ({ demos }) => demos.map(index => texts.get(index)!))
    const [start, ...scored] = await measured([first, ...members], select, context)
    const all = updated(pool, [start!, ...scored])
    const figures = { ...refusalFigures([refused, { written: drafts.length }]), passing: right.length }
    return poolOutcome({ pool: all, tried: tried + options.sets }, all, scored, select, context, figures)
  },
}

/** The place-th set: of labels alone, of the first that pass in order, then random ones of random size; filled up with labelled examples. */
export function demoSet<Row>(
  place: number,
  { right, all }: { readonly right: readonly Row[]; readonly all: readonly Row[] },
  { labelled, bootstrapped }: { readonly labelled: number; readonly bootstrapped: number },
  { random }: Parameters<SearchMethod['step']>[2],
): Row[] {
  const source = random(8, place)
  if (place === 0 && labelled > 0) return draw(all, labelled, source)
  const size = place <= 1 ? bootstrapped : uniformInt(source, 1, bootstrapped)
  const shown = place <= 1 ? right.slice(0, size) : draw(right, size, source)
  const filling = all.filter(row => !shown.includes(row))
  return [...shown, ...draw(filling, Math.max(0, labelled - shown.length), source)]
}
