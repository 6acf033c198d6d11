import { poissonSample, uniforms } from '../../train/privacy/secret.js'
import type { Ask } from '../moves/writer.js'
import { type Case, shownCase } from '../writing/critic.js'
import type { VotingPlan } from './plan.js'

/** Who votes for a token: members that each see rows that no other sees. */

/**
 * Draws the members of a vote. Each row takes part by its own chance and goes to a member by its own draw, so that a row that is added changes
 * one member and leaves all others as they were; groups of one size would shift them all. Members without rows do not vote.
 * @returns of each member the places of its rows
 */
export function drawnMembers(
  rows: number,
  { rate, members, demonstrations }: Pick<VotingPlan, 'rate' | 'members' | 'demonstrations'>,
  key: Uint8Array,
  query: number,
): number[][] {
  const drawn = poissonSample(rows, rate, key, query)
  if (demonstrations === 1) return drawn.map(row => [row])
  const places = uniforms(key, query, 'group', rows)
  const groups = new Map<number, number[]>()
  for (const row of drawn) {
    const member = Math.floor(places[row]! * members)
    groups.set(member, [...(groups.get(member) ?? []), row])
  }
  return [...groups.values()]
}

/**
 * Seeds of what each member samples. They are as secret as the noise: by seeds that are known a row more, which moves the members behind it by
 * one place, would change what all of them say.
 */
export const memberSeeds = (count: number, key: Uint8Array, query: number): number[] =>
  [...uniforms(key, query, 'vote', count)].map(drawn => Math.floor(drawn * 2 ** 31))

/** What a rewrite is to look for, in turn: a prompt has one of them. */
const hints = [
  'Say the instruction so that nobody can take it for another task.',
  'Add to the instruction what the cases below show to be missing.',
  'Put the instruction in the words of somebody who knows these inputs well.',
  'Make the instruction shorter, and keep what a right answer needs.',
] as const

/** What a member is asked: first what all of them share. */
export function memberAsk(instruction: string, prompt: number, cases: readonly Case[]): Ask {
  const listed = (title: string, own: readonly Case[]) =>
    own.length === 0 ? [] : [`${title}\n\n${own.map(shownCase).join('\n\n')}`]
  const parts = [
    `An instruction for a language model is to be improved. ${hints[prompt % hints.length]!}`,
    `The instruction now:\n"""\n${instruction}\n"""`,
    ...listed(
      'Cases that came out right under it:',
      cases.filter(({ isRight }) => isRight),
    ),
    ...listed(
      'Cases that came out wrong under it:',
      cases.filter(({ isRight }) => !isRight),
    ),
    'Write one instruction that fits all inputs of this kind, and repeat none of the cases.',
  ]
  return { ask: parts.join('\n\n'), begin: 'The improved instruction is: "' }
}

/** Whether an answer has come to its end, and what it says: up to the quotation mark that closes it, or to the end of its line. */
export function endOfText(text: string): { readonly text: string; readonly isOver: boolean } {
  const end = text.search(/["\n]/)
  return { text: (end < 0 ? text : text.slice(0, end)).trim(), isOver: end >= 0 }
}
