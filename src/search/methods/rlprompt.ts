import { z } from 'zod'
import type { SearchMethod } from '../moves/method.js'
import { firstPolicy, Policy, pathConsistency, rollOut } from '../moves/policy.js'
import { labelGap } from '../score/measure.js'
import { adamStep } from '../score/relaxation.js'
import { type Candidate, distinct, substituted } from '../space/candidates.js'

export const rlpromptSchema = z.strictObject({
  type: z.literal('rlprompt'),
  prompts: z.int().min(2).default(16).describe('prompts that the policy writes in a step'),
  topk: z.int().min(1).default(256).describe('tokens that the policy draws from: the likeliest'),
  hidden: z.int().min(1).default(2048).describe("units of the policy's network"),
  learningRate: z.number().positive().default(5e-5).describe('of Adam, on the network'),
  clip: z.number().positive().default(5).describe("norm that the policy's gradient is cut to"),
  follow: z
    .number()
    .positive()
    .max(1)
    .default(0.001)
    .describe('share of the way to the policy that its target network goes in a step'),
  normalise: z
    .boolean()
    .default(true)
    .describe("rewards of a step are their z-scores, so that one step's questions are like another's"),
  rewardScale: z.number().positive().default(5).describe('what the rewards of prompts are multiplied by'),
})

type State = {
  readonly policy: Float32Array
  readonly target: Float32Array
  readonly first: Float32Array
  readonly second: Float32Array
  readonly updates: number
}

/** Beside a deviation of rewards, so that equal ones divide by something. */
const SMALL = 1e-4

/**
 * A policy writes prompts token by token and learns by soft Q-learning from what they score. It is a small network between the model's
 * own last hidden state and its head; the model stays frozen, and no gradient goes through the scores. The step's prompt is the one
 * that the policy holds likeliest.
 */
export const rlprompt: SearchMethod<z.output<typeof rlpromptSchema>, State> = {
  type: 'rlprompt',
  paper: 'Deng et al. 2022, "RLPrompt: Optimizing Discrete Text Prompts with Reinforcement Learning"',
  steps: 12_000,
  defaults: options => ({ prompt: ' x x x x x', measure: labelGap(options) }),

  start({ hidden }, { embedding, random }) {
    const policy = firstPolicy(embedding.hiddenSize, hidden, random())
    const zeros = () => new Float32Array(policy.length)
    return Promise.resolve({ policy, target: policy.slice(), first: zeros(), second: zeros(), updates: 0 })
  },

  async step(state, options, context) {
    const { space, embedding, allowed } = context
    const policy = new Policy(context.programs, allowed, embedding)
    const target = state.target.map((value, i) => value + options.follow * (state.policy[i]! - value))
    const written = await rollOut(policy, state.policy, context, options)
    const candidateOf = (ids: readonly number[]): Candidate =>
      substituted(
        space.start,
        space.free.flatMap(position => (ids[position] === space.start[position] ? [] : [{ position, to: ids[position]! }])),
      )
    const scored = await context.score(distinct([...written.prompts, written.greedy].map(candidateOf), []))
    const losses = new Map(scored.map(({ ids, loss }) => [ids.join(), loss]))
    const known = written.prompts.flatMap(ids => losses.get(ids.join()) ?? [])
    const greedy = scored.find(({ ids }) => ids.join() === written.greedy.join())
    const outcome = {
      prompt: written.greedy,
      objective: greedy?.loss ?? scored[0]?.loss ?? Number.POSITIVE_INFINITY,
      candidates: scored,
      ...(greedy && { accepted: greedy }),
    }
    if (known.length === 0) return { ...outcome, state: { ...state, target } }
    // A prompt that is not scored, since it does not read back, is worth as little as the worst one.
    const worst = Math.max(...known)
    const rewards = shaped(
      written.prompts.map(ids => -(losses.get(ids.join()) ?? worst)),
      options,
    )
    const ahead = await policy.logits(target, written.states)
    const values = written.actions.map((_, i) => policy.value(ahead, i))
    const { loss, slopes } = pathConsistency(written.logProbabilities, values, rewards)
    const gradient = await policy.gradient(state.policy, written.states, written.actions, slopes)
    const norm = Math.sqrt(gradient.reduce((sum, x) => sum + x * x, 0))
    const cut = Math.min(1, options.clip / (norm + 1e-6))
    const next = adamStep(
      { ...state, vectors: state.policy },
      gradient.map(x => x * cut),
      {
        ...{ learningRate: options.learningRate, weightDecay: 0, beta1: 0.9, beta2: 0.999 },
      },
    )
    return {
      ...outcome,
      state: { policy: next.values, target, first: next.first, second: next.second, updates: next.updates },
      figures: { policyLoss: loss, meanReward: -known.reduce((sum, x) => sum + x, 0) / known.length },
    }
  },
}

/** Rewards as they are learned from. */
function shaped(rewards: readonly number[], { normalise, rewardScale }: { normalise: boolean; rewardScale: number }): number[] {
  if (!normalise) return rewards.map(reward => reward * rewardScale)
  const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length
  const deviation = Math.sqrt(rewards.reduce((sum, reward) => sum + (reward - mean) ** 2, 0) / rewards.length)
  return rewards.map(reward => ((reward - mean) / (deviation + SMALL)) * rewardScale)
}
