import { join } from 'node:path'
import type { DataRecord } from '../../data/readers/records.js'
import { scoreRows, summary } from '../../evaluate/score.js'
import { GenerationEngine } from '../../generate/engine/engine.js'
import type { LanguageModel } from '../../model/language-model.js'
import { ownCommand } from '../../own-command.js'
import { replaceText } from '../../store/atomic.js'
import { peakMemory } from '../../store/environment.js'
import type { WarningEvent } from '../../store/events.js'
import type { RunSession } from '../../store/run-session.js'
import { forgetKey, privacyKey } from '../../train/privacy/secret.js'
import type { PromptPrivacy } from '../moves/method.js'
import { Budget, BudgetSpent } from '../score/budget.js'
import { Objective, type ObjectiveOptions } from '../score/objective.js'
import { Reasoning, type ReasoningEntry, type ReasoningOptions, unheardOf } from '../score/reasoning.js'
import { keyOf } from '../space/token-space.js'
import { caseColumns } from '../writing/case-columns.js'
import { exampleOf } from '../writing/critic.js'
import { CaseFile } from './case-book.js'
import type { InitialEvent, JudgedPrompt, SearchActivity, SearchEvent, SearchResult } from './events.js'
import { judgeChosen, type RankedOnDev, rankPrompts } from './final.js'
import { forecastOf } from './forecast.js'
import type { GrowingQuestions } from './growing-questions.js'
import type { SearchJob } from './job.js'
import { type JudgedRows, judgeReasoned, REASONING_BATCH } from './judge.js'
import { contextOf, type RankedPrompt, type SearchLoopOptions, type SearchProgress, searchPrompts } from './loop.js'
import { preflight, preflightWarnings, refuseHopeless } from './preflight.js'
import { ReasoningLog } from './reasoning-log.js'
import { openRoles, poolOf, type Roles, usesOwnModel } from './roles.js'
import { demonstrations } from './shots.js'

/** What a search is told through, and writes by. */
export type SearchSession = RunSession<SearchEvent, SearchActivity>

/**
 * Searches from where the job stands, re-ranks the best prompts on dev, judges the chosen one, and writes prompt and result.
 * @throws GradpromptError `budget-too-small`, `not-finite`, `all-candidates-drift`; `aborted`, with the way to go on
 */
export function runSearch(job: SearchJob, session: SearchSession): Promise<SearchResult> {
  return session.attempt(
    () => searchAndJudge(job, session),
    () => ({
      message: 'the search was stopped',
      hint: `${ownCommand`resume ${session.folder}`}; the best prompt so far stands in ${join(session.folder, 'prompt.json')}`,
    }),
  )
}

async function searchAndJudge(job: SearchJob, session: SearchSession): Promise<SearchResult> {
  const { extractor, weights, maxNewTokens } = job.config.search
  const { model } = job
  const batchSize = job.config.evaluate.batchSize ?? REASONING_BATCH
  const open = (model: LanguageModel) => GenerationEngine.open(model, { weights: weights!, batchSize })
  await using engine = extractor !== undefined || usesOwnModel(job) ? await open(model) : undefined
  await using roles = await openRoles(job, session, { engine, open, batchSize })
  const onProgress = (done: number, total: number) => session.progress({ what: 'answers', done, total })
  const settings = { maxNewTokens: maxNewTokens!, batchSize, onProgress }
  const reasoning = extractor === undefined ? undefined : await reasoningOf(job, session.folder, engine!, settings)
  return await searchWith(job, session, roles, reasoning)
}

async function reasoningOf(
  { model: { tokenizer }, rows, reasoned }: SearchJob,
  folder: string,
  engine: GenerationEngine,
  settings: ReasoningOptions,
): Promise<Reasoning> {
  const log = await ReasoningLog.open(folder, reasoned)
  const write = (entry: ReasoningEntry) => log.append(entry, tokenizer.decode(entry.reasoning))
  const reasoning = new Reasoning(engine, tokenizer, settings, write, log.entries)
  await reasoning.prepare(rows)
  return reasoning
}

