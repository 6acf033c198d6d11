import { z } from 'zod'
import { GradpromptError } from '../../errors.js'
import { type Acceptance, acceptances, accepts } from '../moves/acceptance.js'
import type { SearchContext, SearchMethod } from '../moves/method.js'
import { type ProposalKind, proposalKinds, proposeTokens } from '../moves/proposals.js'
import { race } from '../moves/race.js'
import type { Measure } from '../score/measure.js'
import { type Candidate, draw, rowsOf, substituted, substitutionScores } from '../space/candidates.js'
import { keyOf, type TokenSpace } from '../space/token-space.js'

/** Options that a preset gives, and what it alone says. */
interface Settled {
  readonly mu: number
  readonly proposals: ProposalKind
  readonly topk: number
  readonly positions: 'all' | 'left-to-right'
  readonly acceptance: Acceptance
  readonly blocks: number
  readonly temperature: number
  readonly measure: Measure
  readonly fluency: number
  readonly scoredFluency: number
  /** Questions of which a step's gradient is; by default all. */
  readonly gradientQuestions?: number
  /** What stands behind a token that ends a sentence is dropped. */
  readonly cuts?: boolean
}

/** What each preset means for the options that a config leaves out. */
const presets: Readonly<Record<'default' | 'paper' | 'official' | 'greaterprompt', Settled>> = {
  /** One backward pass judges every position; of two prompts the better one stays; candidates that fall behind are given up early. */
  default: { mu: 3, proposals: 'mean', topk: 10, positions: 'all', acceptance: 'better', blocks: 3, temperature: 1, measure: 'probability', fluency: 0.02, scoredFluency: 0.02 }, // biome-ignore format: a table
  /** As the paper describes it. */
  paper: { mu: 3, proposals: 'intersection', topk: 10, positions: 'left-to-right', acceptance: 'always', blocks: 1, temperature: 1, measure: 'cross-entropy', fluency: 0.2, scoredFluency: 0.2 }, // biome-ignore format: a table
  /** As the released code behaves: several intersections united, answers sharpened, mistakes counted, a worse prompt taken all the same. */
  official: { mu: 3, proposals: 'union', topk: 10, positions: 'left-to-right', acceptance: 'always', blocks: 1, temperature: 0.2, measure: 'mistakes', fluency: 0.2, scoredFluency: 0.02 }, // biome-ignore format: a table
  /** As the loop of GreaterPrompt goes: one question's gradient, its best token taken at once, the rest cut off behind the end of a sentence. */
  greaterprompt: { mu: 1, proposals: 'intersection', topk: 10, positions: 'left-to-right', acceptance: 'always', blocks: 1, temperature: 1, measure: 'cross-entropy', fluency: 0.2, scoredFluency: 0.2, gradientQuestions: 1, cuts: true }, // biome-ignore format: a table
}

/** Proposals that are scored behind held reasoning, and questions on which they are. */
const PREFILTER = 12
const HELD_QUESTIONS = 12

export const greaterSchema = z.strictObject({
  type: z.literal('greater'),
  preset: z
    .enum(['default', 'paper', 'official', 'greaterprompt'])
    .default('default')
    .describe('what is meant where an option is left out'),
  mu: z.int().min(1).optional().describe('candidates of a step that are scored with fresh reasoning: the shortlist'),
  topk: z.int().min(1).optional().describe('tokens that a question proposes at a position'),
  proposals: z
    .enum(proposalKinds)
    .optional()
    .describe('tokens that all sampled questions propose, the union of several such sets, or those of the best mean likelihood'),
  sampled: z.int().min(1).default(5).describe('questions whose proposals are put together'),
  shortlist: z
    .enum(['gradient', 'held-reasoning', 'gradient-without-reasoning', 'random'])
    .default('gradient')
    .describe(
      'how the shortlist is drawn from the proposals: by the gradient; by exact scores behind the reasoning as it stands; the last two are controls',
    ),
  prefilter: z
    .int()
    .min(1)
    .optional()
    .describe('with shortlist held-reasoning: proposals that are scored so, half by the gradient, half at random; by default 12'),
  positions: z.enum(['all', 'left-to-right']).optional().describe('positions that a step considers'),
  maxLength: z.int().min(1).default(40).describe('tokens of a prompt that grows from left to right, at most'),
  acceptance: z.enum(acceptances).optional().describe('when the prompt changes'),
  blocks: z.int().min(1).optional().describe('blocks of questions after each of which the shortlist is thinned out'),
  patience: z.int().min(1).optional().describe('steps without a better prompt after which the search ends'),
})

type Options = z.output<typeof greaterSchema>
type State = {
  readonly ids: readonly number[]
  /** The position that comes next, where positions are taken in turn. */
  readonly position: number
  /** Prompts that were on a shortlist, by their ids. */
  readonly tried: readonly string[]
  readonly best: number | null
  readonly stale: number
  /** Of the prompt as it stands, [L, d]: known as long as it stays. */
  readonly gradient?: Float32Array
}

