import { z } from 'zod'
import { mean } from '../../../numbers.js'
import type { Member } from '../../moves/member.js'
import type { SearchContext, SearchMethod } from '../../moves/method.js'
import { suggested, type Trial } from '../../moves/tpe.js'
import { draw, pick } from '../../space/candidates.js'
import { criticOptions, feedbackOption, whole } from '../../writing/critic.js'
import { demoTexts, passing } from '../../writing/demos.js'
import { metaAsks } from '../../writing/meta-asks.js'
import { admitted, founder, isMeasured, lossOf, measured, type Parts, partsOf, poolOutcome, updated } from '../../writing/pool.js'
import { proposed, type Refusals, refusalFigures } from '../../writing/propose.js'
import { demoSet } from './bootstrap-demos.js'

export const miprov2Schema = z.strictObject({
  type: z.literal('miprov2'),
  ...criticOptions,
  temperature: criticOptions.temperature.default(1),
  maxPromptTokens: criticOptions.maxPromptTokens.default(150),
  feedback: feedbackOption.describe(
    'questions that examples and summary are made of; the others alone score prompts. By default half of search.questions',
  ),
  candidates: z
    .int()
    .min(2)
    .default(6)
    .describe('sets of examples; there are half as many instructions, and as many where nothing is shown'),
  labelled: z.int().min(0).default(4).describe('examples with their answers as the data have them, at most'),
  bootstrapped: z
    .int()
    .min(0)
    .default(4)
    .describe('examples that the model itself answers rightly, at most; with labelled 0 too, nothing is shown'),
  minibatch: z.int().min(1).default(16).describe('questions that a trial is scored on'),
  fullEvery: z.int().min(1).default(5).describe('trials after which the best by its mean is scored on all questions'),
  startup: z.int().min(1).default(10).describe('trials that are drawn at random before the estimator chooses'),
})

type Options = z.output<typeof miprov2Schema>
type Combination = readonly [instruction: number, demos: number]
type State = {
  readonly pool: readonly Member[]
  readonly instructions: readonly string[]
  readonly sets: readonly (readonly number[])[]
  readonly trials: readonly Trial[]
  /** Combinations by the member that they are. */
  readonly members: Readonly<Record<string, number>>
}

const TIPS = [
  '',
  'Let it be creative.',
  'Keep it short and clear.',
  'Let it describe the task at length.',
  'Say that much depends on a right answer.',
  'Give the model a role that fits the task.',
]
const SUMMARY_BATCH = 5
const SUMMARY_CALLS = 3
const EXAMPLES = 3

/** Instructions that are written from the data, and sets of examples that the model has answered rightly; an estimator chooses among the combinations. */
export const miprov2: SearchMethod<Options, State> = {
  type: 'miprov2',
  paper:
    'Opsahl-Ong et al. 2024, "Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs" (arXiv 2406.11695)',
  steps: 18,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: ({ candidates, minibatch, fullEvery, feedback: given }, { questions, steps }) => {
    const feedback = Math.min(questions - 1, given ?? Math.floor(questions / 2))
    const select = questions - feedback
    const answers = feedback + select + steps * Math.min(minibatch, select) + Math.ceil(steps / fullEvery) * select
    return { answers, written: SUMMARY_CALLS + candidates }
  },
  start: (_, context) =>
    Promise.resolve({ pool: [founder(context)], instructions: [], sets: [], trials: [], members: { '0 0': 0 } }),

  async step(state, options, context) {
    const parts = partsOf(context, options.feedback)
    const prepared = state.instructions.length > 0 ? { state, figures: [] } : await prepare(state, options, parts, context)
    return await trial(prepared.state, options, parts, context, prepared.figures)
  },
}

/** Sets of examples, then instructions: the first prompt's is the first of them, and the empty set the first set. */
async function prepare(
  state: State,
  options: Options,
  { feedback, select }: Parts,
  context: SearchContext,
): Promise<{ state: State; figures: Partial<Refusals>[] }> {
  const { space, random, exampleOf, demoOf } = context
  const { candidates, labelled, bootstrapped } = options
  const isShowing = labelled > 0 || bootstrapped > 0
  const right = bootstrapped > 0 ? await passing(space.start, feedback, context) : []
  const sets: number[][] = [[]]
  for (let i = 0; isShowing && sets.length < candidates && i < 2 * candidates; i++) {
    const set = demoSet(i, { right, all: feedback }, { labelled, bootstrapped: Math.max(1, bootstrapped) }, context)
    const indices = set.map(({ index }) => index)
    if (!sets.some(known => known.join() === indices.join())) sets.push(indices)
  }
  const own = space.wordingOf(space.start)
  const summary = await summaryOf(feedback.map(exampleOf), options, context)
  const count = isShowing ? Math.ceil(candidates / 2) : candidates
  const byIndex = new Map(feedback.map(row => [row.index, row]))
  const asks = Array.from({ length: count - 1 }, (_, i) => {
    const set = sets[(i + 1) % sets.length]!.slice(0, EXAMPLES)
    const examples = set.map(index => demoOf(byIndex.get(index)!).trim())
    return metaAsks.propose(own, summary, examples, pick(TIPS, random(9, i)))
  })
  const { texts, figures } = await proposed(asks, options, context)
  const instructions = [own, ...new Set(texts.filter(text => text !== undefined && text !== own) as string[])]
  const [first] = await measured(state.pool, select, context)
  const trials = [{ choices: [0, 0], score: -lossOf(first!, select) }]
  return { state: { ...state, pool: [first!], sets, instructions, trials }, figures: [figures] }
}

