import { GradpromptError } from '../../errors.js'
import { wilsonInterval } from '../../evaluate/intervals.js'
import { mean } from '../../numbers.js'
import type { WarningEvent } from '../../store/events.js'
import type { Objective } from '../score/objective.js'
import type { Reasoning } from '../score/reasoning.js'
import type { SearchRow } from '../space/token-space.js'
import type { PreflightEvent } from './events.js'

/** Whether a search over reasoning can learn anything as it is set up: what the model makes of a few questions under the first prompt. */

/** Questions that are looked at. */
export const PREFLIGHT_ROWS = 16
/** Answers that are a closed set, at most. */
const MOST_ANSWERS = 12
/** From here on it is said. */
const MANY_CUT = 0.5
const LITTLE_MASS = 0.1
const FEW_PROMPTS = 3
/** Below this nothing tells one prompt from another. */
const NO_MASS = 1e-4

interface Looked {
  readonly objective: Objective
  readonly reasoning: Reasoning
  readonly prompt: readonly number[]
  readonly rows: readonly SearchRow[]
  readonly signal?: AbortSignal | undefined
}

/** @throws BudgetSpent; GradpromptError `aborted` */
export async function preflight({ objective, reasoning, prompt, rows, signal }: Looked): Promise<PreflightEvent> {
  const some = rows.slice(0, PREFLIGHT_ROWS)
  const [reasoned] = await reasoning.answers([prompt], some, { budget: objective.budget, signal })
  const right = reasoned!.filter(({ isRight }) => isRight).length
  const tokens = mean(reasoned!.map(({ reasoning: ids }) => ids.length))
  return {
    event: 'preflight',
    questions: some.length,
    cut: reasoned!.filter(({ isCut }) => isCut).length / some.length,
    answerMass: await answerMass(objective, prompt, some, rows),
    accuracy: { value: right / some.length, ...wilsonInterval(right, some.length) },
    tokensPerAnswer: tokens,
    tokensPerPrompt: Math.round(tokens * rows.length),
  }
}

/**
 * The probability that all answers of the questions have together behind reasoning and extractor, a mean over the questions; where there are
 * many answers, that of the right one.
 * @param some questions whose reasoning is known
 * @param all questions whose answers count
 */
export async function answerMass(
  objective: Objective,
  prompt: readonly number[],
  some: readonly SearchRow[],
  all: readonly SearchRow[],
): Promise<number> {
  const answers = new Map(all.map(({ answer }) => [answer.join(), answer]))
  const isClosed = answers.size <= MOST_ANSWERS && answers.size < all.length
  const variants = isClosed ? [...answers.values()].map(answer => some.map(row => ({ ...row, answer }))) : [some]
  const masses = some.map(() => 0)
  for (const rows of variants) {
    const [score] = await objective.scoreHeld([prompt], rows, prompt)
    for (const [i, cost] of score!.rowCosts!.entries()) masses[i]! += Math.exp(-cost * rows[i]!.answer.length)
  }
  return Math.min(1, mean(masses))
}

const percent = (share: number) => `${(100 * share).toFixed(share < 0.01 ? 2 : 0)} %`

/** What is to be said of it: with what to change. */
export function preflightWarnings(
  { questions, cut, answerMass, tokensPerPrompt }: PreflightEvent,
  { maxNewTokens, generatedTokens }: { readonly maxNewTokens: number; readonly generatedTokens?: number | undefined },
): WarningEvent[] {
  const warnings: WarningEvent[] = []
  const warn = (code: string, message: string) => warnings.push({ event: 'warning', code, message })
  if (cut >= MANY_CUT)
    warn(
      'reasonings-cut',
      `${percent(cut)} of the reasonings on ${questions} questions are cut at ${maxNewTokens} tokens: raise search.maxNewTokens (auto tries a few), or let the prompt ask for less`,
    )
  if (answerMass < LITTLE_MASS)
    warn(
      'answers-unlikely',
      `behind the extractor all answers together have a probability of ${percent(answerMass)}: let search.extractor say which form the answer has (auto tries a few)`,
    )
  if (generatedTokens !== undefined && generatedTokens < FEW_PROMPTS * tokensPerPrompt)
    warn(
      'few-prompts',
      `search.budget.generatedTokens (${generatedTokens}) pays for ${(generatedTokens / Math.max(1, tokensPerPrompt)).toFixed(1)} prompts on all questions (${tokensPerPrompt} tokens each): raise it, or lower search.questions`,
    )
  return warnings
}

/**
 * Refuses a search of which nothing can come: no answer is right, and none has a probability behind the extractor.
 * @throws GradpromptError `nothing-to-learn`
 */
export function refuseHopeless({ questions, cut, accuracy, answerMass }: PreflightEvent): void {
  if (accuracy.value > 0 || answerMass >= NO_MASS) return
  throw new GradpromptError('nothing-to-learn', 'the model gives none of the answers, so that no prompt is better than another', {
    found: `on ${questions} questions: 0 right, all answers together with a probability of ${answerMass.toExponential(1)} behind the extractor, ${percent(cut)} of the reasonings cut`,
    expected: 'answers that the model gives now and then',
    hint: 'search.extractor: auto and search.maxNewTokens: auto try a few; --search.preflight warn searches nevertheless',
    exitCode: 1,
  })
}
