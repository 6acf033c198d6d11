import { cosine } from '../../numbers.js'
import type { PromptParameter } from '../../prompts/method.js'
import { clipByGlobalNorm, createOptimizer } from '../steps/optimizers.js'
import { agreeing, type Gradients } from './filters.js'
import type { MetaOptions } from './options.js'
import { type Regulated, type RegulatorWeights, regulate, regulatorGradient } from './regulator.js'
import type { DrawnTask } from './tasks.js'

/**
 * The step of a run that learns a start (Reptile, Nichol et al. 2018, arXiv 1803.02999; first-order MAML, Finn et al. 2017, arXiv 1703.03400):
 * the prompt is adapted to a task, or to several of them apart, and what comes of it is given to the run's optimiser as a gradient. With
 * `reptile` that is P - P_adapted, so that plain gradient descent of rate 0.1 is the paper's P + 0.1 (P_adapted - P); with `maml` the gradient
 * of further rows at P_adapted. No second derivative is taken.
 */

export interface MetaModel {
  /** Loss and gradient of rows under other values of what is learned. */
  gradient(
    parameters: ReadonlyMap<string, Float32Array>,
    places: readonly number[],
  ): Promise<{ readonly loss: number; readonly gradients: Map<string, Float32Array> }>
  /** With `regulated`: the mean hidden state of rows' texts, [d]. */
  state?(places: readonly number[]): Promise<Float64Array>
  /** Brings parameters back, in place, to where they may be. */
  constrain?(parameters: ReadonlyMap<string, Float32Array>): void
}

export interface MetaStep {
  readonly options: MetaOptions
  /** What is learned of the prompt. */
  readonly shapes: readonly PromptParameter[]
  readonly model: MetaModel
  /** Inner gradients are scaled down to this norm. */
  readonly maxGradientNorm: number
  /** With `regulated`: as the run has learned them so far. */
  readonly regulator?: RegulatorWeights | undefined
}

export interface MetaGradient {
  /** Mean loss of the tasks' first rows, before the prompt is adapted. */
  readonly loss: number
  /** `adaptedLoss`: that of the last rows that it is adapted on; with a filter what that has found. */
  readonly figures: Readonly<Record<string, number>>
  readonly gradients: Map<string, Float32Array>
}

/** @param parameters as the step finds them; they stay as they are */
export async function metaGradient(
  parameters: ReadonlyMap<string, Float32Array>,
  tasks: readonly DrawnTask[],
  step: MetaStep,
): Promise<MetaGradient> {
  const sums = new Map<string, Float32Array>()
  const figures: Record<string, number> = {}
  let loss = 0
  for (const task of tasks) {
    const adapted = await adaptedTo(parameters, task, step)
    loss += adapted.loss / tasks.length
    for (const [name, figure] of Object.entries(adapted.figures)) figures[name] = (figures[name] ?? 0) + figure / tasks.length
    for (const [name, values] of adapted.gradients) {
      const sum = sums.get(name) ?? new Float32Array(values.length)
      for (let i = 0; i < sum.length; i++) sum[i]! += values[i]! / tasks.length
      sums.set(name, sum)
    }
  }
  return { loss, figures, gradients: sums }
}

async function adaptedTo(start: ReadonlyMap<string, Float32Array>, task: DrawnTask, step: MetaStep): Promise<MetaGradient> {
  const { options, shapes, model, maxGradientNorm, regulator } = step
  const { steps, learningRate, optimizer: type } = options.inner
  const names = shapes.filter(({ frozen }) => !frozen).map(({ name }) => name)
  const parameters = new Map([...start].map(([name, values]) => [name, names.includes(name) ? values.slice() : values]))
  const optimizer = createOptimizer({ type }, shapes.filter(({ frozen }) => !frozen)) // biome-ignore format: a call
  const regulated: Regulated[][] = []
  let [first, last, agreement] = [0, 0, 0]
  for (let i = 0; i < steps; i++) {
    const { loss, gradients } = await model.gradient(parameters, task.support[i]!)
    if (i === 0) first = loss
    last = loss
    clipByGlobalNorm(gradients, maxGradientNorm)
    let followed: Gradients = gradients
    if (options.filter === 'agreement') {
      const other = await model.gradient(parameters, task.others[i]!)
      const found = agreeing(gradients, other.gradients)
      followed = found.gradients
      agreement += found.cosine / steps
    }
    if (regulator !== undefined) {
      const state = await model.state!(task.support[i]!)
      const own = names.map(name => regulate(regulator, gradients.get(name)!, state))
      regulated.push(own)
      followed = new Map(names.map((name, k) => [name, own[k]!.gradient]))
    }
    optimizer.step(parameters, followed, learningRate)
    model.constrain?.(parameters)
  }
  const figures = { adaptedLoss: last, ...(options.filter === 'agreement' && { agreement }) }
  if (options.update === 'reptile') {
    const moved = names.map((name): [string, Float32Array] => {
      const adapted = parameters.get(name)!
      return [name, start.get(name)!.map((x, i) => x - adapted[i]!)]
    })
    return { loss: first, figures, gradients: new Map(moved) }
  }
  const { gradients } = await model.gradient(parameters, task.query)
  if (regulator === undefined) return { loss: first, figures, gradients }
  const learned = await ofRegulator(regulator, { parameters, gradients, regulated, names, task, step })
  return { loss: first, figures: { ...figures, ...learned.figures }, gradients: new Map([...gradients, ...learned.gradients]) }
}

/**
 * What the regulator learns of a task: to first order each inner step has moved the prompt by -rate g', so that the loss behind the steps,
 * of the task's further rows and of another task's in equal parts, changes with g' by -rate times its gradient there.
 */
async function ofRegulator(
  regulator: RegulatorWeights,
  {
    parameters,
    gradients,
    regulated,
    names,
    task,
    step: { options, model },
  }: {
    readonly parameters: ReadonlyMap<string, Float32Array>
    readonly gradients: Gradients
    readonly regulated: readonly (readonly Regulated[])[]
    readonly names: readonly string[]
    readonly task: DrawnTask
    readonly step: MetaStep
  },
): Promise<Pick<MetaGradient, 'figures' | 'gradients'>> {
  const foreign = task.others.at(-1)!
  const other = (await model.gradient(parameters, foreign)).gradients
  const between = agreeing(gradients, other).cosine
  const alike = cosine(await model.state!(task.query), await model.state!(foreign))
  const agreement = 0.5 * half(alike) + 0.5 * half(between)
  const sums = new Map([...regulator].map(([name, values]) => [name, new Float32Array(values.length)]))
  const count = regulated.length * names.length
  let gate = 0
  for (const steps of regulated)
    for (const [k, name] of names.entries()) {
      const [own, foreignOwn] = [gradients.get(name)!, other.get(name)!]
      const slope = own.map((x, i) => -options.inner.learningRate * 0.5 * (x + foreignOwn[i]!))
      gate += steps[k]!.gate / count
      for (const [weight, values] of regulatorGradient(regulator, steps[k]!, slope, agreement)) {
        const sum = sums.get(weight)!
        for (let i = 0; i < sum.length; i++) sum[i]! += values[i]! / count
      }
    }
  return { figures: { agreement: between, gate }, gradients: sums }
}

/** A cosine as a number from 0 to 1. */
const half = (cosine: number) => (1 + cosine) / 2
