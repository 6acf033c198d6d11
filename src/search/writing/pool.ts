import { mean } from '../../numbers.js'
import { shuffle, streams } from '../../random.js'
import type { Member } from '../moves/member.js'
import type { EliminatedCandidate, ScoredCandidate, SearchContext, StepOutcome } from '../moves/method.js'
import type { SearchRow } from '../space/token-space.js'
import { replaced } from './written-prompts.js'

/** What searches by whole texts share: parts of the questions, scores that are taken once, and what a step reports of its prompts. */

/** Questions whose mistakes the optimiser may see, and others that alone say which prompt is better. */
export interface Parts {
  readonly feedback: readonly SearchRow[]
  readonly select: readonly SearchRow[]
}

/**
 * The questions in two parts, the same in every step.
 * @param count of the first part; by default half. At least one question is in each; a single one is in both.
 */
export function partsOf({ questions, seed }: Pick<SearchContext, 'questions' | 'seed'>, count?: number): Parts {
  if (questions.length < 2) return { feedback: questions, select: questions }
  const order = shuffle(questions, seed, streams.feedback)
  const cut = Math.min(Math.max(1, count ?? Math.floor(questions.length / 2)), questions.length - 1)
  const byIndex = (rows: readonly SearchRow[]) => [...rows].sort((a, b) => a.index - b.index)
  return { feedback: byIndex(order.slice(0, cut)), select: byIndex(order.slice(cut)) }
}

/** Texts and examples as one text, in paragraphs. */
export const assembled = (components: readonly string[], demos: readonly string[]): string =>
  [...components.filter(text => text !== ''), ...demos].join('\n\n')

/** The texts of a prompt: its paragraphs. */
export const componentsOf = (text: string): string[] => text.split(/\n\s*\n/u).map(part => part.trim())

/** The first prompt. */
export const founder = ({ space }: SearchContext): Member => ({
  ...{ id: 0, parents: [], origin: 'start', components: componentsOf(space.wordingOf(space.start)), demos: [] },
  ...{ ids: space.start, losses: {}, costs: {} },
})

/** What is new of a prompt that has not been tried. */
export type Draft = Pick<Member, 'parents' | 'origin' | 'components' | 'demos'>

export interface Admitted {
  readonly members: readonly Member[]
  readonly refused: { readonly unfit: number; readonly repeated: number; readonly drifted: number }
}

/**
 * Drafts as members that can be scored: of the vocabulary, short enough for every row, unlike all others, and read back as they are written.
 * @param pool all that was tried; new ones are numbered behind them
 */
export function admitted(
  drafts: readonly Draft[],
  pool: readonly Member[],
  context: SearchContext,
  textsOf: (draft: Draft) => readonly string[] = ({ demos }) => demosOf(demos, context),
): Admitted {
  const { space, questions, maxLength, mayHold, readsBack } = context
  const seen = new Set(pool.map(({ ids }) => ids.join()))
  const members: Member[] = []
  const refused = { unfit: 0, repeated: 0, drifted: 0 }
  for (const draft of drafts) {
    const ids = space.rewritten(assembled(draft.components, textsOf(draft)), questions[0]!)
    const key = ids.join()
    if (ids.length === 0 || ids.length > maxLength || !mayHold(ids)) refused.unfit++
    else if (seen.has(key)) refused.repeated++
    else if (!readsBack(ids)) refused.drifted++
    else members.push({ id: pool.length + members.length, ...draft, ids, losses: {}, costs: {} })
    seen.add(key)
  }
  return { members, refused }
}

/** Examples as they stand in a prompt. */
export const demosOf = (demos: readonly number[], { questions, demoOf }: SearchContext): string[] => {
  const byIndex = new Map(questions.map(row => [row.index, row]))
  return demos.map(index => demoOf(byIndex.get(index)!).trim())
}

/**
 * Members with their scores on these rows; what is known is not computed again. Those whose missing rows are the same are scored together.
 * @throws BudgetSpent; GradpromptError `aborted`, `not-finite`
 */
