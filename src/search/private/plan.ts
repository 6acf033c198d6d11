import { GradpromptError } from '../../errors.js'
import { deltaOf, type Vote, voteCurve, votesEpsilon } from './account.js'
import { thresholdAbove } from './limited-domain.js'

/** How private votes are to be taken, decided before any of them from numbers alone: how many rows there are, and what was asked for. */

export interface VotingOptions {
  readonly epsilon: number
  readonly delta?: number | undefined
  readonly tokenEpsilon?: number | undefined
  readonly tokenDelta?: number | undefined
  readonly choiceEpsilon?: number | undefined
  readonly members?: number | undefined
  readonly demonstrations?: number | undefined
  readonly candidates: number
}

export interface VotingSizes {
  /** Rows that vote. */
  readonly rows: number
  /** Whether other rows choose among the prompts. */
  readonly hasHeldOut: boolean
  /** Votes that all prompts together may take. */
  readonly votes: number
  readonly vocabulary: number
}

export interface VotingPlan extends Vote {
  readonly members: number
  readonly demonstrations: number
  /** Votes that may be taken: what epsilon is of, however many are. */
  readonly most: number
  readonly epsilon: number
  readonly delta: number
  /** Of the rows that vote; where they also choose, with that. */
  readonly votesEpsilon: number
  readonly choiceEpsilon: number
  /** Votes that a token needs above the first that cannot win. */
  readonly needed: number
}

/** Eps0 of the paper: more is not taken unless it is asked for. */
const MOST_TOKEN_EPSILON = 1.8
/** The paper's ensemble, where its share of the rows is a tenth at most. */
const LARGE = { members: 205, demonstrations: 5 }
/** Of few rows each votes by itself: it then adds a vote and moves none, which is half the range. */
const SMALL = { members: 100, demonstrations: 1 }
/** Rows of which it is looked for how many would do. */
const MOST_ROWS = 1e9

/** Members and the rows of each, as they were asked for or as there are rows. */
export function ensembleOf({ members, demonstrations }: VotingOptions, rows: number) {
  const fitting = rows >= 10 * LARGE.members * LARGE.demonstrations ? LARGE : SMALL
  return { members: members ?? fitting.members, demonstrations: demonstrations ?? fitting.demonstrations }
}

/** What as many rows come to; undefined where no noise keeps within epsilon and delta. */
function planned(options: VotingOptions, sizes: VotingSizes): VotingPlan | undefined {
  const { rows, hasHeldOut, votes, vocabulary } = sizes
  const { members, demonstrations } = ensembleOf(options, rows)
  const rate = (members * demonstrations) / rows
  if (rate > 1) return undefined
  const delta = options.delta ?? 1 / rows
  const tokenDelta = options.tokenDelta ?? delta / (1 + rate * votes)
  const most = Math.min(votes, Math.floor((delta / tokenDelta - 1) / rate + 1e-9))
  if (most < 1) return undefined
  const moves = demonstrations > 1
  // A choice on the rows that vote is paid for with these; on other rows it has its own epsilon.
  const choiceEpsilon = options.choiceEpsilon ?? options.epsilon / (hasHeldOut ? 1 : 4)
  const choice = { rate: 1, tokenEpsilon: choiceEpsilon, tokenDelta: 0, moves: false }
  const more = hasHeldOut ? undefined : voteCurve(choice)
  const spent = (tokenEpsilon: number, count: number) =>
    votesEpsilon(voteCurve({ rate, tokenEpsilon, tokenDelta, moves }), count, tokenDelta, more)
  let tokenEpsilon = options.tokenEpsilon ?? MOST_TOKEN_EPSILON
  let count = most
  if (options.tokenEpsilon === undefined) {
    let [low, high] = [1e-3, tokenEpsilon]
    if (spent(low, most) > options.epsilon) return undefined
    if (spent(high, most) > options.epsilon) {
      while (high / low > 1.002) {
        const middle = Math.sqrt(low * high)
        if (spent(middle, most) <= options.epsilon) low = middle
        else high = middle
      }
      tokenEpsilon = low
    }
  } else {
    // As many votes as the noise that was asked for leaves room for.
    const curve = voteCurve({ rate, tokenEpsilon, tokenDelta, moves })
    const fits = (n: number) => votesEpsilon(curve, n, tokenDelta, more) <= options.epsilon
    let [low, high] = [0, most + 1]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (fits(middle)) low = middle
      else high = middle
    }
    count = low
    if (count < 1) return undefined
  }
  const own = spent(tokenEpsilon, count)
  // No row is among both parts, so none shows more than the larger.
  const epsilon = Math.max(own, hasHeldOut ? choiceEpsilon : 0)
  if (epsilon > options.epsilon) return undefined
  const needed = thresholdAbove({ size: vocabulary, candidates: options.candidates, tokenEpsilon, tokenDelta, moves })
  return {
    ...{
      rate,
      tokenEpsilon,
      tokenDelta,
      moves,
      members,
      demonstrations,
      most: count,
      epsilon,
      votesEpsilon: own,
      choiceEpsilon,
      needed,
    },
    delta: deltaOf({ rate, tokenDelta }, count),
  }
}

/** Whether a vote of all members can be expected to pass. */
const isReachable = ({ needed, members }: VotingPlan): boolean => needed < members

/**
 * @throws GradpromptError `privacy-unreachable` where no vote could pass, with how many rows would do
 */
export function votingPlan(options: VotingOptions, sizes: VotingSizes): VotingPlan {
  const plan = planned(options, sizes)
  if (plan !== undefined && isReachable(plan)) return plan
  const enough = rowsThatDo(options, sizes)
  const { members, demonstrations } = ensembleOf(options, sizes.rows)
  const shown = members * demonstrations
  throw new GradpromptError('privacy-unreachable', 'no token could win a vote within this epsilon and delta', {
    found:
      shown > sizes.rows
        ? `${sizes.rows} rows, and ${members} members with ${demonstrations} each`
        : plan === undefined
          ? `${sizes.votes} votes of ${sizes.rows} rows at epsilon ${options.epsilon}`
          : `${plan.members} members, where a token needs ${plan.needed.toFixed(1)} votes more than the ${options.candidates + 1}th`,
    expected:
      enough === undefined
        ? 'another epsilon, delta or ensemble: no number of rows would do'
        : `about ${enough} rows, with the same ensemble and as many votes`,
    hint: 'fewer or shorter prompts take fewer votes (search.steps, search.maxWrittenTokens); a larger search.epsilon or search.delta needs fewer votes for a token',
  })
}

/** The rows from which on votes can pass, to a tenth; undefined where that many are not to be had. */
export function rowsThatDo(options: VotingOptions, sizes: VotingSizes): number | undefined {
  const ensemble = { ...options, ...ensembleOf(options, sizes.rows) }
  const does = (rows: number) => {
    const plan = planned(ensemble, { ...sizes, rows })
    return plan !== undefined && isReachable(plan)
  }
  let high = Math.max(sizes.rows, ensemble.members * ensemble.demonstrations)
  while (!does(high)) {
    high *= 2
    if (high > MOST_ROWS) return undefined
  }
  let low = high / 2
  while (high / low > 1.1) {
    const middle = Math.ceil(Math.sqrt(low * high))
    if (does(middle)) high = middle
    else low = middle
  }
  return high
}
