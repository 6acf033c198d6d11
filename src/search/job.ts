import { join } from 'node:path'
import { type SearchConfig, taskConfig } from '../config/search-schema.js'
import type { LabelSet } from '../data/labels.js'
import type { DataRecord } from '../data/records.js'
import { GradpromptError } from '../errors.js'
import { compareConditions } from '../evaluate/comparison.js'
import { likelihoodResults } from '../evaluate/likelihood-results.js'
import type { RowResult } from '../evaluate/row-results.js'
import { type Evaluation, type Metrics, scoreRows, summary } from '../evaluate/score.js'
import { GenerationEngine } from '../generate/engine.js'
import { LanguageModel } from '../model/language-model.js'
import { replaceText } from '../runs/atomic.js'
import { peakMemory } from '../runs/environment.js'
import { writePredictions } from '../runs/predictions.js'
import type { Run } from '../runs/run-folder.js'
import type { WarningEvent } from '../train/events.js'
import { Budget, BudgetSpent, type Spending } from './budget.js'
import { exampleOf } from './critic.js'
import { Draft } from './draft.js'
import { DriftGuard } from './drift.js'
import type { InitialEvent, JudgedPrompt, SearchActivity, SearchEvent, SearchResult } from './events.js'
import { searchMethods } from './index.js'
import { type JudgedRows, judgeReasoned, REASONING_BATCH } from './judge.js'
import { contextOf, type RankedPrompt, type SearchLoopOptions, type SearchProgress, type Stored, searchPrompts } from './loop.js'
import type { Embedding, SearchMethod } from './method.js'
import { Objective, type ObjectiveOptions } from './objective.js'
import { SearchPrograms } from './programs.js'
import { pseudoLabelled } from './pseudo-labels.js'
import { Reasoning, type ReasoningEntry, type ReasoningOptions, unheardOf } from './reasoning.js'
import { ReasoningLog } from './reasoning-log.js'
import { softPromptOf } from './soft-prompt.js'
import type { SearchTask } from './task.js'
import { type SearchRow, TokenSpace, type TokenSpaceOptions } from './token-space.js'
import { allowedTokens } from './vocabulary.js'
import { EngineWriter, type WrittenEntry } from './writer.js'
import { WrittenLog } from './written-log.js'

/** A search with its data and its model, ready for the first step. */
export interface SearchJob {
  readonly config: SearchConfig
  readonly task: SearchTask
  readonly model: LanguageModel
  readonly method: SearchMethod
  readonly programs: SearchPrograms
  readonly space: TokenSpace
  readonly rows: readonly SearchRow[]
  readonly allowed: Int32Array
  readonly guard: DriftGuard
  readonly embedding: Embedding
  readonly softPrompt: Float32Array | undefined
  readonly draft: Draft | undefined
  /** The model that writes prompts, where it is not the searched one. */
  readonly optimizer: LanguageModel | undefined
  /** Tokens that a prompt may have so that every row fits into the context. */
  readonly maxLength: number
  readonly spent: Spending | undefined
  /** Where a resumed search stands. */
  readonly progress: SearchProgress | undefined
  /** How many entries of what the model wrote it goes on with. */
  readonly reasoned: number
}

