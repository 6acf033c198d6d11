import { z } from 'zod'
import { deltaOption } from '../../../train/privacy/options.js'
import { gumbels } from '../../../train/privacy/secret.js'
import type { Member } from '../../moves/member.js'
import type { PromptPrivacy, SearchContext, SearchMethod } from '../../moves/method.js'
import { drawnMembers, endOfText, memberAsk, memberSeeds } from '../../private/ensemble.js'
import { counted, leadOf, limitedTop, noisyTop, plainTop } from '../../private/limited-domain.js'
import { ensembleOf, type VotingPlan, votingPlan } from '../../private/plan.js'
import type { SearchRow } from '../../space/token-space.js'
import { casesOf, criticOptions } from '../../writing/critic.js'
import { founder } from '../../writing/pool.js'

export const dpOptSchema = z.strictObject({
  type: z.literal('dp-opt'),
  epsilon: z.number().positive().default(8).describe('how much a row may show through the prompt: a factor of e^epsilon at most'),
  delta: deltaOption,
  tokenEpsilon: z
    .number()
    .positive()
    .optional()
    .describe('counts of votes have noise of 1 / so much; by default 1.8, or less where epsilon does not pay for all votes'),
  tokenDelta: z
    .number()
    .positive()
    .lt(1)
    .optional()
    .describe('the part of delta that one vote takes; by default as much as delta leaves for all votes'),
  choiceEpsilon: z
    .number()
    .positive()
    .optional()
    .describe(
      'of the choice among the prompts; by default epsilon where dev rows choose, and a quarter of it where training rows do',
    ),
  members: z
    .int()
    .min(2)
    .optional()
    .describe('prompts that vote for a token, on average; by default 205 of 10250 rows or more, and 100 of fewer'),
  demonstrations: z
    .int()
    .min(1)
    .optional()
    .describe('rows that each of them shows, on average; by default 5 of 10250 rows or more, and 1 of fewer'),
  candidates: z.int().min(1).default(10).describe('the most frequent tokens, of which one may win'),
  retries: z.int().min(0).default(5).describe('votes of a prompt that are taken again where no token wins; of one token one'),
  temperature: z.number().positive().default(1.1).describe('at which a member samples its token'),
  maxWrittenTokens: z.int().min(1).default(50).describe('tokens of a prompt, at most'),
  noise: z.boolean().default(true).describe('false: votes as they are, which is a control, and private in nothing'),
  optimizer: criticOptions.optimizer.describe('who votes: another model on this machine; by default the model itself'),
})

type Options = z.output<typeof dpOptSchema>
type Answers = Readonly<Record<string, { readonly isRight: boolean; readonly said?: string }>>
type State = {
  readonly pool: readonly Member[]
  readonly votes: number
  readonly failures: number
  /** What the model answers to rows under the first prompt, of those that have taken part. */
  readonly answers: Answers
}

/** Of a model whose vocabulary is not known yet: all that matters is that it has more tokens than may win. */
const SOME_VOCABULARY = 32_000

const votesOf = ({ maxWrittenTokens, retries }: Options, steps: number) => steps * (maxWrittenTokens + retries)

type Sizes = { rows: number; heldOut: number; steps: number; vocabulary?: number | undefined }

function planOf(options: Options, { rows, heldOut, steps, vocabulary = SOME_VOCABULARY }: Sizes): VotingPlan {
  const votes = votesOf(options, steps)
  return votingPlan(options, { rows, hasHeldOut: heldOut > 0, votes, vocabulary })
}

/**
 * Prompts that are written token by token, each the winner of a noisy vote of many meta-prompts that see disjoint samples of the rows; a noisy
 * count of right answers chooses among them.
 */