type Settings = Omit<Options, keyof Settled | 'preset'> & Settled

function settingsOf({ preset, ...options }: Options): Settings {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  return { ...presets[preset], ...(given as typeof options) } as Settings
}

/**
 * Gradient over reasoning: tokens that the model itself would put into the prompt, a shortlist of those by the gradient of the answer's
 * loss over the model's own reasoning, and exact scores of the shortlist with reasoning of its own.
 */
export const greater: SearchMethod<Options, State> = {
  type: 'greater',
  paper: 'Das et al. 2024, "GReaTer: Gradients over Reasoning Makes Smaller Language Models Strong Prompt Optimizers"',
  steps: 20,
  defaults: ({ preset }) => ({
    prompt: ' proper logical reasoning and think step by step. Finally give the actual correct answer.',
    vocabulary: 'words',
    fluency: presets[preset].fluency,
    measure: presets[preset].measure,
  }),
  objective: options => {
    const { temperature, scoredFluency } = settingsOf(options)
    return { temperature, scoredFluency }
  },

  start: (_, { space }) => Promise.resolve({ ids: space.start, position: 0, tried: [], best: null, stale: 0 }),

  async step(state, options, context) {
    const settings = settingsOf(options)
    const { space, random } = context
    const inTurn = settings.positions === 'left-to-right'
    const turns = turnsOf(state.ids, settings, space)
    const place = state.position % turns.length
    const positions = inTurn ? [turns[place]!] : space.freeOf(state.ids)
    const { pool, gradient } = await poolOf(state, positions, settings, context)
    const [current] = await context.score([{ ids: state.ids, swaps: [] }])
    const tried = new Set(inTurn ? [] : state.tried)
    const { chosen, left } =
      settings.shortlist === 'held-reasoning'
        ? await heldShortlist(pool, tried, state.ids, settings, context)
        : shortlistOf(pool, tried, settings, context)
    // Where nothing reads back, whoever watches over that hears of it.
    if (chosen.length === 0) await context.score(left.slice(0, settings.mu))
    const { finalists, eliminated } = await race(current!, chosen, settings.blocks, context)
    const candidates = finalists.length > 0 ? await context.score(finalists) : []
    const [best] = candidates
    const { step, steps } = context
    const policy = { step, steps, random: random(9) }
    const accepted = best && accepts(settings.acceptance, current!.loss, best.loss, policy) ? best : undefined
    const now = accepted ?? current!
    const isBetter = state.best === null || now.loss < state.best
    const stale = isBetter ? 0 : state.stale + 1
    return {
      state: {
        ids: now.ids,
        position: inTurn ? nextPlace(place, now.ids, settings, space) : 0,
        tried: inTurn ? [] : [...state.tried, ...chosen.map(({ ids }) => keyOf(ids))],
        best: isBetter ? now.loss : state.best,
        stale,
        ...(gradient !== undefined && accepted === undefined && !context.isBatched && { gradient }),
      },
      prompt: now.ids,
      objective: now.loss,
      candidates,
      eliminated,
      ...(accepted && { accepted }),
      done: settings.patience !== undefined && stale >= settings.patience,
      figures: { pool: pool.length, exactRows: now.exactRows },
    }
  },
}

/** Positions in turn: the free ones, and the one behind the last token, where a prompt grows. */
function turnsOf(ids: readonly number[], { maxLength }: Settings, space: TokenSpace): readonly number[] {
  const free = space.freeOf(ids)
  return space.canGrow && ids.length < maxLength ? [...free, ids.length] : free
}

/** The next turn's; after the end of a sentence in the last position the first. */
function nextPlace(place: number, ids: readonly number[], settings: Settings, space: TokenSpace): number {
  const ends = place >= space.freeOf(ids).length - 1 && endOf(settings).test(space.text([ids.at(-1)!]))
  return ends || place + 1 >= turnsOf(ids, settings, space).length ? 0 : place + 1
}

