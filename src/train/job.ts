import { join } from 'node:path'
import { answerPairs } from '../data/answer-pairs.js'
import { cutNotices } from '../data/checks.js'
import type { DataNotice } from '../data/readers/reader.js'
import type { DataRecord } from '../data/readers/records.js'
import type { RowBuilder, ScoringRow, TrainingRow } from '../data/rows/rows.js'
import { exampleRows, type Task, taskRows } from '../data/task.js'
import { wordParameter } from '../data/texts/verbalizer.js'
import { likelihoodResults } from '../evaluate/likelihood-results.js'
import { type ScoredPart, writePredictions } from '../evaluate/predictions.js'
import type { RowResult } from '../evaluate/row-results.js'
import { contentFreeRow, type Evaluation, type ScoreOptions, scoreRows, summary } from '../evaluate/score.js'
import type { LossTerm } from '../losses/loss.js'
import { type ActivePrompt, whileLearning } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { layerOutputsOf } from '../model/layer-outputs.js'
import { ownCommand } from '../own-command.js'
import { mostVirtualTokens, type PromptParameter } from '../prompts/method.js'
import { promptMethods } from '../prompts/methods/index.js'
import { softVocabulary } from '../prompts/soft-rows.js'
import { readSources } from '../sources/initial-prompts.js'
import type { Checkpoint } from '../store/checkpoints.js'
import { peakMemory } from '../store/environment.js'
import { type PromptFile, writePrompt } from '../store/prompt-file.js'
import { startName } from '../store/run-folder.js'
import type { RunSession } from '../store/run-session.js'
import type { Config } from './config.js'
import { type ControlStore, devControl, keptControl, type ScoredControl } from './control.js'
import { noExamples, refuseOversizedRows } from './data-limits.js'
import { domainParameters, taskDomain } from './domain/task-domain.js'
import type { GradpromptEvent, RunResult, ScoringProgress } from './events.js'
import { type FrozenRows, frozenRowsOf } from './frozen-rows.js'
import { learnedPrompt } from './learned-prompt.js'
import { type LearningState, learn, learnedParameters, parametersOf, startLearning } from './loop.js'
import { chosenLoss, learnedAnswers, runLosses, termsOf } from './losses.js'
import { metaParameters, metaSteps } from './meta/meta-steps.js'
import { rowNotices } from './notices.js'
import { rewardsUnder } from './preferences.js'
import { type Privacy, privacyOf } from './privacy/options.js'
import { forgetKey, poissonSample, privacyKey } from './privacy/secret.js'
import { createReference, type Reference } from './reference.js'
import { sampleAnswers } from './samples.js'
import { totalSteps } from './schedule.js'
import { batches, holdOut, sampledBatches } from './steps/batches.js'
import { stepGradient } from './steps/step-gradient.js'
import { wordGradient, wordWeights } from './steps/word-weights.js'
import { type TeacherModel, teacherModel } from './study/teacher-model.js'
import { runVerdict } from './verdict.js'

/** A config with its data and its model, ready for the first step. */
export interface Job {
  readonly config: Config
  readonly task: Task
  readonly model: LanguageModel
  readonly rows: RowBuilder
  /** Of every template that a training row may have, and for each of them of every text that is learned of a record. */
  readonly builders: readonly RowBuilder[]
  /** What calibrates scores: `evaluate.calibrate`. */
  readonly contentFree: ScoringRow | undefined
  /** Rows that had to be cut to fit the context. */
  readonly truncated: number
  /** What is learned; its parameters are those of `state`. */
  readonly prompt: ActivePrompt
  readonly shapes: readonly PromptParameter[]
  /** As before the first step. */
  readonly state: LearningState
  readonly steps: number
  /** What the layers below the method make of a step's rows, where that is kept. */
  readonly frozen: FrozenRows | undefined
  /** What is minimised over a step's rows. */
  readonly losses: (rows: readonly TrainingRow[]) => Promise<readonly LossTerm[]>
  /** What losses hold the prompt against. */
  readonly reference: Reference
  /** Rows that each record makes, which belong together. */
  readonly answers: number
  /** Which share of a step's rows is learned as of no task. */
  readonly genericShare: number | undefined
  /** With `train.privacy`: what its steps do. */
  readonly privacy: Privacy | undefined
  /** What there is to say of the rows before the first step. */
  readonly notices: readonly DataNotice[]
  /** The model of `train.distillation.model`; whoever runs the job disposes of it. */
  readonly other: TeacherModel | undefined
  /** Where what the base model comes to is kept for further runs. */
  readonly controls?: ControlStore | undefined
}

