import { z } from 'zod'
import { gridOf, mainEffects } from '../../moves/main-effects.js'
import type { Member } from '../../moves/member.js'
import type { SearchContext, SearchMethod } from '../../moves/method.js'
import { admitted, founder, isMeasured, measured, poolOutcome, updated } from '../../writing/pool.js'

const snippet = z.array(z.string()).min(1)

export const snippetsSchema = z.strictObject({
  type: z.literal('snippets'),
  openers: snippet
    .default([
      '',
      'You are an expert.',
      'You are careful and exact.',
      'You are a professor of the subject.',
      'You are a helpful assistant.',
    ])
    .describe('texts before the prompt, of which each combination has one; "" is none'),
  descriptions: snippet.default(['']).describe('texts in place of the prompt; "" is the prompt itself'),
  closers: snippet
    .default(['', 'Think carefully.', 'This will be fun!', 'I am sure that you can do it.'])
    .describe('texts behind it; "" is none'),
  cells: z.int().min(1).default(5).describe('combinations that a step scores'),
})

type Options = z.output<typeof snippetsSchema>
type State = {
  readonly pool: readonly Member[]
  /** Of each member its cell of the grid; the first prompt is its own. */
  readonly places: Readonly<Record<string, readonly number[]>>
  readonly next: number
}

/** Every combination of a few texts before and behind the prompt, and what each of them does by itself. Nothing is too odd to be scored. */
export const snippets: SearchMethod<Options, State> = {
  type: 'snippets',
  paper: 'Battle and Gollapudi 2024, "The Unreasonable Effectiveness of Eccentric Automatic Prompts" (arXiv 2402.10949)',
  steps: 1000,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  drawsRows: true,
  forecast: ({ openers, descriptions, closers }, { questions }) => ({
    answers: questions * (1 + openers.length * descriptions.length * closers.length),
    written: 0,
  }),
  start: (_, context) => Promise.resolve({ pool: [founder(context)], places: {}, next: 0 }),

  async step(state, options, context) {
    const { questions, space, seed } = context
    const sizes = [options.openers.length, options.descriptions.length, options.closers.length]
    const grid = gridOf(sizes)
    const cells = grid.slice(state.next, state.next + options.cells)
    const own = space.wordingOf(space.start)
    let pool: readonly Member[] = state.pool
    const places = { ...state.places }
    const refused = { unfit: 0, repeated: 0, drifted: 0 }
    const fresh: Member[] = []
    for (const cell of cells) {
      const [opener, description, closer] = [
        options.openers[cell[0]!]!,
        options.descriptions[cell[1]!]!,
        options.closers[cell[2]!]!,
      ]
      const text = [opener, description === '' ? own : description, closer].filter(part => part !== '').join(' ')
      const made = admitted([{ parents: [0], origin: cell.join(' '), components: [text], demos: [] }], pool, context)
      const [member] = made.members
      for (const name of ['unfit', 'repeated', 'drifted'] as const) refused[name] += made.refused[name]
      if (member === undefined) {
        const known = pool.find(({ ids }) => space.wordingOf(ids) === text)
        if (known !== undefined) places[known.id] = cell
        continue
      }
      pool = [...pool, member]
      places[member.id] = cell
      fresh.push(member)
    }
    const [start, ...scored] = await measured([pool[0]!, ...fresh], questions, context)
    pool = updated(pool, [start!, ...scored])
    const next = state.next + cells.length
    const isDone = next >= grid.length
    const figures = { ...refused, ...(isDone ? effectFigures(pool, places, sizes, questions, seed) : {}) }
    return poolOutcome({ pool, places, next }, pool, scored, questions, context, figures, { done: isDone })
  },
}

const slots = ['openers', 'descriptions', 'closers'] as const

/** Main effects in percentage points or units of the loss, with Holm's chances, under names such as `closers[1]`. */
function effectFigures(
  pool: readonly Member[],
  places: State['places'],
  sizes: readonly number[],
  questions: SearchContext['questions'],
  seed: number,
): Record<string, number> {
  const cells = pool
    .filter(member => places[member.id] !== undefined && isMeasured(member, questions))
    .map(({ id, losses }) => ({ places: places[id]!, scores: questions.map(({ index }) => -losses[index]!) }))
  return Object.fromEntries(
    mainEffects(cells, sizes, seed).flatMap(({ slot, snippet, effect, low, high, adjusted }) => {
      const name = `${slots[slot]}[${snippet}]`
      return [
        [`${name}.effect`, effect],
        [`${name}.low`, low],
        [`${name}.high`, high],
        [`${name}.p`, adjusted],
      ]
    }),
  )
}
