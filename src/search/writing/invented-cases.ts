import { cleaned } from '../../synthesis/asks.js'
import { alike, piecesOf } from '../../synthesis/similarity.js'
import type { Member } from '../moves/member.js'
import type { SearchContext } from '../moves/method.js'
import type { WrittenCase } from '../moves/writer.js'
import { draw } from '../space/candidates.js'
import type { SearchRow } from '../space/token-space.js'
import { type Classes, caseAsks } from './case-asks.js'

/** Questions that a model makes for a search: texts near the border of two classes, of which somebody else says the labels. */

/** Times that a batch is asked for what is missing of it. */
export const ROUNDS = 3
/** Texts of people that are shown: one at least, where there are any. */
const REAL = 3
/** Mistakes of a class, under one prompt, that new texts are made after. */
const FED = 2

export interface Wanted {
  /** Prompts whose mistakes are shown. */
  readonly tried: readonly Member[]
  /** Of the questions, the first that people have written. */
  readonly real: number
  /** Texts that are wanted. */
  readonly cases: number
  /** From which share of common runs of three words on two texts are one. */
  readonly similar: number
  readonly temperature: number
  readonly maxCaseTokens: number
}

/** Texts of a batch, as many of each class, none like another that is there. */
export async function invented(
  classes: Classes,
  { tried, real, cases, similar, temperature, maxCaseTokens }: Wanted,
  context: SearchContext,
): Promise<readonly WrittenCase[]> {
  const { labels } = classes
  const rows = context.questions
  const known = [...rows.slice(0, real).map(row => context.exampleOf(row).input), ...(await context.cases!.texts())].map(piecesOf)
  const mistakes = mistakesUnder(tried, rows, labels, context)
  const people = rows.slice(0, real)
  const kept: WrittenCase[] = []
  // What does not come out even is of the first classes.
  const wanted = (label: string) => Math.floor(cases / labels.length) + Number(labels.indexOf(label) < cases % labels.length)
  for (let round = 0; round < ROUNDS && kept.length < cases; round++) {
    const due = labels.flatMap(label => {
      const missing = wanted(label) - kept.filter(({ asked }) => asked === label).length
      return Array.from({ length: missing }, () => label)
    })
    const asks = due.map((label, i) => {
      const others = labels.filter(other => other !== label)
      const real = draw(people, Math.min(REAL, people.length), context.random(2, round, i)).map(
        row => context.exampleOf(row).input,
      )
      return caseAsks.invent(classes, label, others[(round + i) % others.length] ?? label, { real, mistakes, way: round + i })
    })
    const written = await context.writer!.write(asks, { temperature, maxWrittenTokens: maxCaseTokens })
    for (const [i, reply] of written.entries()) {
      const text = cleaned(reply.replace(/<\/?text>[\s\S]*$/u, ''))
      if (text === undefined || labels.some(label => label.toLowerCase() === text.toLowerCase().replace(/\W+$/u, ''))) continue
      const pieces = piecesOf(text)
      if (known.some(other => alike(other, pieces) >= similar)) continue
      known.push(pieces)
      kept.push({ text, asked: due[i]! })
    }
  }
  return kept
}

/** Questions that prompts were wrong on, a few of each class and prompt, each once. */
function mistakesUnder(
  tried: readonly Member[],
  rows: readonly SearchRow[],
  labels: readonly string[],
  context: SearchContext,
): { input: string; output: string }[] {
  const found = new Map<number, { input: string; output: string }>()
  for (const [i, { losses }] of tried.entries())
    for (const [j, label] of labels.entries()) {
      const wrong = rows.filter(row => (losses[row.index] ?? 0) >= 0.5 && context.exampleOf(row).output === label)
      for (const row of draw(wrong, Math.min(FED, wrong.length), context.random(3, i, j)))
        found.set(row.index, context.exampleOf(row))
    }
  return [...found.values()]
}