export interface PrepareOptions {
  /** Of a run that goes on: what was estimated before its first step is taken from it. */
  readonly checkpoint?: Checkpoint | undefined
  /** Told of texts that the first prompt is made from. */
  readonly onProgress?: ((progress: ScoringProgress) => unknown) | undefined
}

/**
 * Checks every row, makes the first prompt and compiles what a step needs.
 * @throws GradpromptError as `taskRows`, and as the method and the compiler do
 */
export async function prepareJob(
  config: Config,
  task: Task,
  model: LanguageModel,
  { checkpoint, onProgress }: PrepareOptions = {},
): Promise<Job> {
  const method = promptMethods.get(config.method.type)
  const { tokenizer } = model
  const contextLength = model.config.maxPositionEmbeddings
  const examples = config.train.privacy ? noExamples(config) : exampleRows(config, task, { tokenizer, contextLength })
  const resolved =
    method.resolve?.(config.method, { tokenizer, exampleRows: examples, template: config.template }) ?? config.method
  const answers = learnedAnswers(config)
  const numVirtualTokens = mostVirtualTokens(method, resolved, model.config)
  const { builder, builders, truncated } = taskRows(config, task, {
    learned: answers,
    tokenizer,
    contextLength,
    numVirtualTokens,
    tasks: method.tasks?.(resolved),
    soft: softVocabulary(resolved, model.config),
  })
  const domain = await taskDomain(config, task, model, checkpoint)
  const notices = [
    ...(domain?.notices ?? []),
    ...rowNotices(config, task, { method, options: resolved, model: model.config, tokenizer, builder }),
  ]
  const { recompute } = config.train
  refuseOversizedRows(model.memory, { records: task.train, builders, together: answers.length, numVirtualTokens, recompute })
  const parameters = await method.initialise(resolved, {
    model: model.config,
    tokenizer,
    embeddingRows: ids => model.embeddingRows(ids),
    keysAndValues: rows => model.keysAndValues(rows),
    seed: config.seed,
    labelWords: task.labels?.candidates ?? [],
    learnedPrompts: (from, count) =>
      readSources(
        from,
        {
          ...{ name: model.name, hash: model.hash, hiddenSize: model.config.hiddenSize },
          inputMultiplier: model.checkpoint.family.inputMultiplier(model.checkpoint.config),
        },
        count,
      ),
    exampleRows: examples,
    answerPairs: answerPairs(config, task, { tokenizer, contextLength }),
    domain: domain?.particles,
    layerOutputs: layerOutputsOf(model, onProgress),
  })
  const prompt = { method, config: resolved, parameters }
  const learning = whileLearning(prompt)
  const contentFree = contentFreeRow(config.evaluate.calibrate, builder, task.labels)
  const beside = [
    ...wordWeights(config, task),
    ...(config.train.meta ? metaParameters(config.train.meta, model.config, config.seed) : []),
    ...domainParameters(domain, model.config.hiddenSize),
  ]
  const shapes = [...method.parameters(resolved, model.config), ...beside.map(({ shape }) => shape)]
  for (const { shape, values } of beside) parameters.set(shape.name, values)
  const steps = totalSteps(config.train, task.train.length)
  const ofClasses = chosenLoss(config.train).loss.ofClasses !== undefined
  const frozen =
    ofClasses || config.train.meta !== undefined
      ? undefined
      : frozenRowsOf({ model, prompt: learning, records: task.train, builders, train: config.train, steps })
  if (steps > 0)
    await model.prepareGradient(learning, { losses: runLosses(config.train), frozen: frozen !== undefined, recompute })
  const reference = createReference(learning, model)
  const other = teacherModel(config.train.distillation?.model, model)
  const losses = await termsOf(config.train, reference, model, {
    answers: answers.length,
    exampleRows: examples,
    parameters,
    other,
  })
  const state = startLearning(parameters, shapes, config.train, steps)
  return {
    config,
    task,
    model,
    rows: builder,
    builders,
    contentFree,
    truncated,
    notices,
    prompt,
    shapes,
    state,
    steps,
    frozen,
    losses,
    reference,
    other,
    answers: answers.length,
    genericShare: method.tasks?.(resolved)?.genericShare,
    privacy:
      config.train.privacy &&
      privacyOf(config.train.privacy, { records: task.train.length, batchSize: config.train.batchSize, steps }),
  }
}