async function searchWith(job: SearchJob, session: SearchSession, roles: Roles, reasoning?: Reasoning): Promise<SearchResult> {
  const { config, task, model, space, rows, guard, programs, method, allowed, growing } = job
  const { search, seed } = config
  const { folder, signal } = session
  const emit = (event: SearchEvent) => session.emit(event)
  const elapsed = () => session.elapsed()
  const budget = new Budget(search.budget, elapsed, job.spent, () => roles.outside())
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
        onProgress: (done, total) => session.progress({ what: 'rows', done, total }),
      },
    )
  }
  const onDev = new Map<string, JudgedRows>()
  const evaluateDev = async (ids: readonly number[]) => {
    const judged = await scored(task.dev, ids)
    onDev.set(keyOf(ids), judged)
    return summary(judged)
  }
  const evaluate = task.dev.length === 0 ? undefined : evaluateDev
  const keepBest = ({ ids, objective }: RankedPrompt, step: number, privacy?: PromptPrivacy) => {
    // The loss of private rows is no part of what leaves the house.
    const more = method.isPrivate ? { step, privacy: privacy ?? null } : { objective, step }
    return replaceText(join(folder, 'prompt.json'), `${JSON.stringify({ prompt: space.text(ids), ids, ...more }, null, 2)}\n`)
  }
  const heldOut = method.isPrivate ? task.dev.map((record, i) => space.row(record, i)) : []
  const reported = heldOut.length > 0 ? heldOut : rows
  const secret = method.isPrivate ? await privacyKey(folder, job.progress?.step ?? 0) : undefined
  const loop: SearchLoopOptions = {
    ...{ config, method, space, programs, objective, allowed, rows, guard, budget, evaluate, keepBest, emit, elapsed, signal },
    embedding: job.embedding,
    ...{ reasoning, heldOut, reported, secret },
    ...roles.under(budget),
    ...(growing && { growing, cases: casesOf(job, growing, session) }),
    demoOf: demonstrations(job, task),
    keepPool: pool => replaceText(join(folder, 'candidates.json'), `${JSON.stringify(poolOf(pool, space), null, 2)}\n`),
    exampleOf: ({ index }) => exampleOf(task.questions[index]!, index, config, task.labels),
    maxLength: job.maxLength,
    softPrompt: job.softPrompt,
    draft: job.draft?.scorer({ mellowmax: search.mellowmax, seconds: search.budget.seconds, elapsed, signal }),
    token: id => model.tokenizer.token(id),
    writeCheckpoint: checkpoint => session.writeCheckpoint(checkpoint),
  }

  emit({
    event: 'loaded',
    model: model.name,
    rows: { train: rows.length, dev: task.dev.length, test: task.test.length },
    steps: search.steps,
    budget: search.budget,
    ...forecastOf(config, rows.length),
    freeTokens: space.free.length,
    vocabulary: allowed.length,
    folder,
    seconds: session.sitting(),
  })
  if (job.progress === undefined && reasoning !== undefined && rows.length > 0) {
    const looked = { objective, reasoning, prompt: space.start, rows, signal }
    const found = await affordable(preflight(looked), budget)
    emit(found)
    for (const warning of preflightWarnings(found, { ...search.budget, maxNewTokens: search.maxNewTokens! })) emit(warning)
    if (search.preflight !== 'warn') refuseHopeless(found)
  }
  const progress = job.progress ?? (await begin(loop))
  const start = { ids: space.start, objective: progress.initial }
  const startKey = keyOf(space.start)
  if (evaluate !== undefined) progress.dev[startKey] ??= await evaluate(space.start)
  if (!(await session.readEvents()).some(({ event }) => event === 'initial')) {
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

  const judge = new Objective(model, programs, new Budget({}, elapsed), settings, signal, reasoning)
  const choosing = { ...loop, objective: judge }
  const made = await method.choose?.(progress.method, search, contextOf(choosing, progress.step))
  const { first, ranking } = await rankPrompts({ ...job, rows: reported }, progress, judge, evaluate, made?.ids)
  const { dev: chosenDev, ...chosen } = ranking[0]!
  const judged = await judgeChosen(job, chosen.ids, folder, scored, onDev)
  const bare = ({ dev: _, ...prompt }: RankedOnDev): JudgedPrompt => prompt
  const result: SearchResult = {
    ...chosen,
    rows: chosenDev?.rows ?? 0,
    initial: bare(first),
    ranking: ranking.map(bare),
    ...judged,
    ...(method.isPrivate && { privacy: made?.privacy ?? null }),
    steps: progress.step,
    drifted: guard.drifted,
    ...budget.spent,
    ...roles.spent(budget.spent.roles),
    seconds: elapsed(),
    peakMemory: peakMemory(),
    folder,
  }
  await keepBest({ ids: chosen.ids, objective: chosen.objective }, progress.step, made?.privacy)
  await session.writeResult(result)
  if (secret !== undefined) await forgetKey(folder)
  emit({ event: 'result', ...result })
  return result
}

const casesOf = ({ space, task }: SearchJob, growing: GrowingQuestions, session: SearchSession) =>
  new CaseFile(
    session.folder,
    caseColumns(space.columns, task.labels),
    records => growing.add(records),
    (code, message) => session.emit({ event: 'warning', code, message }),
  )

/** The first prompt's score and the method's own start. */
async function begin(loop: SearchLoopOptions): Promise<SearchProgress> {
  const start = async () => {
    // A method that makes its questions has the first of them by now.
    const growing = loop.growing && { method: await loop.method.start(loop.config.search, contextOf(loop, 0)) }
    const [score] = await loop.objective.score([loop.space.start], loop.reported)
    const method = growing?.method ?? (await loop.method.start(loop.config.search, contextOf(loop, 0)))
    const initial = score!.loss
    const begun = {
      step: 0,
      method,
      initial,
      top: [{ ids: loop.space.start, objective: initial }],
      dev: {},
      done: false,
      seconds: 0,
    }
    return loop.growing === undefined ? begun : { ...begun, grown: loop.growing.records }
  }
  return affordable(start(), loop.budget)
}

/** What has to be paid for before the first step. @throws GradpromptError `budget-too-small` */
const affordable = <Result>(work: Promise<Result>, budget: Budget): Promise<Result> =>
  work.catch((error: unknown) => {
    throw error instanceof BudgetSpent ? budget.tooSmall() : error
  })

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
