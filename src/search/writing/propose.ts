import { readReply } from '../../data/texts/reply.js'
import type { SearchContext } from '../moves/method.js'
import type { Ask, WritingOptions } from '../moves/writer.js'
import { beginnings } from './written-prompts.js'

/** What became of replies: how many of what was asked could not be used, and why. */
export type Refusals = {
  readonly written: number
  /** Replies in which there is no prompt. */
  readonly unread: number
  /** Too long, or with tokens that the vocabulary leaves out. */
  readonly unfit: number
  /** Tried before. */
  readonly repeated: number
  /** Read by the tokenizer as other tokens. */
  readonly drifted: number
  /** Five words in a row of one question that was shown. */
  readonly copied: number
}

const none: Refusals = { written: 0, unread: 0, unfit: 0, repeated: 0, drifted: 0, copied: 0 }

/** A step's figures, with the share of replies that were refused. */
export function refusalFigures(parts: readonly Partial<Refusals>[]): Refusals & { rejected: number } {
  const sum = { ...none }
  for (const part of parts) for (const name of Object.keys(none) as (keyof Refusals)[]) sum[name] += part[name] ?? 0
  const { written, ...refused } = sum
  return { ...sum, rejected: Object.values(refused).reduce((total, count) => total + count, 0) / Math.max(1, written) }
}

/**
 * Lets the optimiser write texts.
 * @returns of each ask the text in its reply, within `maxPromptTokens`; undefined where it is of no use
 * @throws as `Writer.write` does
 */
export async function proposed(
  asks: readonly Ask[],
  options: WritingOptions & { readonly maxPromptTokens: number },
  context: SearchContext,
): Promise<{ texts: (string | undefined)[]; figures: Partial<Refusals> }> {
  if (asks.length === 0) return { texts: [], figures: {} }
  const replies = await context.writer!.write(asks, options)
  const figures = { written: asks.length, unread: 0, unfit: 0, copied: 0 }
  const copies = copiedFrom(context)
  const texts = replies.map((reply, i) => {
    const text = readReply(asks[i]!.begin + reply)
    if (text === undefined) {
      figures.unread++
      return undefined
    }
    const fitting = beginnings(text).find(part => isWithin(part, options.maxPromptTokens, context))
    if (fitting === undefined) figures.unfit++
    else if (copies(fitting)) figures.copied++
    else return fitting
    return undefined
  })
  return { texts, figures }
}

/** The free part alone counts: frozen text is as it is. */
function isWithin(text: string, most: number, { space, questions }: SearchContext): boolean {
  const around = space.start.length - space.free.length
  return space.rewritten(text, questions[0]!).length - around <= most
}

const GRAM = 5

/** Whether a text repeats five words in a row that one question has and no other: what several have is the task's own wording. */
function copiedFrom({ questions, exampleOf }: SearchContext): (text: string) => boolean {
  const owners = new Map<string, number>()
  for (const row of questions)
    for (const gram of new Set(grams(exampleOf(row).input))) owners.set(gram, (owners.get(gram) ?? 0) + 1)
  return text => grams(text).some(gram => owners.get(gram) === 1)
}

function grams(text: string): string[] {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
  return Array.from({ length: Math.max(0, words.length - GRAM + 1) }, (_, i) => words.slice(i, i + GRAM).join(' '))
}
