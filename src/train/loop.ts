import { setImmediate } from 'node:timers/promises'
import type { TrainingRow } from '../data/rows/rows.js'
import { GradpromptError, refuseAborted } from '../errors.js'
import type { Evaluation } from '../evaluate/score.js'
import type { LossTerm } from '../losses/loss.js'
import type { ActivePrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { initialLossScale, type LossScaleState } from '../model/loss-scale.js'
import type { PromptGradient } from '../model/prompt-gradient.js'
import type { PromptParameter } from '../prompts/method.js'
import type { Checkpoint, NamedTensor } from '../store/checkpoints.js'
import { type Average, type AverageState, createAverage } from './average.js'
import type { Config } from './config.js'
import { createEarlyStopping, type EarlyStoppingState } from './early-stopping.js'
import type { GradpromptEvent, Sample } from './events.js'
import { scheduleFactor } from './schedule.js'
import { clipByGlobalNorm, createOptimizer, type Optimizer, type OptimizerOptions } from './steps/optimizers.js'

/** A dev evaluation with the step it was made after. */
export interface DevScore extends Evaluation {
  readonly step: number
}

/** Everything that changes while a prompt is learned: what a checkpoint holds. */
export interface LearningState {
  /** Optimiser steps done. */
  step: number
  readonly parameters: Map<string, Float32Array>
  readonly optimizer: Optimizer
  /** With `train.average`: what the prompt is, while `parameters` are what steps change. */
  readonly average: Average | undefined
  best: DevScore | null
  last: DevScore | null
  stopping: EarlyStoppingState | undefined
  /** Before the next step, where gradients are computed in `fp16`. */
  lossScale?: LossScaleState | undefined
  /** Early stopping has ended the run. */
  stopped: boolean
  seconds: number
}

export interface LearningOptions {
  readonly model: LanguageModel
  readonly prompt: ActivePrompt
  readonly shapes: readonly PromptParameter[]
  readonly train: Config['train']
  /** All steps of the run. */
  readonly steps: number
  /** Rows of a step, counted from 0. */
  readonly batch: (step: number) => readonly TrainingRow[]
  /** How many rows in turn belong together, where a record makes several. */
  readonly groups?: number | undefined
  /** Further rows of a step: parameters that are learned on held-out rows take their gradients from these. */
  readonly heldOutBatch?: ((step: number) => readonly TrainingRow[]) | undefined
  /** What the layers below the method make of a step's rows, where that is kept. */
  readonly frozen?: ((step: number) => Promise<Float32Array[]>) | undefined
  /** What is minimised over a step's rows. */
  readonly losses: (rows: readonly TrainingRow[]) => Promise<readonly LossTerm[]>
  /** How a step's loss and gradient are computed, where that is not of its rows as one batch. */
  readonly gradient?: ((step: number) => Promise<Omit<PromptGradient, 'rows'>>) | undefined
  /** Gradients of what is learned beside the prompt on a step's rows. */
  readonly beside?: ((step: number) => Promise<ReadonlyMap<string, Float32Array>>) | undefined
  /** Scores the prompt as it stands on the dev rows, where there are some. */
  readonly evaluate: (() => Promise<Evaluation>) | undefined
  /** Answers a few dev rows with the prompt as it stands, where that is to be looked at. */
  readonly sample?: (() => Promise<readonly Sample[]>) | undefined
  readonly writeCheckpoint: (checkpoint: Checkpoint) => Promise<void>
  readonly emit: (event: GradpromptEvent) => void
  /** Seconds since the run began, over all the times it was resumed. */
  readonly elapsed: () => number
  readonly signal: AbortSignal | undefined
}

/** What a device fails with in the middle of a run. */
const lost = new Set(['run-failed', 'memory-exhausted', 'device-unavailable'])
const secondsBetweenCheckpoints = 30
const leastStepsBetweenEvaluations = 20
const evaluationsPerRun = 5
const pacedSteps = 10

/**
 * Runs optimiser steps until `steps` are done or early stopping ends them, and leaves a checkpoint of the last.
 *
 * A checkpoint is written of a state whose loss is known to be finite, and stays when a later loss is not.
 * @throws GradpromptError `loss-not-finite`, `aborted`: the run can go on from its last checkpoint
 */
export async function learn(state: LearningState, options: LearningOptions): Promise<void> {
  const { model, prompt, train, steps, emit, elapsed, signal } = options
  const every = train.evaluateEvery ?? Math.max(leastStepsBetweenEvaluations, Math.ceil(steps / evaluationsPerRun))
  const pace = createPace()
  let saved = state.step
  let savedAt = performance.now()
  let sound: Checkpoint | undefined

  const save = async (checkpoint: Checkpoint | undefined) => {
    if (checkpoint === undefined || checkpoint.step <= saved) return
    await options.writeCheckpoint(checkpoint)
    saved = checkpoint.step
    savedAt = performance.now()
    emit({ event: 'checkpoint', step: saved })
  }
  const current = () => {
    state.seconds = elapsed()
    return checkpointOf(state, options.shapes)
  }

  const { groups } = options
  const groupsOf = (batch: readonly TrainingRow[]) =>
    groups === undefined ? undefined : Array.from({ length: batch.length / groups }, () => groups)

  /** What was saved before is further from the trouble; only when there is nothing is the brink itself worth keeping. */
  const outOfRange = async (step: number, loss: number, learningRate: number): Promise<never> => {
    if (saved === 0) await save(sound)
    throw lossNotFinite(step, loss, learningRate, train.learningRate)
  }

  // The model may have served another run before.
  model.lossScale?.restore(state.lossScale ?? initialLossScale)

  while (state.step < steps && !state.stopped) {
    state.lossScale = model.lossScale?.state
    // Lets a signal arrive between two native calls.
    await setImmediate()
    if (signal?.aborted) await save(current())
    refuseAborted(signal)

    const stepStarted = performance.now()
    const rows = options.batch(state.step)
    const learningRate =
      train.learningRate * scheduleFactor({ schedule: train.schedule, warmup: train.warmup, steps }, state.step)
    const gradientOf = async (batch: readonly TrainingRow[], frozen?: readonly Float32Array[]) =>
      model.promptGradient(prompt, batch, {
        losses: await options.losses(batch),
        groups: groupsOf(batch),
        frozen,
        recompute: train.recompute,
      })
    const ofStep = async () => options.gradient?.(state.step) ?? gradientOf(rows, await options.frozen?.(state.step))
    const { loss, figures, gradients } = await ofStep().catch(async (error: unknown) => {
      // A device that is lost takes nothing with it: the step is done again where the run goes on.
      if (error instanceof GradpromptError && lost.has(error.code)) await save(current())
      throw error
    })
    if (options.heldOutBatch !== undefined) {
      const heldOut = await gradientOf(options.heldOutBatch(state.step))
      for (const { name } of options.shapes.filter(shape => shape.heldOut)) gradients.set(name, heldOut.gradients.get(name)!)
    }
    for (const [name, gradient] of (await options.beside?.(state.step)) ?? []) gradients.set(name, gradient)
    const gradientNorm = clipByGlobalNorm(gradients, train.maxGradientNorm ?? Number.POSITIVE_INFINITY)
    if (!Number.isFinite(loss) || !Number.isFinite(gradientNorm)) await outOfRange(state.step + 1, loss, learningRate)
    sound = current()
    const due =
      train.checkpointEvery === undefined
        ? performance.now() - savedAt > secondsBetweenCheckpoints * 1000
        : state.step % train.checkpointEvery === 0
    if (due) await save(sound)

    state.optimizer.step(state.parameters, gradients, learningRate)
    prompt.method.constrain?.(prompt.config, state.parameters, model.config)
    const finite = [...state.parameters.values()].every(values => values.every(Number.isFinite))
    if (!finite) await outOfRange(state.step + 1, loss, learningRate)
    state.step++
    state.lossScale = model.lossScale?.state
    state.average?.add(state.step, state.parameters)
    emit({
      event: 'step',
      step: state.step,
      loss,
      ...figures,
      ...(state.lossScale && { lossScale: state.lossScale.scale }),
      learningRate,
      gradientNorm,
      tokens: rows.reduce((sum, { ids }) => sum + ids.length, 0),
      rowsPerSecond: pace(rows.length, performance.now() - stepStarted),
      seconds: elapsed(),
    })
    if (options.evaluate === undefined || !(state.step % every === 0 || state.step >= steps)) continue
    const improved = await evaluateDev(state, options).catch(async (error: unknown) => {
      if (error instanceof GradpromptError && error.code === 'not-finite') return outOfRange(state.step, loss, learningRate)
      // The step has no score yet: a resumed run has to do it again.
      await save(sound)
      throw error
    })
    if (improved) await save(current())
  }
  // A prompt that stays as it starts is scored once.
  if (steps === 0 && state.last === null && options.evaluate !== undefined) await evaluateDev(state, options)
  await save(current())
}

/** @returns whether it is the best so far */
async function evaluateDev(state: LearningState, options: LearningOptions): Promise<boolean> {
  const { train, emit, elapsed } = options
  const { step } = state
  const evaluation = await options.evaluate!()
  const { metrics } = evaluation
  // Of pairs a loss moves the rewards; which answer is the likelier also hangs on how long each is.
  const wanted = train.earlyStopping?.metric ?? (metrics.rewardAccuracy === undefined ? 'accuracy' : 'rewardAccuracy')
  // Free-text answers have a likelihood alone.
  const metric = metrics[wanted] === undefined ? 'logLikelihood' : wanted
  const better = (name: string) => metrics[name]!.value - (state.best?.metrics[name]?.value ?? Number.NEGATIVE_INFINITY)
  const improved = better(metric) > 0 || (better(metric) === 0 && better('logLikelihood') > 0)
  state.last = { step, ...evaluation }
  if (improved) state.best = state.last
  if (train.earlyStopping !== undefined) {
    const { patience, minDelta } = train.earlyStopping
    const stopping = createEarlyStopping({ metric, patience, minDelta }, state.stopping)
    state.stopped = stopping.update(step, metrics[metric]!.value).stop
    state.stopping = stopping.state
  }
  emit({ event: 'dev', step, metrics, best: improved, rows: evaluation.rows, seconds: elapsed() })
  const samples = (await options.sample?.()) ?? []
  if (samples.length > 0) emit({ event: 'samples', step, samples })
  return improved
}

/** A state as a checkpoint; the tensors are copies. */
function checkpointOf(state: LearningState, shapes: readonly PromptParameter[]): Checkpoint {
  const { step, average, best, last, stopping, lossScale, stopped, seconds } = state
  return {
    step,
    tensors: [
      ...shapes.map(({ name, shape }) => ({ name: `parameter:${name}`, shape, data: state.parameters.get(name)!.slice() })),
      ...(average
        ? shapes.map(({ name, shape }) => ({ name: `average:${name}`, shape, data: average.parameters.get(name)!.slice() }))
        : []),
      ...state.optimizer.state().map(tensor => ({ ...tensor, name: `optimizer:${tensor.name}` })),
    ],
    state: {
      ...{ best, last, stopping: stopping ?? null, stopped, seconds },
      ...(average && { average: average.state() }),
      ...(lossScale && { lossScale }),
    },
    ...(best !== null && { bestStep: best.step }),
  }
}

/** The prompt as it stands: what is scored and kept. */
export const learnedParameters = ({ average, parameters }: LearningState): ReadonlyMap<string, Float32Array> =>
  average?.parameters ?? parameters

/** A prompt before its first step of so many. */
export function startLearning(
  parameters: Map<string, Float32Array>,
  shapes: readonly PromptParameter[],
  train: Config['train'],
  steps: number,
): LearningState {
  const { optimizer: type, beta1, beta2, epsilon, weightDecay } = train
  const options = {
    adamw: { type, beta1, beta2, epsilon, weightDecay },
    sgd: { type, weightDecay },
    adafactor: { type, beta1, epsilon, weightDecay },
  }[type] as OptimizerOptions
  const optimizer = createOptimizer(
    options,
    shapes
      .filter(({ frozen }) => !frozen)
      .map(({ name, shape, learningRate }) => ({
        name,
        shape,
        learningRateFactor: (learningRate ?? train.learningRate) / train.learningRate,
      })),
  )
  const average = train.average && createAverage(parameters, train.average, steps)
  return { step: 0, parameters, optimizer, average, best: null, last: null, stopping: undefined, stopped: false, seconds: 0 }
}

/**
 * Brings a state to where a checkpoint was written.
 * @throws GradpromptError `checkpoint-mismatch` when it holds other tensors, as after an edit of the config
 */
export function restoreLearning(state: LearningState, shapes: readonly PromptParameter[], checkpoint: Checkpoint): void {
  const held = (kind: string) =>
    checkpoint.tensors
      .filter(({ name }) => name.startsWith(kind))
      .map(tensor => ({ ...tensor, name: tensor.name.slice(kind.length) }))
  for (const [name, data] of parametersOf(checkpoint, shapes)) state.parameters.get(name)!.set(data)
  try {
    state.optimizer.restore(held('optimizer:'), checkpoint.step)
  } catch (cause) {
    throw checkpointMismatch(checkpoint, cause instanceof Error ? cause.message : String(cause))
  }
  const { average, lossScale, best, last, stopping, stopped, seconds } = checkpoint.state as {
    average?: AverageState
    lossScale?: LossScaleState
    best: DevScore | null
    last: DevScore | null
    stopping: EarlyStoppingState | null
    stopped: boolean
    seconds: number
  }
  if (average !== undefined) state.average?.restore(average, held('average:'))
  Object.assign(state, { step: checkpoint.step, best, last, stopping: stopping ?? undefined, lossScale, stopped, seconds })
}

/**
 * @param kind what steps change, or their average
 * @throws GradpromptError `checkpoint-mismatch`
 */
export function parametersOf(
  checkpoint: Checkpoint,
  shapes: readonly PromptParameter[],
  kind: 'parameter' | 'average' = 'parameter',
): Map<string, Float32Array> {
  const tensors = new Map<string, NamedTensor>(checkpoint.tensors.map(tensor => [tensor.name, tensor]))
  return new Map(
    shapes.map(({ name, shape }) => {
      const tensor = tensors.get(`${kind}:${name}`)
      if (tensor?.shape.join() !== shape.join())
        throw checkpointMismatch(checkpoint, `${name} is [${tensor?.shape ?? 'missing'}], not [${shape}]`)
      return [name, tensor.data]
    }),
  )
}

const checkpointMismatch = ({ step }: Checkpoint, found: string) =>
  new GradpromptError('checkpoint-mismatch', `the checkpoint of step ${step} does not belong to this config`, {
    found,
    expected: 'the model, method and optimiser that the run began with',
    hint: 'undo the edit of config.yaml, or begin a new run',
  })

const lossNotFinite = (step: number, loss: number, learningRate: number, peak: number) =>
  new GradpromptError('loss-not-finite', `the numbers ran out of range in step ${step}`, {
    found: `loss ${loss} at learning rate ${Number(learningRate.toPrecision(6))}`,
    expected: 'finite numbers',
    hint: `lower train.learningRate (it is ${peak}); the last good checkpoint stays: with another rate in the run's config.yaml, resume goes on from it`,
  })

/** Rows per second over the last steps. */
function createPace(): (rows: number, milliseconds: number) => number {
  const recent: { rows: number; milliseconds: number }[] = []
  return (rows, milliseconds) => {
    recent.push({ rows, milliseconds })
    if (recent.length > pacedSteps) recent.shift()
    const sum = (key: 'rows' | 'milliseconds') => recent.reduce((total, step) => total + step[key], 0)
    return (1000 * sum('rows')) / Math.max(sum('milliseconds'), 1e-3)
  }
}
