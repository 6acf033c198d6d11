import { z } from 'zod'
import { mean } from '../../numbers.js'
import type { SearchContext, SearchMethod } from '../moves/method.js'
import { drawFrom, entropyOf, policyGradient, softmaxes } from '../score/distributions.js'
import { adamStep } from '../score/relaxation.js'
import { distinct, lowest, substituted } from '../space/candidates.js'
import { textTokens } from '../space/text-tokens.js'

export const categoricalSchema = z.strictObject({
  type: z.literal('categorical'),
  choices: z
    .enum(['model', 'texts', 'all'])
    .default('model')
    .describe(
      'tokens that a distribution is over: those that the model itself would go on with, those that belong together in the questions’ texts, or the whole vocabulary',
    ),
  perPosition: z.int().min(2).default(100).describe('tokens that a distribution is over, at most; not of the whole vocabulary'),
  samples: z.int().min(2).default(20).describe('prompts that are drawn in a step'),
  learningRate: z.number().positive().default(0.1).describe('of Adam, on the logits of the distributions'),
})

type Options = z.output<typeof categoricalSchema>
type State = {
  /** What each free position chooses from, position after position. */
  readonly tokens: readonly (readonly number[])[]
  /** Of all positions, one after the other. */
  readonly logits: Float32Array
  readonly first: Float32Array
  readonly second: Float32Array
  readonly updates: number
}

/**
 * An independent distribution over tokens at every free position, learned from the losses of prompts that are drawn from them: a policy
 * gradient whose baseline for each prompt is the mean loss of the others. No gradient goes through the model. The distributions are
 * softmaxes, where BDPL moves probabilities and projects them back. With `pseudoLabels` no label of a question is read.
 */
export const categorical: SearchMethod<Options, State> = {
  type: 'categorical',
  paper:
    'Diao et al. 2023, "Black-Box Prompt Learning for Pre-trained Language Models" (BDPL); Zhang et al. 2024, arXiv 2410.03124',
  steps: 300,

  async start(options, context) {
    const tokens = await candidatesOf(options, context)
    const zeros = () => new Float32Array(tokens.reduce((sum, { length }) => sum + length, 0))
    return { tokens, logits: zeros(), first: zeros(), second: zeros(), updates: 0 }
  },

  async step(state, { samples, learningRate }, context) {
    const { space } = context
    const shares = softmaxes(
      state.logits,
      state.tokens.map(({ length }) => length),
    )
    const random = context.random()
    const drawn = Array.from({ length: samples }, () => shares.map(own => drawFrom(own, random)))
    const modes = shares.map(own => own.indexOf(Math.max(...own)))
    const swapsOf = (choice: readonly number[]) =>
      space.free
        .map((position, j) => ({ position, to: state.tokens[j]![choice[j]!]! }))
        .filter(({ position, to }) => space.start[position] !== to)
    const candidates = drawn.map(choice => substituted(space.start, swapsOf(choice)))
    const mode = context.settled(space.start, swapsOf(modes))
    const scored = await context.score(distinct([mode, ...candidates], []))
    const losses = new Map(scored.map(({ ids, loss }) => [ids.join(), loss]))
    const known = drawn.flatMap((choice, i) => {
      const loss = losses.get(candidates[i]!.ids.join())
      return loss === undefined ? [] : [{ choice, loss }]
    })
    const likeliest = scored.find(({ ids }) => ids.join() === mode.ids.join())
    const gradient = policyGradient(shares, known)
    const next = adamStep({ ...state, vectors: state.logits }, gradient, {
      learningRate,
      weightDecay: 0,
      beta1: 0.9,
      beta2: 0.999,
    })
    return {
      state: { tokens: state.tokens, logits: next.values, first: next.first, second: next.second, updates: next.updates },
      prompt: mode.ids,
      objective: likeliest?.loss ?? scored[0]?.loss ?? Number.POSITIVE_INFINITY,
      candidates: scored,
      ...(likeliest && { accepted: likeliest }),
      figures: {
        entropy: mean(shares.map(entropyOf)),
        ...(known.length > 0 && { meanLoss: mean(known.map(({ loss }) => loss)) }),
      },
    }
  },
}

/** What each position may choose from; its token in the first prompt is always among it. */
async function candidatesOf({ choices, perPosition }: Options, context: SearchContext): Promise<number[][]> {
  const { space, objective, allowed, rows, embedding } = context
  const withStart = (ids: readonly number[], position: number) => [...new Set([...ids, space.start[position]!])]
  if (choices === 'all') return space.free.map(position => withStart([...allowed], position))
  if (choices === 'texts') {
    const usable = new Set(allowed)
    const ids = textTokens(rows).filter(id => usable.has(id))
    return space.free.map(position => withStart(ids.slice(0, perPosition), position))
  }
  const likely = await objective.proposals(space.start, rows, space.free)
  return space.free.map((position, j) => {
    const costs = likely.subarray(j * embedding.vocabSize, (j + 1) * embedding.vocabSize).map(x => -x)
    return withStart(lowest(costs, allowed, perPosition), position)
  })
}
