import { batchOrder } from '../../data/batches.js'
import type { DataRecord } from '../../data/readers/records.js'
import { GradpromptError, refuseAborted } from '../../errors.js'
import type { Evaluation } from '../../evaluate/score.js'
import { randomGenerator, streams } from '../../random.js'
import type { Checkpoint, NamedTensor } from '../../store/checkpoints.js'
import type { SearchConfig } from '../config.js'
import { type DriftGuard, rankCorrelation } from '../moves/drift.js'
import type { Member } from '../moves/member.js'
import type { Example, ScoredCandidate, SearchContext, SearchMethod, SearchState } from '../moves/method.js'
import type { CaseBook } from '../moves/writer.js'
import { type Budget, BudgetSpent, type Spending } from '../score/budget.js'
import type { DraftScorer } from '../score/draft.js'
import type { Embedding } from '../score/embedding.js'
import type { Objective } from '../score/objective.js'
import type { SearchPrograms } from '../score/programs.js'
import type { Reasoning } from '../score/reasoning.js'
import type { Candidate } from '../space/candidates.js'
import { keyOf, type SearchRow, type TokenSpace } from '../space/token-space.js'
import type { SearchEvent, SwapReport } from './events.js'
import type { GrowingQuestions } from './growing-questions.js'
import type { RoundJudge, RoundWriter } from './roles.js'

/** A prompt with its loss over the questions. */
export interface RankedPrompt {
  readonly ids: readonly number[]
  readonly objective: number
}

/** Everything that changes in a search: what a checkpoint holds. */
export interface SearchProgress {
  /** Steps done. */
  step: number
  method: SearchState
  /** Loss of the first prompt over all questions. */
  initial: number
  /** The best distinct prompts so far, best first. */
  top: RankedPrompt[]
  /** Dev evaluations by the prompt's ids. */
  dev: Record<string, Evaluation>
  done: boolean
  seconds: number
  /** Questions that have come up. */
  grown?: readonly DataRecord[]
}

export interface SearchLoopOptions {
  readonly config: SearchConfig
  readonly method: SearchMethod
  readonly space: TokenSpace
  readonly objective: Objective
  readonly reasoning: Reasoning | undefined
  /** Of methods that let a model write. */
  readonly writer: RoundWriter | undefined
  readonly judge: RoundJudge | undefined
  readonly heldOut: readonly SearchRow[]
  /** The rows that the first prompt's loss and the result's are of. */
  readonly reported: readonly SearchRow[]
  readonly secret: Uint8Array | undefined
  /** Of methods that make questions of their own. */
  readonly cases?: CaseBook | undefined
  readonly growing?: GrowingQuestions | undefined
  readonly exampleOf: (row: SearchRow) => Example
  readonly demoOf: SearchContext['demoOf']
  /** Keeps all that a method has tried. */
  readonly keepPool: (pool: readonly Member[]) => Promise<void>
  readonly maxLength: number
  readonly embedding: Embedding
  readonly programs: SearchPrograms
  readonly allowed: Int32Array
  readonly rows: readonly SearchRow[]
  readonly guard: DriftGuard
  readonly budget: Budget
  readonly softPrompt: Float32Array | undefined
  readonly draft: DraftScorer | undefined
  readonly token: (id: number) => string
  /** Scores a prompt on the dev rows, where there are some. */
  readonly evaluate: ((ids: readonly number[]) => Promise<Evaluation>) | undefined
  readonly writeCheckpoint: (checkpoint: Checkpoint) => Promise<void>
  /** Called whenever there is a new best prompt. */
  readonly keepBest: (best: RankedPrompt, step: number) => Promise<void>
  readonly emit: (event: SearchEvent) => void
  readonly elapsed: () => number
  readonly signal: AbortSignal | undefined
}

const SHORTLIST = 5
const EVALUATIONS = 5
const SECONDS_BETWEEN_CHECKPOINTS = 30