/** What is said of the questions, a few at a time, until nothing is added. */
async function summaryOf(
  examples: readonly ReturnType<SearchContext['exampleOf']>[],
  options: Options,
  context: SearchContext,
): Promise<string> {
  let summary = ''
  for (let call = 0; call < SUMMARY_CALLS && call * SUMMARY_BATCH < examples.length; call++) {
    const ask = metaAsks.observe(examples.slice(call * SUMMARY_BATCH, (call + 1) * SUMMARY_BATCH), summary)
    const [reply] = await context.writer!.write([ask], options)
    if (/\bCOMPLETE\b/u.test(reply!)) break
    summary = `${summary} ${whole(ask, reply!)}`.trim()
  }
  return summary
}

async function trial(
  state: State,
  options: Options,
  { feedback, select }: Parts,
  context: SearchContext,
  figures: readonly Partial<Refusals>[],
) {
  const { instructions, sets } = state
  const sizes = [instructions.length, sets.length]
  const texts = sets.length > 1 ? await demoTexts(feedback, context) : new Map<number, string>()
  let pool: readonly Member[] = state.pool
  const members = { ...state.members }
  const refusals = [...figures]
  const memberOf = ([instruction, demos]: Combination): Member | undefined => {
    const key = `${instruction} ${demos}`
    if (members[key] !== undefined) return pool[members[key]!]
    const draft = { parents: [0], origin: `trial ${key}`, components: [instructions[instruction]!], demos: sets[demos]! }
    const made = admitted([draft], pool, context, ({ demos: own }) => own.map(index => texts.get(index)!))
    refusals.push(made.refused)
    const [member] = made.members
    if (member === undefined) return undefined
    members[key] = member.id
    pool = updated(pool, [member])
    return member
  }
  const choices = suggested(state.trials, sizes, context.random(0), options.startup)
  const member = memberOf(choices as unknown as Combination)
  const trials = [...state.trials]
  const tried: Member[] = []
  if (member !== undefined) {
    const rows = draw(select, options.minibatch, context.random(1)).sort((a, b) => a.index - b.index)
    const [scored] = await measured([member], rows, context)
    pool = updated(pool, [scored!])
    tried.push(scored!)
    trials.push({ choices, score: -lossOf(scored!, rows) })
  }
  if ((context.step + 1) % options.fullEvery === 0 || context.step + 1 === context.steps) {
    const best = bestUnfinished(trials, members, pool, select)
    if (best !== undefined) {
      const [scored] = await measured([pool[best.id]!], select, context)
      pool = updated(pool, [scored!])
      trials.push({ choices: best.choices, score: -lossOf(scored!, select) })
      const place = tried.findIndex(({ id }) => id === scored!.id)
      tried.splice(place < 0 ? 0 : place, place < 0 ? 0 : 1, scored!)
    }
  }
  const next: State = { ...state, pool, members, trials }
  return poolOutcome(next, pool, tried, select, context, { ...refusalFigures(refusals), trials: trials.length })
}

/** The combination with the best mean of its trials that was not scored on all questions; undefined where all were. */
function bestUnfinished(
  trials: readonly Trial[],
  members: State['members'],
  pool: readonly Member[],
  select: Parts['select'],
): { id: number; choices: readonly number[] } | undefined {
  const groups = new Map<string, Trial[]>()
  for (const one of trials) groups.set(one.choices.join(' '), [...(groups.get(one.choices.join(' ')) ?? []), one])
  const open = [...groups].flatMap(([key, own]) => {
    const id = members[key]
    if (id === undefined || isMeasured(pool[id]!, select)) return []
    return [{ id, choices: own[0]!.choices, score: mean(own.map(({ score }) => score)) }]
  })
  return open.sort((a, b) => b.score - a.score || a.id - b.id)[0]
}