export async function measured(
  members: readonly Member[],
  rows: readonly SearchRow[],
  context: SearchContext,
): Promise<Member[]> {
  const groups = new Map<string, { rows: SearchRow[]; members: Member[] }>()
  for (const member of members) {
    const due = rows.filter(({ index }) => member.losses[index] === undefined)
    if (due.length === 0) continue
    const key = due.map(({ index }) => index).join()
    const group = groups.get(key) ?? { rows: due, members: [] }
    group.members.push(member)
    groups.set(key, group)
  }
  const scored = new Map<number, Member>()
  for (const { rows: due, members: own } of groups.values()) {
    const scores = await context.score(
      own.map(({ ids }) => ({ ids, swaps: [] })),
      due,
    )
    const byIds = new Map(scores.map(score => [score.ids.join(), score]))
    for (const member of own) {
      const score = byIds.get(member.ids.join())
      if (score === undefined) continue
      const entries = (values: readonly number[]) => Object.fromEntries(due.map(({ index }, i) => [index, values[i]!]))
      const losses = { ...member.losses, ...entries(score.rowLosses) }
      const costs = { ...member.costs, ...entries(score.rowCosts ?? score.rowLosses) }
      scored.set(member.id, { ...member, losses, costs })
    }
  }
  return members.map(member => scored.get(member.id) ?? member)
}

const valuesOf = (values: Readonly<Record<string, number>>, rows: readonly SearchRow[]) =>
  rows.flatMap(({ index }) => values[index] ?? [])

/** Mean over rows that a member was scored on. */
export const lossOf = ({ losses }: Member, rows: readonly SearchRow[]): number => mean(valuesOf(losses, rows))
export const costOf = ({ costs }: Member, rows: readonly SearchRow[]): number => mean(valuesOf(costs, rows))

export const isMeasured = ({ losses }: Member, rows: readonly SearchRow[]): boolean =>
  rows.every(({ index }) => losses[index] !== undefined)

/** By loss, of equals by the likelihood of the right answers, of equals the earlier. */
export const bySelection =
  (rows: readonly SearchRow[]) =>
  (a: Member, b: Member): number =>
    lossOf(a, rows) - lossOf(b, rows) || costOf(a, rows) - costOf(b, rows) || a.id - b.id

/** A pool with some of its members replaced by what became of them, and others added. */
export function updated(pool: readonly Member[], changed: readonly Member[]): Member[] {
  const byId = new Map([...pool, ...changed].map(member => [member.id, member]))
  return [...byId.values()].sort((a, b) => a.id - b.id)
}

/** A member as a step reports it. */
export function reported(member: Member, rows: readonly SearchRow[], { space }: SearchContext): ScoredCandidate {
  const rowLosses = valuesOf(member.losses, rows)
  const exactRows = rowLosses.filter(loss => loss <= 0).length / Math.max(1, rowLosses.length)
  return { ...replaced(space.start, member.ids), ...{ loss: mean(rowLosses), rowLosses, exact: exactRows === 1, exactRows } }
}

/** What a step over a pool reports: of the tried ones those that were scored on all of `select` count, the others were given up. */
export function poolOutcome<State>(
  state: State,
  pool: readonly Member[],
  tried: readonly Member[],
  select: readonly SearchRow[],
  context: SearchContext,
  figures: Readonly<Record<string, number>>,
  more: { readonly best?: Member; readonly done?: boolean } = {},
): StepOutcome<State> {
  const whole = pool.filter(member => isMeasured(member, select)).sort(bySelection(select))
  const best = more.best ?? whole[0]!
  const scored = tried.filter(member => isMeasured(member, select) && member.id !== 0).sort(bySelection(select))
  const candidates = scored.map(member => reported(member, select, context))
  const eliminated = tried
    .filter(member => !isMeasured(member, select) && Object.keys(member.losses).length > 0)
    .map((member): EliminatedCandidate => {
      const own = context.questions.filter(({ index }) => member.losses[index] !== undefined)
      return { ...reported(member, own, context), questions: own.length }
    })
  const accepted = candidates[scored.findIndex(({ id }) => id === best.id)]
  return {
    ...{ state, prompt: best.ids, objective: lossOf(best, select), candidates, eliminated, figures, pool },
    ...(accepted && { accepted }),
    ...(more.done !== undefined && { done: more.done }),
  }
}

/** A score between 0 and 1, of which more is better: the share of right answers, or what a likelihood comes to. */
export function goodness(member: Member, rows: readonly SearchRow[], { objective }: Pick<SearchContext, 'objective'>): number {
  const { measure } = objective.options
  const loss = lossOf(member, rows)
  return measure === 'mistakes' || measure === 'probability' ? 1 - loss : Math.exp(-Math.max(0, loss))
}