/** What a step of a search works with; everything random is a function of seed and step. */
export function contextOf(options: SearchLoopOptions, step: number): SearchContext {
  const { config, objective, guard, rows, space } = options
  const words = new Set(options.allowed)
  const { batchSize, steps } = config.search
  const isBatched = batchSize !== undefined && batchSize < rows.length
  const order = isBatched ? batchOrder({ rows: rows.length, batchSize, seed: config.seed }).at(step) : undefined
  const own = order?.map(i => rows[i]!) ?? rows
  return {
    ...options,
    rows: own,
    questions: rows,
    isBatched,
    seed: config.seed,
    step,
    steps,
    random: (...stream) => randomGenerator(config.seed, streams.search, step, ...stream),
    mayHold: ids => {
      if (config.search.vocabulary === 'any') return space.isPlain(ids)
      return space.freeOf(ids).every(position => words.has(ids[position]!))
    },
    readsBack: ids => config.search.drift !== 'drop' || guard.counted(ids),
    settled: (from, swaps) => guard.settled(from, swaps),
    guess: candidates =>
      objective.guess(
        candidates.map(({ ids }) => ids),
        own,
      ),
    async score(candidates: readonly Candidate[], scoredOn: readonly SearchRow[] = own): Promise<ScoredCandidate[]> {
      const { candidates: kept, penalties } = guard.admitted(candidates)
      if (kept.length === 0) return []
      const scores = await objective.score(
        kept.map(({ ids }) => ids),
        scoredOn,
      )
      const scored = kept.map((candidate, i) => ({ ...candidate, ...scores[i]!, loss: scores[i]!.loss + penalties[i]! }))
      const bad = scored.find(({ loss }) => !Number.isFinite(loss))
      if (bad !== undefined) throw notFinite(bad.loss)
      return scored.sort((a, b) => a.loss - b.loss)
    },
  }
}

/**
 * Runs optimisation steps until `search.steps` are done, the method says that it is, or the budget is spent, and leaves a checkpoint.
 * @throws GradpromptError `budget-too-small`, `all-candidates-drift`, `not-finite`, `aborted`: the search can go on from its last checkpoint
 */
export async function searchPrompts(progress: SearchProgress, options: SearchLoopOptions): Promise<void> {
  const { config, method, space, budget, guard, emit, elapsed, signal } = options
  const { steps, evaluateEvery, checkpointEvery } = config.search
  const every = evaluateEvery ?? Math.max(1, Math.ceil(steps / EVALUATIONS))
  let saved = progress.step
  // Entries that finished steps have made: those of an abandoned one are made again.
  let reasoned = options.reasoning?.size
  let savedAt = performance.now()

  const save = async () => {
    if (progress.step <= saved) return
    progress.seconds = elapsed()
    await options.writeCheckpoint(checkpointOf(progress, budget.spent, guard.drifted, reasoned))
    saved = progress.step
    savedAt = performance.now()
    emit({ event: 'checkpoint', step: saved })
  }

  while (progress.step < steps && !progress.done && !budget.isSpent) {
    const context = contextOf(options, progress.step)
    const counted = { drifted: guard.drifted, spent: { ...budget.spent } }
    const grown = options.growing?.count
    let outcome: Awaited<ReturnType<SearchMethod['step']>>
    try {
      refuseAborted(signal)
      options.reasoning?.beginRound()
      options.writer?.beginRound(progress.step)
      options.judge?.beginRound(progress.step)
      outcome = await method.step(progress.method, config.search, context)
    } catch (error) {
      options.growing?.cut(grown!)
      if (error instanceof BudgetSpent) break
      // What an abandoned step has counted is taken back, so that a resumed search counts it once.
      guard.drifted = counted.drifted
      Object.assign(budget.spent, counted.spent)
      await save()
      throw error
    }
    progress.method = outcome.state
    progress.done = outcome.done ?? false
    if (options.growing !== undefined) progress.grown = options.growing.records
    progress.step++
    reasoned = options.reasoning?.size
    const before = progress.top[0]
    const found = outcome.candidates.filter(candidate => isFaithful(candidate, options)).map(rankedOf)
    const earlier = outcome.renewed === true && found.length > 0 ? [] : progress.top
    progress.top = ranked([...earlier, ...found], config.search.rerank)
    const best = progress.top[0]!
    if (best !== before) await options.keepBest(best, progress.step)
    if (outcome.pool !== undefined) await options.keepPool(outcome.pool)
    const report = (candidate: ScoredCandidate): SwapReport => swapReport(candidate, outcome.accepted, options.token)
    const considered = outcome.accepted ?? outcome.candidates[0]
    emit({
      event: 'step',
      step: progress.step,
      prompt: space.text(outcome.prompt),
      ids: outcome.prompt,
      objective: outcome.objective,
      best: { prompt: space.text(best.ids), objective: best.objective },
      swap: considered === undefined ? null : report(considered),
      shortlist: [
        ...outcome.candidates.slice(0, SHORTLIST).map(report),
        ...(outcome.eliminated ?? []).map(candidate => ({ ...report(candidate), questions: candidate.questions })),
      ],
      candidates: outcome.candidates.length,
      rankCorrelation: rankCorrelation(outcome.candidates),
      drifted: guard.drifted,
      ...budget.spent,
      ...(outcome.figures && Object.keys(outcome.figures).length > 0 && { figures: outcome.figures }),
      seconds: elapsed(),
    })
    if (progress.step % every === 0) await evaluateBest(progress, options)
    const due =
      checkpointEvery === undefined
        ? performance.now() - savedAt > SECONDS_BETWEEN_CHECKPOINTS * 1000
        : progress.step % checkpointEvery === 0
    if (due) await save()
  }
  if (progress.step === 0 && budget.isSpent) throw budget.tooSmall()
  await save()
}

