import { z } from 'zod'
import { shuffle, streams } from '../../data/random.js'
import type { PromptScore } from '../score/objective.js'
import type { Candidate } from '../space/candidates.js'
import type { EliminatedCandidate, SearchContext } from './method.js'

/** `all`: every prompt on every question. `halving`: the worse half goes after each block. `ucb`: a bandit says which go on. */
export const selections = ['all', 'halving', 'ucb'] as const

export const selectionOptions = {
  blocks: z.int().min(1).default(4).describe('blocks of questions that prompts are scored on one after the other'),
  exploration: z
    .number()
    .min(0)
    .default(0.5)
    .describe('of selection: ucb, how much a prompt gains by being little known, in units of the loss'),
}

interface SelectionOptions {
  readonly selection: (typeof selections)[number]
  readonly blocks: number
  readonly exploration: number
}

/** A candidate with its scores so far. */
class Arm {
  private readonly scores: PromptScore[] = []
  constructor(readonly candidate: Candidate) {}

  get pulls(): number {
    return this.scores.length
  }
  get rowLosses(): number[] {
    return this.scores.flatMap(({ rowLosses }) => rowLosses)
  }
  get loss(): number {
    return this.weighed(({ loss }) => loss)
  }
  add(score: PromptScore): void {
    this.scores.push(score)
  }
  /** What is reported of a candidate that is given up. */
  get eliminated(): EliminatedCandidate {
    const { rowLosses } = this
    return {
      ...this.candidate,
      ...{ loss: this.loss, rowLosses, questions: rowLosses.length },
      exact: this.scores.every(({ exact }) => exact),
      exactRows: this.weighed(({ exactRows }) => exactRows),
    }
  }
  private weighed(value: (score: PromptScore) => number): number {
    const sum = this.scores.reduce((sum, score) => sum + value(score) * score.rowLosses.length, 0)
    return sum / this.rowLosses.length
  }
}

/**
 * The most promising `count` of many candidates, on fewer questions than all: successive halving (Jamieson and Talwalkar 2016), or the
 * upper confidence bounds of a bandit (Auer et al. 2002), as ProTeGi selects its beam. All see the questions in the same order, which is
 * drawn anew for each step, so that they are compared on the same ones.
 */
export async function preselect(
  candidates: readonly Candidate[],
  count: number,
  { selection, blocks, exploration }: SelectionOptions,
  { objective, rows, seed, step }: SearchContext,
): Promise<{ kept: Candidate[]; eliminated: EliminatedCandidate[] }> {
  if (selection === 'all' || candidates.length <= count) return { kept: [...candidates], eliminated: [] }
  const order = shuffle([...rows.keys()], seed, streams.selection, step)
  const size = Math.ceil(rows.length / blocks)
  const parts = Array.from({ length: Math.ceil(rows.length / size) }, (_, i) =>
    order.slice(i * size, (i + 1) * size).sort((a, b) => a - b),
  )
  /** The next block of each. */
  const pull = async (pulled: readonly Arm[]) => {
    const groups = parts.map((part, block) => ({ part, due: pulled.filter(({ pulls }) => pulls === block) }))
    for (const { part, due } of groups.filter(({ due }) => due.length > 0)) {
      const prompts = due.map(({ candidate }) => candidate.ids)
      const scores = await objective.score(
        prompts,
        part.map(i => rows[i]!),
      )
      for (const [i, arm] of due.entries()) arm.add(scores[i]!)
    }
  }
  const arms = candidates.map(candidate => new Arm(candidate))
  await pull(arms)
  let left = arms
  if (selection === 'halving')
    for (let block = 1; block < parts.length && left.length > count; block++) {
      left = best(left).slice(0, Math.max(count, Math.ceil(left.length / 2)))
      if (left.length > count) await pull(left)
    }
  else
    for (let pulls = arms.length; pulls < (arms.length * parts.length) / 2; pulls += count) {
      const bound = ({ loss, pulls: own }: Arm) => loss - exploration * Math.sqrt(Math.log(pulls) / own)
      const open = arms.filter(arm => arm.pulls < parts.length).sort((a, b) => bound(a) - bound(b))
      if (open.length === 0) break
      await pull(open.slice(0, count))
    }
  const kept = best(left).slice(0, count)
  return {
    kept: kept.map(({ candidate }) => candidate),
    eliminated: best(arms.filter(arm => !kept.includes(arm))).map(arm => arm.eliminated),
  }
}

const best = (arms: readonly Arm[]) => [...arms].sort((a, b) => a.loss - b.loss)