export const dpOpt: SearchMethod<Options, State> = {
  type: 'dp-opt',
  paper: 'Hong et al. 2024, "DP-OPT: Make Large Language Model Your Privacy-Preserving Prompt Engineer" (arXiv 2312.03724)',
  steps: 40,
  defaults: { vocabulary: 'any', measure: 'mistakes' },
  writes: true,
  drawsRows: true,
  isPrivate: true,
  needs: ({ optimizer }) => ({ writer: optimizer }),
  forecast: (options, { questions, steps }) => ({
    answers: questions,
    // Of each text every member writes its own tokens.
    written: steps * ensembleOf(options, questions).members,
  }),
  check(options, sizes) {
    if (options.noise) return [{ code: 'private-votes', message: planWords(planOf(options, sizes), options) }]
    const message = 'search.noise: false takes votes as they are: a control, whose prompt may show any row'
    return [{ code: 'not-private', message }]
  },
  start: (_, context) => Promise.resolve({ pool: [founder(context)], votes: 0, failures: 0, answers: {} }),

  async step(state, options, context) {
    const { space, steps, step, questions } = context
    const tokens = context.writer!.tokens!
    const ensemble = ensembleOf(options, questions.length)
    const plan = options.noise ? planOf(options, sizesOf(context)) : undefined
    const rate = Math.min(1, (ensemble.members * ensemble.demonstrations) / questions.length)
    const instruction = space.wordingOf(space.start)
    const most = plan?.most ?? Number.POSITIVE_INFINITY
    let { votes, failures, answers } = state
    const begun: number[] = []
    let [failed, failedHere, isOver, lead] = [0, 0, false, 0]
    while (!isOver && begun.length < options.maxWrittenTokens && votes < most) {
      const members = drawnMembers(questions.length, { ...ensemble, rate }, context.secret!, votes)
      answers = await answered(members.flat(), answers, context)
      const asks = members.map(rows => {
        const cases = rows.map(row => ({ ...context.exampleOf(questions[row]!), ...answers[row]! }))
        return memberAsk(instruction, step, cases)
      })
      const counts = counted(await tokens.next(asks, begun, memberSeeds(asks.length, context.secret!, votes), options))
      const sizes = { size: tokens.vocabulary, candidates: options.candidates }
      const domain = plan && { ...plan, ...sizes }
      lead += leadOf(counts, sizes)
      const winner =
        domain === undefined
          ? plainTop(counts)
          : limitedTop(counts, domain, gumbels(options.candidates + 1, context.secret!, votes))
      votes++
      if (winner === undefined) {
        failures++
        isOver = ++failed > options.retries || ++failedHere > 1
        continue
      }
      failedHere = 0
      if (tokens.isEnd(winner)) break
      begun.push(winner)
      isOver = endOfText(tokens.read(begun)).isOver
    }
    const { text } = endOfText(tokens.read(begun))
    const pool = text === '' ? state.pool : [...state.pool, memberOf(text, state.pool, context)]
    const done = votes >= most || step + 1 >= steps
    const own = votes - state.votes
    const figures = {
      votes: own,
      failures: failed,
      tokens: begun.length,
      lead: lead / Math.max(1, own),
      ...(plan && { left: most - votes }),
    }
    // No score of the rows is taken before the end.
    const nothing = { prompt: pool.at(-1)!.ids, objective: Number.NaN, candidates: [] }
    return { state: { pool, votes, failures, answers }, ...nothing, figures, pool, done }
  },

  async choose({ pool, votes, failures }, options, context) {
    const { heldOut, questions, objective } = context
    const rows = heldOut.length > 0 ? heldOut : questions
    const distinct = [...new Map(pool.map(({ ids }) => [ids.join(), ids])).values()]
    const right: number[] = []
    for (const ids of distinct) right.push((await objective.answers(ids, rows)).filter(({ isRight }) => isRight).length)
    if (!options.noise) return { ids: distinct[right.indexOf(Math.max(...right))]! }
    const plan = planOf(options, sizesOf(context))
    const noise = gumbels(distinct.length, context.secret!, 0, 'choice')
    return { ids: distinct[noisyTop(right, plan.choiceEpsilon, noise)]!, privacy: spentBy(plan, votes, failures) }
  },
}

const sizesOf = ({ questions, heldOut, steps, writer }: SearchContext): Sizes => ({
  ...{ rows: questions.length, heldOut: heldOut.length, steps, vocabulary: writer?.tokens?.vocabulary },
})

function planWords(plan: VotingPlan, { candidates }: Options): string {
  const { members, demonstrations, rate, tokenEpsilon, needed, most, votesEpsilon, delta } = plan
  return (
    `each token is a vote of about ${members} members with ${demonstrations === 1 ? 'a row' : `${demonstrations} rows`} each (a row takes part with a chance of ${rate.toPrecision(2)}); ` +
    `at noise of 1 / ${tokenEpsilon.toPrecision(3)} it needs ${needed.toFixed(1)} votes more than the ${candidates + 1}th, and at most ${most} votes are taken ` +
    `(epsilon ${votesEpsilon.toPrecision(3)} of these rows, delta ${delta.toPrecision(2)})`
  )
}

/** What is kept with the prompt. Epsilon and delta are of all votes that might have been taken: how many were needed depends on the rows. */
function spentBy(plan: VotingPlan, votes: number, failures: number): PromptPrivacy {
  const { epsilon, delta, rate, tokenEpsilon, tokenDelta, votesEpsilon, choiceEpsilon, members, demonstrations, most } = plan
  const spent = { epsilon, delta, queries: votes, failures, mostQueries: most }
  return { ...spent, votesEpsilon, choiceEpsilon, rate, tokenEpsilon, tokenDelta, members, demonstrations }
}

/** A prompt by its text alone: its ids are those of the text by itself, whatever rows it will stand in. */
function memberOf(text: string, pool: readonly Member[], { space }: SearchContext): Member {
  const own = { id: pool.length, parents: [0], origin: 'votes', components: [text], demos: [] }
  return { ...own, ids: space.rewritten(text), losses: {}, costs: {} }
}

/** What the model answers to these rows under the first prompt, beside what is known. */
async function answered(places: readonly number[], known: Answers, context: SearchContext): Promise<Answers> {
  const due = places.filter(place => known[place] === undefined).map((place): SearchRow => context.questions[place]!)
  if (due.length === 0) return known
  const cases = await casesOf(context.space.start, context, due)
  const found = cases.map(({ isRight, said }, i) => [due[i]!.index, { isRight, ...(said !== undefined && { said }) }] as const)
  return { ...known, ...Object.fromEntries(found) }
}
