import { readFileSync } from 'node:fs'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { search } from '../../src/api/search.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { randomGenerator } from '../../src/random.js'
import { firstPolicy, Policy, pathConsistency, policyParts } from '../../src/search/moves/policy.js'
import type { SearchEvent, SearchStepEvent } from '../../src/search/run/events.js'
import { Budget } from '../../src/search/score/budget.js'
import { Objective } from '../../src/search/score/objective.js'
import { SearchPrograms } from '../../src/search/score/programs.js'
import { temporaryFolder, toyModel } from '../train/toy.js'
import { toySearch } from './toy.js'

const opened = LanguageModel.load(toyModel, { threads: 1 }).then(model => ({ model, programs: new SearchPrograms(model) }))
afterAll(async () => {
  const { model, programs } = await opened
  await programs.dispose()
  await model.dispose()
})
let folder: string
let remove: () => void
beforeEach(() => ({ folder, remove } = temporaryFolder()))
afterEach(() => remove())

interface Expected {
  readonly beginning: number
  readonly prompts: number[][]
  readonly rewards: number[]
  readonly allowed: number[]
  readonly policy: number[]
  readonly target: number[]
  readonly advantages: number[]
  readonly values: number[]
  readonly loss: number
  readonly gradient: number[]
}
const wanted = JSON.parse(readFileSync('test/fixtures/search/soft-q.json', 'utf8')) as Expected

describe('soft Q-learning', () => {
  test('loss and gradient of the policy are those of torch', async () => {
    const { model, programs } = await opened
    const { vocabSize } = model.config
    const objective = new Objective(model, programs, new Budget({}, () => 0), { free: [], fluency: 0 })
    const policy = new Policy(programs, Int32Array.from(wanted.allowed), model.config)
    const states = await objective.states(
      wanted.prompts.flatMap(ids => ids.map((_, i) => [wanted.beginning, ...ids.slice(0, i)])),
    )
    const actions = wanted.prompts.flat()
    const parameters = Float32Array.from(wanted.policy)
    const [own, ahead] = [await policy.logits(parameters, states), await policy.logits(Float32Array.from(wanted.target), states)]
    const advantages = actions.map((id, i) => own[i * vocabSize + id]! - policy.value(own, i))
    const values = actions.map((_, i) => policy.value(ahead, i))
    for (const [i, value] of wanted.values.entries()) {
      expect(values[i]).toBeCloseTo(value, 4)
      expect(advantages[i]).toBeCloseTo(wanted.advantages[i]!, 4)
    }
    const { loss, slopes } = pathConsistency(advantages, values, wanted.rewards)
    expect(loss).toBeCloseTo(wanted.loss, 3)
    const gradient = await policy.gradient(parameters, states, actions, slopes)
    const scale = Math.max(...wanted.gradient.map(Math.abs))
    for (const [i, value] of wanted.gradient.entries()) expect(gradient[i]! / scale).toBeCloseTo(value / scale, 4)
  })

  test('slopes are finite differences of the loss', () => {
    const { advantages, values, rewards } = wanted
    const { slopes } = pathConsistency(advantages, values, rewards)
    for (const i of advantages.keys()) {
      const at = (sign: number) =>
        pathConsistency(
          advantages.map((x, j) => (i === j ? x + sign * 1e-4 : x)),
          values,
          rewards,
        ).loss
      expect((at(1) - at(-1)) / 2e-4).toBeCloseTo(slopes[i]!, 5)
    }
  })
})

describe('a policy', () => {
  test('draws by probability among the likeliest of the allowed tokens', () => {
    const policy = new Policy({} as SearchPrograms, Int32Array.from([0, 2, 3]), { hiddenSize: 1, vocabSize: 4 })
    // Row 1: of tokens 0, 2 and 3 the last two are the likeliest, e to 1.
    const logits = Float32Array.from([0, 0, 0, 0, -1, 9, 1, 2])
    const random = randomGenerator(3)
    const drawn = Array.from({ length: 2000 }, () => policy.choose(logits, 1, 2, random))
    expect(new Set(drawn)).toEqual(new Set([2, 3]))
    expect(drawn.filter(id => id === 3).length / 2000).toBeCloseTo(Math.E / (1 + Math.E), 1)
    expect(policy.choose(logits, 1, 1)).toBe(3)
    expect(policy.value(logits, 1)).toBeCloseTo(Math.log(Math.exp(-1) + Math.E + Math.exp(2)), 5)
  })

  test('begins indifferent', () => {
    const parameters = firstPolicy(8, 24, randomGenerator(1))
    const parts = policyParts(parameters, 8)
    expect(parts.map(({ shape }) => shape)).toEqual([[8, 24], [24], [24, 8], [8]])
    const weights = [...parts[0]!.data, ...parts[2]!.data]
    expect(weights.reduce((sum, x) => sum + x * x, 0) / weights.length).toBeCloseTo((1e-8 * 2) / 32, 9)
    expect(new Set(parts[1]!.data)).toEqual(new Set([Math.fround(-1e-4)]))
  })

  test('learns: what it writes becomes better, and what it holds likeliest is among the best', async () => {
    const events: SearchEvent[] = []
    const options = { type: 'rlprompt', prompts: 16, topk: 8, hidden: 256, learningRate: 0.01, follow: 0.02, steps: 60 }
    await search(toySearch(folder, { search: options }), { onEvent: event => events.push(event) })
    const steps = events.filter((event): event is SearchStepEvent => event.event === 'step')
    const rewards = steps.map(({ figures }) => figures!.meanReward!)
    const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length
    expect(mean(rewards.slice(-10))).toBeGreaterThan(mean(rewards.slice(0, 10)) + 0.1)
    expect(steps.at(-1)!.objective).toBe(steps.at(-1)!.best.objective)
  })
})
