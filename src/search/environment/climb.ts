import { readReply } from '../../data/texts/reply.js'
import { mean } from '../../numbers.js'
import { shuffle } from '../../random.js'
import { metaAsks } from '../writing/meta-asks.js'
import { type Environment, type Episode, play, type Speak } from './environment.js'

/** PROMST over an environment: failed episodes are gathered by their kind, summarised, and a rewrite heeds all summaries. */

/** A prompt that was tried: its lineage, and the score of every episode that it played, for ever. */
export interface Tried {
  readonly id: number
  readonly parent: number | null
  readonly text: string
  /** By the episode's seed. */
  readonly scores: Readonly<Record<string, number>>
}

export interface ClimbOptions {
  readonly children: number
  readonly selected: number
  readonly kinds: number
  /** Failures of a kind that are shown for one rewrite. */
  readonly shown: number
  /** Prompts that are rewritten, at most. */
  readonly steps: number
  readonly seed: number
  /** Seeds of episodes whose failures are explained, and of others that score prompts. */
  readonly feedback: readonly number[]
  readonly select: readonly number[]
}

export interface ClimbStep {
  readonly step: number
  readonly parent: number
  /** Mean scores of the new prompts, in their order. */
  readonly scores: readonly number[]
  readonly best: number
  /** Failures of the parent by their kinds. */
  readonly failures: Readonly<Record<string, number>>
  /** Replies without a new prompt in them. */
  readonly refused: number
}

export interface ClimbWorld<State> {
  readonly environment: Environment<State>
  readonly speak: Speak
  /** What the optimiser says to an ask. @param place its step, child and number */
  readonly write: (ask: string, place: readonly number[]) => Promise<string>
  readonly onStep?: ((step: ClimbStep) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export const scoreOf = ({ scores }: Tried, seeds: readonly number[]): number => mean(seeds.map(seed => scores[seed]!))

/** Failures by kind, the most frequent first; of equals the one that was met first. */
export function failuresOf(episodes: readonly Episode[], kinds: number): [kind: string, texts: string[]][] {
  const found = new Map<string, string[]>()
  for (const { failure } of episodes) if (failure) found.set(failure.kind, [...(found.get(failure.kind) ?? []), failure.text])
  return [...found].sort(([, a], [, b]) => b.length - a.length).slice(0, kinds)
}

/** @returns all prompts that were tried, the first one first; none is rewritten under which nothing fails */
export async function climb<State>(start: string, options: ClimbOptions, world: ClimbWorld<State>): Promise<Tried[]> {
  const { children, selected, kinds, shown, steps, seed, feedback, select } = options
  const { environment, speak, write, onStep, signal } = world
  const episodesOf = (text: string, seeds: readonly number[]) =>
    Promise.all(seeds.map(seed => play(environment, text, seed, { speak, signal })))
  const tried: Tried[] = []
  const add = async (text: string, parent: number | null): Promise<Tried> => {
    const episodes = await episodesOf(text, select)
    const scores = Object.fromEntries(episodes.map(({ seed, score }) => [seed, score]))
    const one = { id: tried.length, parent, text, scores }
    tried.push(one)
    return one
  }
  const due = [await add(start, null)]
  const best = () => tried.reduce((best, one) => (scoreOf(one, select) > scoreOf(best, select) ? one : best))
  for (let step = 0; step < steps; step++) {
    const parent = due.shift()
    if (parent === undefined) break
    const episodes = await episodesOf(parent.text, feedback)
    const all = failuresOf(episodes, Number.POSITIVE_INFINITY)
    const fresh: Tried[] = []
    let refused = 0
    for (let child = 0; all.length > 0 && child < children; child++) {
      const buckets = failuresOf(shuffle(episodes, seed, step, child), kinds)
      const summaries: string[] = []
      for (const [i, [kind, texts]] of buckets.entries()) {
        const ask = `A language model was given this instruction:\n"""\n${parent.text}\n"""\n\nWhat went wrong under it, several times: ${kind}.\n\n${texts.slice(0, shown).join('\n')}\n\nSay in one or two sentences what these failures have in common, and what would prevent them.`
        summaries.push((await write(ask, [step, child, i])).trim())
      }
      const ancestors: string[] = []
      for (let up = parent.parent; up !== null; up = tried[up]!.parent) ancestors.unshift(tried[up]!.text)
      const { ask } = metaAsks.mend(parent.text, summaries, ancestors)
      const text = readReply(await write(ask, [step, child, buckets.length]))
      if (text === undefined || tried.some(one => one.text === text)) refused++
      else fresh.push(await add(text, parent.id))
    }
    const sorted = [...fresh].sort((a, b) => scoreOf(b, select) - scoreOf(a, select) || a.id - b.id)
    due.unshift(...sorted.slice(0, selected))
    onStep?.({
      ...{ step: step + 1, parent: parent.id, scores: fresh.map(one => scoreOf(one, select)), best: best().id, refused },
      failures: Object.fromEntries(all.map(([kind, texts]) => [kind, texts.length])),
    })
  }
  return tried
}