/** The dev metrics of the best prompt so far, unless they are known. */
async function evaluateBest(progress: SearchProgress, { evaluate, emit, space, elapsed }: SearchLoopOptions): Promise<void> {
  const best = progress.top[0]!
  const key = keyOf(best.ids)
  if (evaluate === undefined || progress.dev[key] !== undefined) return
  const evaluation = await evaluate(best.ids)
  progress.dev[key] = evaluation
  emit({
    event: 'dev',
    step: progress.step,
    prompt: space.text(best.ids),
    metrics: evaluation.metrics,
    rows: evaluation.rows,
    seconds: elapsed(),
  })
}

/** The `count` best distinct prompts, best first; of equals the earlier. */
export function ranked(prompts: readonly RankedPrompt[], count: number): RankedPrompt[] {
  const kept = new Map<string, RankedPrompt>()
  for (const prompt of prompts) {
    const key = keyOf(prompt.ids)
    const known = kept.get(key)
    if (known === undefined || prompt.objective < known.objective) kept.set(key, prompt)
  }
  return [...kept.values()].sort((a, b) => a.objective - b.objective).slice(0, count)
}

const rankedOf = ({ ids, loss }: ScoredCandidate): RankedPrompt => ({ ids, objective: loss })

/** Only a prompt that reads back can be the result; with `drop` no other is scored. */
const isFaithful = ({ ids }: ScoredCandidate, { config, guard }: SearchLoopOptions) =>
  config.search.drift === 'drop' || guard.readsBack(ids)

function swapReport(
  candidate: ScoredCandidate,
  accepted: ScoredCandidate | undefined,
  token: (id: number) => string,
): SwapReport {
  const [first] = candidate.swaps
  return {
    position: first?.position ?? -1,
    from: textOf(first?.from, token),
    to: textOf(first?.to, token),
    changed: candidate.swaps.length,
    gradientScore: candidate.gradientScore ?? null,
    exactScore: candidate.loss,
    accepted: candidate === accepted,
  }
}

const textOf = (id: number | null | undefined, token: (id: number) => string) => (typeof id === 'number' ? token(id) : '')

/** Arrays of numbers among a method's state go into the checkpoint as tensors, the rest as JSON. */
function checkpointOf({ step, method, ...state }: SearchProgress, spent: Spending, drifted: number, reasoned = 0): Checkpoint {
  const tensors = Object.entries(method).flatMap(([name, data]) =>
    data instanceof Float32Array ? [{ name, shape: [data.length], data }] : [],
  )
  const plain = Object.fromEntries(Object.entries(method).filter(([, value]) => !(value instanceof Float32Array)))
  return { step, tensors, state: { ...state, method: plain, spent, drifted, reasoned } }
}

/** What a checkpoint holds beside the steps. */
export interface Stored {
  readonly progress: SearchProgress
  readonly spent: Spending
  readonly drifted: number
  /** Entries of what the model has written. */
  readonly reasoned: number
}

/** What a checkpoint holds, as it was. */
export function progressOf(checkpoint: Checkpoint): Stored {
  const { method, spent, drifted, reasoned, ...state } = checkpoint.state as Omit<SearchProgress, 'step'> &
    Omit<Stored, 'progress'>
  const tensors = Object.fromEntries(checkpoint.tensors.map(({ name, data }: NamedTensor) => [name, data]))
  return { progress: { ...state, step: checkpoint.step, method: { ...method, ...tensors } }, spent, drifted, reasoned }
}

const notFinite = (loss: number) =>
  new GradpromptError('not-finite', 'the loss of a prompt is not a finite number', {
    found: String(loss),
    hint: 'the weights may hold numbers that are too large',
    exitCode: 1,
  })