export interface JobOptions {
  readonly onEvent?: ((event: SearchEvent) => void) | undefined
  readonly onProgress?: ((progress: SearchActivity) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /** When the work on this job began, on the clock of `performance.now()`. */
  readonly started: number
  readonly warnings?: readonly WarningEvent[]
}

/** What a search's prompts and rows are made of. */
export function spaceOptions(
  { template, answer, search }: SearchConfig,
  labels: LabelSet | undefined,
  contextLength: number,
): TokenSpaceOptions {
  const { prompt, extractor, maxNewTokens } = search
  const reasoning = extractor === undefined ? undefined : { extractor, maxNewTokens: maxNewTokens! }
  return { template, answer, labels, contextLength, prompt, ...(reasoning && { reasoning }) }
}

/**
 * Checks every row and makes what a step works with.
 * @throws GradpromptError as `TokenSpace` and `allowedTokens` do; `prompt-size`
 */
export async function prepareSearch(
  config: SearchConfig,
  given: SearchTask,
  model: LanguageModel,
  earlier?: Stored,
): Promise<SearchJob> {
  const { search } = config
  const { tokenizer } = model
  requireLabels(config, given)
  const options = spaceOptions(config, given.labels, model.config.maxPositionEmbeddings)
  const space = new TokenSpace(tokenizer, options, given.questions[0]!)
  const task = search.pseudoLabels === undefined ? given : await pseudoLabelled(given, search.pseudoLabels, model, space, config)
  const rows = task.questions.map((record, i) => space.row(record, i))
  const others = [task.shots, task.dev, task.test].flatMap(records => records.map((record, i) => space.row(record, i)))
  const method = searchMethods.get(search.type)!
  if (method.writes) requireOnePiece(space)
  const from = 'from' in search && typeof search.from === 'string' ? search.from : undefined
  const soft = from === undefined ? undefined : await softPromptOf(from)
  if (soft !== undefined && (soft.count !== space.free.length || soft.hiddenSize !== model.config.hiddenSize))
    throw new GradpromptError('prompt-size', 'the prompt has not as many free tokens as the run has vectors', {
      found: `${space.free.length} free tokens; ${soft.count} vectors of width ${soft.hiddenSize} in ${from}`,
      expected: `as many, of width ${model.config.hiddenSize}`,
      hint: 'leave search.prompt out, and it has as many tokens as the run has vectors',
    })
  const allowed = allowedTokens(tokenizer, search.vocabulary, model.config.vocabSize)
  const programs = new SearchPrograms(model)
  return {
    config,
    task,
    model,
    method,
    programs,
    space,
    rows,
    allowed,
    guard: new DriftGuard(space, rows, search.drift, earlier?.drifted),
    embedding: embeddingOf(model, programs),
    softPrompt: soft?.rows,
    draft: await draftOf(config, model, space),
    optimizer: await optimizerOf(config, model),
    maxLength: options.contextLength - [...rows, ...others].reduce((most, row) => Math.max(most, space.lengthAround(row)), 0),
    spent: earlier?.spent,
    progress: earlier?.progress,
    reasoned: earlier?.reasoned ?? 0,
  }
}

/**
 * Searches from where the job stands, re-ranks the best prompts on dev, judges the chosen one, and writes prompt and result.
 * @throws GradpromptError `budget-too-small`, `not-finite`, `all-candidates-drift`; `aborted`, with the way to go on
 */
export async function runSearch(job: SearchJob, run: Run, options: JobOptions): Promise<SearchResult> {
  try {
    return await searchAndJudge(job, run, options)
  } catch (error) {
    if (!(error instanceof GradpromptError && error.code === 'aborted')) throw error
    throw new GradpromptError('aborted', 'the search was stopped', {
      hint: `gradprompt resume ${run.folder}; the best prompt so far stands in ${join(run.folder, 'prompt.json')}`,
      exitCode: 1,
      cause: error,
    })
  }
}

async function searchAndJudge(job: SearchJob, run: Run, options: JobOptions): Promise<SearchResult> {
  const { extractor, weights, maxNewTokens } = job.config.search
  const { model, method, optimizer } = job
  const batchSize = job.config.evaluate.batchSize ?? REASONING_BATCH
  const open = (model: LanguageModel) => GenerationEngine.open(model, { weights: weights!, batchSize })
  const isOwn = extractor !== undefined || (method.writes === true && optimizer === undefined)
  const engine = isOwn ? await open(model) : undefined
  try {
    const other = optimizer && (await open(optimizer))
    try {
      const writer = method.writes ? await writerOf(job, run, other ?? engine!, batchSize, options) : undefined
      const onProgress = (done: number, total: number) => options.onProgress?.({ what: 'answers', done, total })
      const settings = { maxNewTokens: maxNewTokens!, batchSize, onProgress }
      const reasoning = extractor === undefined ? undefined : await reasoningOf(job, run, engine!, settings)
      return await searchWith(job, run, options, reasoning, writer)
    } finally {
      await other?.dispose()
    }
  } finally {
    await engine?.dispose()
  }
}

async function reasoningOf(
  { model: { tokenizer }, rows, reasoned }: SearchJob,
  run: Run,
  engine: GenerationEngine,
  settings: ReasoningOptions,
): Promise<Reasoning> {
  const log = await ReasoningLog.open(run.folder, reasoned)
  const write = (entry: ReasoningEntry) => log.append(entry, tokenizer.decode(entry.reasoning))
  const reasoning = new Reasoning(engine, tokenizer, settings, write, log.entries)
  await reasoning.prepare(rows)
  return reasoning
}

/** What writes under a search's budget. */
async function writerOf(
  { config: { seed }, model, optimizer = model, progress }: SearchJob,
  { folder }: Run,
  engine: GenerationEngine,
  batchSize: number,
  { signal, onProgress }: JobOptions,
): Promise<(budget: Budget) => EngineWriter> {
  const log = await WrittenLog.open(folder, progress?.step ?? 0)
  const contextLength = optimizer.config.maxPositionEmbeddings
  const onEntry = (entry: WrittenEntry) => log.append(entry)
  return budget =>
    new EngineWriter(engine, optimizer.tokenizer, {
      ...{ seed, batchSize, contextLength, budget, signal, onEntry },
      onProgress: (done, total) => onProgress?.({ what: 'texts', done, total }),
    })
}

async function searchWith(
  job: SearchJob,
  run: Run,
  { onEvent, onProgress, signal, started, warnings = [] }: JobOptions,
  reasoning?: Reasoning,
  writer?: (budget: Budget) => EngineWriter,
): Promise<SearchResult> {
  const { config, task, model, space, rows, guard, programs, method, allowed } = job
  const { search, seed } = config
  const { folder } = run
  const emit = (event: SearchEvent) => {
    run.appendEvent(event)
    onEvent?.(event)
  }
  const earlier = job.progress?.seconds ?? 0
  const elapsed = () => earlier + (performance.now() - started) / 1000
  const budget = new Budget(search.budget, elapsed, job.spent)
  const settings: ObjectiveOptions = {
    free: ids => space.freeOf(ids),
    fluency: search.fluency,
    mellowmax: search.mellowmax,
    measure: search.measure,
    labels: task.labels,
    ...method.objective?.(search),
  }
  const objective = new Objective(model, programs, budget, settings, signal, reasoning)
  const scored = (records: readonly DataRecord[], ids: readonly number[]): Promise<JudgedRows> => {
    if (reasoning !== undefined) return judgeReasoned(reasoning, space, records, ids, { seed, signal })
    return scoreRows(
      model,
      undefined,
      records.map((record, i) => space.scoring(record, i, ids)),
      task.labels,
      {
        ...{ seed, signal, batchSize: config.evaluate.batchSize },
        onProgress: (done, total) => onProgress?.({ what: 'rows', done, total }),
      },
    )
  }
  const evaluate = task.dev.length === 0 ? undefined : async (ids: readonly number[]) => summary(await scored(task.dev, ids))
  const keepBest = ({ ids, objective }: RankedPrompt, step: number) =>
    replaceText(join(folder, 'prompt.json'), `${JSON.stringify({ prompt: space.text(ids), ids, objective, step }, null, 2)}\n`)
  const loop: SearchLoopOptions = {
    ...{ config, method, space, programs, objective, allowed, rows, guard, budget, evaluate, keepBest, emit, elapsed, signal },
    embedding: job.embedding,
    reasoning,
    writer: writer?.(budget),
    exampleOf: ({ index }) => exampleOf(task.questions[index]!, index, config, task.labels),
    maxLength: job.maxLength,
    softPrompt: job.softPrompt,
    draft: job.draft?.scorer({ mellowmax: search.mellowmax, seconds: search.budget.seconds, elapsed, signal }),
    token: id => model.tokenizer.token(id),
    writeCheckpoint: checkpoint => run.writeCheckpoint(checkpoint),
  }

  emit({
    event: 'loaded',
    model: model.name,
    rows: { train: rows.length, dev: task.dev.length, test: task.test.length },
    steps: search.steps,
    budget: search.budget,
    freeTokens: space.free.length,
    vocabulary: allowed.length,
    folder,
    seconds: (performance.now() - started) / 1000,
  })
  for (const warning of warnings) emit(warning)
  const progress = job.progress ?? (await begin(loop))
  const start = { ids: space.start, objective: progress.initial }
  const startKey = keyOf(space.start)
  if (evaluate !== undefined) progress.dev[startKey] ??= await evaluate(space.start)
  if (!(await run.readEvents()).some(({ event }) => event === 'initial')) {
    const metrics = progress.dev[startKey]?.metrics ?? {}
    emit({ event: 'initial', prompt: space.startText, objective: start.objective, metrics } satisfies InitialEvent)
    if (reasoning !== undefined) {
      const [reasoned] = await reasoning.answers([space.start], rows, { budget, signal })
      const never = unheardOf(reasoned!, rows, model.tokenizer)
      if (never.length > 0) emit(neverAnswered(never))
    }
    await keepBest(progress.top[0]!, 0)
  }
  await searchPrompts(progress, loop)

  // What was scored on batches, or reads back in the probed rows alone, is judged on all questions.
  const faithful = progress.top.filter(({ ids }) => isFaithful(job, ids))
  const judge = new Objective(model, programs, new Budget({}, elapsed), settings, signal, reasoning)
  const candidates = [start, ...faithful.filter(({ ids }) => keyOf(ids) !== startKey)]
  const losses = await judge.score(
    candidates.map(({ ids }) => ids),
    rows,
  )
  const judged: (JudgedPrompt & { readonly dev: Evaluation | undefined })[] = []
  for (const [i, { ids }] of candidates.entries()) {
    const dev = progress.dev[keyOf(ids)] ?? (await evaluate?.(ids))
    judged.push({ prompt: space.text(ids), ids, objective: losses[i]!.loss, metrics: dev?.metrics ?? {}, dev })
  }
  const ranking = [...judged].sort(byQuality)
  const { dev: chosenDev, ...chosen } = ranking[0]!
  const test = task.test.length === 0 ? undefined : await judgeOnTest(job, chosen.ids, folder, scored)
  const bare = ({ dev: _, ...prompt }: (typeof judged)[number]): JudgedPrompt => prompt
  const result: SearchResult = {
    ...chosen,
    rows: chosenDev?.rows ?? 0,
    initial: bare(judged[0]!),
    ranking: ranking.map(bare),
    ...(test && { test }),
    steps: progress.step,
    drifted: guard.drifted,
    ...budget.spent,
    seconds: elapsed(),
    peakMemory: peakMemory(),
    folder,
  }
  await keepBest({ ids: chosen.ids, objective: chosen.objective }, progress.step)
  await run.writeResult(result)
  emit({ event: 'result', ...result })
  return result
}

/** What a job has open beside the model. */
export async function disposeJob({ programs, draft, optimizer }: SearchJob): Promise<void> {
  await programs.dispose()
  await draft?.dispose()
  await optimizer?.dispose()
}

async function optimizerOf({ search }: SearchConfig, { device, threads, memory }: LanguageModel) {
  if (!('optimizer' in search) || search.optimizer === undefined) return undefined
  return LanguageModel.load(search.optimizer as string, { device, threads, memory: memory.budget })
}

async function draftOf({ search, template }: SearchConfig, model: LanguageModel, space: TokenSpace): Promise<Draft | undefined> {
  if (!('probe' in search) || search.probe === undefined) return undefined
  if (search.extractor !== undefined)
    throw new GradpromptError('invalid-config', 'a draft model does not reason', {
      found: 'search.probe and search.extractor',
      expected: 'one of them',
    })
  const { draft } = search.probe as { readonly draft: string }
  return Draft.open(draft, model, space, { addSpecialTokens: typeof template === 'string' })
}

/** The first prompt's score and the method's own start. */
async function begin(loop: SearchLoopOptions): Promise<SearchProgress> {
  const context = contextOf(loop, 0)
  try {
    const [score] = await loop.objective.score([loop.space.start], loop.rows)
    const method = await loop.method.start(loop.config.search, context)
    const initial = score!.loss
    return { step: 0, method, initial, top: [{ ids: loop.space.start, objective: initial }], dev: {}, done: false, seconds: 0 }
  } catch (error) {
    throw error instanceof BudgetSpent ? loop.budget.tooSmall() : error
  }
}

/** @throws GradpromptError `invalid-config` */
function requireOnePiece(space: TokenSpace): void {
  if (space.isOnePiece) return
  throw new GradpromptError('invalid-config', 'a prompt that a model writes is one text', {
    found: 'search.prompt with several texts that are searched',
    expected: 'one text, with { frozen: text } before it or behind it',
  })
}

/** @throws GradpromptError `invalid-config` where labels are compared, or taken from the model, and answers are free text */
function requireLabels({ search }: SearchConfig, { labels }: SearchTask): void {
  const isGap = search.measure === 'gap'
  if (search.extractor !== undefined && (isGap || search.pseudoLabels !== undefined))
    throw new GradpromptError('invalid-config', 'answers behind reasoning are not compared with other labels', {
      found: `search.extractor and ${isGap ? 'search.measure: gap' : 'search.pseudoLabels'}`,
      expected: 'one of them',
    })
  if (labels !== undefined || (!isGap && search.pseudoLabels === undefined)) return
  const option = isGap ? 'search.measure: gap' : 'search.pseudoLabels'
  throw new GradpromptError('invalid-config', `${option} needs answers of a closed set`, {
    found: 'free-text answers',
    expected: 'data.labels, or few values in the label column',
    hint: 'search.measure: cross-entropy, or mistakes, scores free text',
  })
}

const neverAnswered = (answers: readonly string[]): WarningEvent => ({
  event: 'warning',
  code: 'answer-never-given',
  message:
    `behind the extractor the model never answers ${answers
      .slice(0, 5)
      .map(answer => JSON.stringify(answer))
      .join(', ')}` +
    `${answers.length > 5 ? ` and ${answers.length - 5} more` : ''}: let search.extractor say which form the answer has`,
})

/** Whether a prompt's text gives its ids back in every row of the search. */
function isFaithful({ task, space }: SearchJob, ids: readonly number[]): boolean {
  return [task.questions, task.dev].every(records => records.every((record, i) => space.isFaithful(ids, record, i)))
}

/** By dev accuracy, then dev likelihood, then the loss over the questions; of equals the earlier, so the first prompt before any. */
function byQuality(a: JudgedPrompt, b: JudgedPrompt): number {
  const value = ({ metrics }: { readonly metrics: Metrics }, name: string) => metrics[name]?.value ?? 0
  return (
    value(b, 'accuracy') - value(a, 'accuracy') ||
    value(b, 'logLikelihood') - value(a, 'logLikelihood') ||
    a.objective - b.objective
  )
}

/** The test rows, touched once: the chosen prompt and the first, on the same rows. */
async function judgeOnTest(
  { config, task, space }: SearchJob,
  chosen: readonly number[],
  folder: string,
  scored: (records: readonly DataRecord[], ids: readonly number[]) => Promise<JudgedRows>,
): Promise<SearchResult['test']> {
  const own = await scored(task.test, chosen)
  const initial = await scored(task.test, space.start)
  const { template, answer } = taskConfig(config, '')
  const resultsOf = (judged: JudgedRows, ids: readonly number[]): RowResult[] => {
    const { right } = judged
    const rows = task.test.map((record, i) => space.scoring(record, i, ids))
    const labels = right === undefined ? task.labels : undefined
    const results = likelihoodResults(judged, { records: task.test, rows, labels, template, answer })
    return results.map((row, i) => (right === undefined ? row : { ...row, score: Number(right[i]), correct: right[i]! }))
  }
  const found = resultsOf(own, chosen)
  const begun = resultsOf(initial, space.start)
  await writePredictions(folder, 'test', 'tuned', found)
  await writePredictions(folder, 'test', 'initial', begun)
  const { comparisons } = compareConditions(
    [
      { name: 'initial prompt', seeds: [begun] },
      { name: 'found prompt', seeds: [found] },
    ],
    { seed: config.seed },
  )
  return { ...summary(own), initial: summary(initial), ...(comparisons[0] && { comparison: comparisons[0] }) }
}

function embeddingOf(model: LanguageModel, programs: SearchPrograms): Embedding {
  const { hiddenSize, vocabSize } = model.config
  let norms: Promise<Float32Array> | undefined
  return {
    hiddenSize,
    vocabSize,
    rows: ids => model.embeddingRows(ids),
    project: vectors => programs.project(vectors),
    mix: weights => programs.mix(weights),
    squaredNorms() {
      norms ??= model.embeddingTable().then(table => {
        const sums = new Float32Array(vocabSize)
        for (let v = 0; v < vocabSize; v++) for (let k = 0; k < hiddenSize; k++) sums[v]! += table[v * hiddenSize + k]! ** 2
        return sums
      })
      return norms
    },
  }
}

const keyOf = (ids: readonly number[]) => ids.join(' ')