/** Proposed swaps with what the gradient says of each, and the gradient, unless it is that of a prompt made longer. */
async function poolOf(
  { ids, gradient: known }: State,
  positions: readonly number[],
  settings: Settings,
  context: SearchContext,
): Promise<{ readonly pool: Candidate[]; readonly gradient?: Float32Array }> {
  const { objective, embedding, rows } = context
  const { gradientQuestions = rows.length } = settings
  const judged = gradientQuestions < rows.length ? draw(rows, gradientQuestions, context.random(6)) : rows
  const proposed = await proposeTokens(ids, positions, draw(rows, settings.sampled, context.random(3)), settings, context)
  // A token that is to be appended needs a place in which there is a gradient: the likeliest one holds it.
  const grown = positions.some(position => position === ids.length)
  if (grown && proposed[0]!.length === 0) return { pool: [] }
  const base = grown ? [...ids, proposed[0]![0]!] : ids
  let gradient = grown ? undefined : known
  let scores: Float32Array | undefined
  if (settings.shortlist !== 'random') {
    const withReasoning = settings.shortlist !== 'gradient-without-reasoning'
    // The tokens that the model wrote under the prompt as it stands: an appended one has none of its own yet.
    const options = { withReasoning, ...(grown && { reasonedUnder: [ids] }) }
    gradient ??= (await objective.gradient([base], judged, options)).gradient
    const products = await embedding.project(rowsOf(gradient, positions, embedding.hiddenSize))
    scores = substitutionScores(products, base, positions, embedding.vocabSize)
  }
  const pool = positions.flatMap((position, j) =>
    proposed[j]!.filter(to => to !== ids[position]).map(to => {
      const score = scores?.[j * embedding.vocabSize + to]
      if (position < ids.length) return cut(substituted(ids, [{ position, to }], score), position, settings, context.space)
      return { ids: [...ids, to], swaps: [{ position, from: null, to }], ...(score !== undefined && { gradientScore: score }) }
    }),
  )
  return { pool, ...(gradient !== undefined && !grown && judged === rows && { gradient }) }
}

/** What ends a sentence: where a prompt is cut, also a clause. */
const endOf = ({ cuts }: Settings) => (cuts ? /[.?!:]/ : /\./)

/** A candidate without what stands behind its new token, if that ends a sentence and nothing behind it is frozen. */
function cut(candidate: Candidate, position: number, settings: Settings, space: TokenSpace): Candidate {
  const { ids, swaps } = candidate
  const behind = [...ids.keys()].slice(position + 1)
  const free = new Set(space.freeOf(ids))
  if (!settings.cuts || !endOf(settings).test(space.text([ids[position]!])) || !behind.every(place => free.has(place)))
    return candidate
  const dropped = behind.map(place => ({ position: place, from: ids[place]!, to: null }))
  return { ...candidate, ids: ids.slice(0, position + 1), swaps: [...swaps, ...dropped] }
}

/** What may be scored with fresh reasoning, and all that has not been tried. */
interface Shortlist {
  readonly chosen: Candidate[]
  readonly left: readonly Candidate[]
}

/**
 * Of some proposals, which the gradient and chance choose, those whose answers come out best behind the reasoning that the model wrote
 * under the prompt as it stands. This generates nothing, and agrees better with scores behind fresh reasoning than a gradient does.
 */
async function heldShortlist(
  pool: readonly Candidate[],
  tried: ReadonlySet<string>,
  ids: readonly number[],
  { mu, prefilter = PREFILTER }: Settings,
  context: SearchContext,
): Promise<Shortlist> {
  const { chosen: steep, left } = shortlistOf(pool, tried, { mu: Math.ceil(prefilter / 2), shortlist: 'gradient' }, context)
  const known = new Set([...tried, ...steep.map(candidate => keyOf(candidate.ids))])
  const drawn = shortlistOf(pool, known, { mu: prefilter - steep.length, shortlist: 'random' }, context).chosen
  const candidates = [...steep, ...drawn]
  if (candidates.length <= mu) return { chosen: candidates, left }
  const scores = await context.objective.scoreHeld(
    candidates.map(candidate => candidate.ids),
    draw(context.rows, HELD_QUESTIONS, context.random(8)),
    ids,
  )
  const order = [...candidates.keys()].sort((a, b) => scores[a]!.loss - scores[b]!.loss)
  return { chosen: order.slice(0, mu).map(i => candidates[i]!), left }
}

/** The best of a pool that have not been tried and read back, at most `mu`. */
function shortlistOf(
  pool: readonly Candidate[],
  tried: ReadonlySet<string>,
  { mu, shortlist }: Pick<Settings, 'mu' | 'shortlist'>,
  { readsBack, random }: SearchContext,
): Shortlist {
  const left = pool.filter(({ ids }) => !tried.has(keyOf(ids)))
  const order =
    shortlist === 'random' ? draw(left, left.length, random(4)) : [...left].sort((a, b) => a.gradientScore! - b.gradientScore!)
  const chosen: Candidate[] = []
  for (const candidate of order) {
    if (chosen.length === mu) break
    if (readsBack(candidate.ids)) chosen.push(candidate)
  }
  if (chosen.length === 0 && pool.length === 0)
    throw new GradpromptError('no-candidates', 'no token is proposed at any position', {
      found: 'proposals that the vocabulary leaves out, or the tokens that stand there already',
      expected: 'one token at least',
      hint: 'search.vocabulary: ascii is wider, and search.topk proposes more',
      exitCode: 1,
    })
  return { chosen, left }
}