/** What a tuning run is told through, and writes by. */
export type TuneSession = RunSession<GradpromptEvent, ScoringProgress>

/**
 * Learns from where `job.state` stands, scores what came of it, and writes the run's prompt and result.
 * @throws GradpromptError `loss-not-finite`; `aborted`, with the way to go on
 */
export function runJob(job: Job, session: TuneSession): Promise<{ result: RunResult; prompt: PromptFile }> {
  return session.attempt(
    () => learnAndScore(job, session),
    () => ({
      message: `stopped after step ${job.state.step} of ${job.steps}`,
      hint: ownCommand`resume ${session.folder}`,
    }),
  )
}

async function learnAndScore(job: Job, session: TuneSession) {
  await using other = job.other
  const { config, task, model, rows, contentFree, prompt, shapes, state, steps } = job
  const { folder, signal } = session
  const emit = (event: GradpromptEvent) => session.emit(event)
  const elapsed = () => session.elapsed()
  const parameters = shapes.reduce((sum, { name, frozen }) => sum + (frozen ? 0 : state.parameters.get(name)!.length), 0)
  const scoring = (what: ScoringProgress['what']): ScoreOptions => ({
    batchSize: config.evaluate.batchSize,
    signal,
    onProgress: (done, total) => session.progress({ what, done, total }),
  })
  const rewards = rewardsUnder(chosenLoss(config.train), job.reference, model)
  const evaluate = async (records: readonly DataRecord[], what: ScoredPart) => {
    const scored = records.map((record, i) => rows.scoring(record, i))
    const learned = { ...prompt, parameters: learnedParameters(state) }
    const weights = learned.parameters.get(wordParameter)
    const options = { ...scoring(what), weights, contentFree, rewards, seed: config.seed }
    const evaluated = await scoreRows(model, learned, scored, task.labels, options)
    const { labels } = task
    const { template, answer } = config
    return { evaluated, results: likelihoodResults(evaluated, { records, rows: scored, labels, template, answer }) }
  }
  const keepControl = async (part: ScoredPart, { rows }: ScoredControl) => {
    await writePredictions(folder, part, 'control', rows.control)
    await writePredictions(folder, part, 'plain', rows.plain)
  }

  emit({
    event: 'loaded',
    model: model.name,
    parameters,
    rows: { train: task.train.length, dev: task.dev.length, test: task.test.length },
    steps,
    folder,
    seconds: session.sitting(),
  })
  for (const notice of cutNotices(job.truncated)) emit({ event: 'warning', ...notice })
  // What the vectors read as before the first step is shown beside what they come to; and it says what checkpoints are of.
  if (state.step === 0) await writePrompt(join(folder, startName), learnedPrompt(job))
  const control = await devControl(job, session, keepControl, scoring('base model'))

  const meta =
    config.train.meta &&
    metaSteps({ ...job, ...config.train, parameters: state.parameters, chosen: chosenLoss(config.train) }, config.train.meta)
  const train = meta ? { ...config.train, maxGradientNorm: meta.maxGradientNorm } : config.train
  if (chosenLoss(train).loss.data) await job.reference.keepIn(folder)
  const apart = shapes.some(({ heldOut }) => heldOut) ? holdOut(task, config.seed) : undefined
  const privacy = job.privacy && { mechanism: job.privacy, expected: train.batchSize, key: await privacyKey(folder, state.step) }
  const batch = privacy
    ? sampledBatches(task.train, job, step => poissonSample(task.train.length, privacy.mechanism.rate, privacy.key, step))
    : batches(apart?.train ?? task.train, job)
  const weights = state.parameters.get(wordParameter)
  // Of each dev evaluation so far, what became of each row: the run keeps those of the prompt that it keeps.
  const devRows = new Map<number, readonly RowResult[]>()
  const evaluateDev = async (): Promise<Evaluation> => {
    const { evaluated, results } = await evaluate(task.scored, 'dev')
    for (const step of devRows.keys()) if (step !== state.best?.step) devRows.delete(step)
    devRows.set(state.step, results)
    return summary(evaluated)
  }
  const learning = whileLearning(prompt)
  await learn(state, {
    model,
    prompt: learning,
    shapes,
    train,
    steps,
    batch: meta?.batch ?? batch.training,
    frozen: job.frozen && (step => job.frozen!(batch.places(step))),
    heldOutBatch: apart && batches(apart.heldOut, job).training,
    losses: job.losses,
    groups: job.answers > 1 ? job.answers : undefined,
    gradient:
      meta?.gradient ??
      stepGradient({
        ...{ model, prompt: learning, batch, losses: job.losses, answers: job.answers, privacy },
        ...{ chosen: chosenLoss(train), recompute: train.recompute },
      }),
    beside: wordGradient({ model, prompt: learning, labels: task.labels, weights, rows: batch.scoring }),
    evaluate: task.scored.length > 0 ? evaluateDev : undefined,
    sample: task.labels === undefined && train.samples > 0 ? () => sampleAnswers(job, signal) : undefined,
    writeCheckpoint: checkpoint => session.writeCheckpoint(checkpoint),
    emit,
    elapsed,
    signal,
  })

  const kept = train.keep === 'best' && state.best !== null ? state.best : state.last
  if (kept !== null && kept.step !== state.step)
    for (const [name, values] of parametersOf(
      await session.readCheckpoint(kept.step),
      shapes,
      state.average ? 'average' : 'parameter',
    ))
      learnedParameters(state).get(name)!.set(values)
  if (kept !== null) {
    // A run that was resumed after its best step has forgotten the rows of that step.
    const results = devRows.get(kept.step) ?? (await evaluate(task.scored, 'dev')).results
    await writePredictions(folder, 'dev', 'tuned', results)
  }
  const hasTest = task.test.length > 0
  const test = hasTest ? await evaluate(task.test, 'test') : undefined
  if (test) await writePredictions(folder, 'test', 'tuned', test.results)
  const testControl = hasTest
    ? await keptControl(job.controls, other, model, config, task, task.test, scoring('base model on test'))
    : undefined
  if (testControl) await keepControl('test', testControl)
  const learned = learnedPrompt(job)
  await writePrompt(session.promptPath, learned)
  const { step: _, ...dev } = kept ?? { step: 0, metrics: {}, rows: 0 }
  const { instruction } = control
  const verdict = await runVerdict(folder, hasTest ? 'test' : 'dev', { instruction, seed: config.seed })
  const figures = prompt.method.figures?.(prompt.config, learnedParameters(state))
  const result: RunResult = {
    ...dev,
    ...(test && { test: summary(test.evaluated) }),
    ...(verdict && { verdict }),
    control: { ...control, ...(testControl && { test: testControl.scores }) },
    ...(figures && { figures }),
    parameters,
    steps: state.step,
    ...(learned.privacy && { privacy: learned.privacy }),
    bestStep: state.best?.step ?? null,
    seconds: elapsed(),
    peakMemory: peakMemory(),
    folder,
  }
  await session.writeResult(result)
  if (privacy) await forgetKey(folder)
  emit({ event: 'result', ...result })
  return { result, prompt: learned }
}
