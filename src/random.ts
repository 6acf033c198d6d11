import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import type { RandomGenerator } from 'pure-rand/types/RandomGenerator'

/**
 * What is drawn under one seed, each from a stream of its own. A resumed run draws what it would have drawn, so a number never passes to
 * another purpose, and none changes.
 */
export const streams = {
  /** The further samples of one request. */
  sample: 0,
  /** Which rows `data.limit` keeps. */
  limit: 1,
  /** Which rows `data.split` sets aside. */
  split: 2,
  /** The order of an epoch's rows. */
  epoch: 3,
  /** The order of an epoch's batches of similar length. */
  bucket: 4,
  /** Rows that are shown before others. */
  example: 5,
  /** Which template a row has in an epoch. */
  template: 6,
  /** Which rows a stratified split sets aside. */
  stratified: 7,
  /** What a model is asked for when it writes rows. */
  synthesis: 9,
  /** Which rows of a step are learned as of no task. */
  generic: 8,
  /** Which tasks and rows a step of meta-learning is of. */
  meta: 0x3e7a,
  /** What the inputs of a task are estimated from, and which of its particles a prompt has. */
  domain: 0xd03a1,
  /** Where a soft prompt starts. */
  initialisation: 0x1417,
  /** The questions of a race among candidates. */
  race: 0x4ace,
  /** Tokens of an answer. */
  token: 0x5a3b,
  /** Which candidates are scored. */
  selection: 0x5e1ec,
  /** The values of a sweep's trial. */
  sweep: 0x53ee9,
  /** What a search's step draws. */
  search: 0x5ea7c4,
  /** Which questions a critic sees the mistakes of. */
  feedback: 0xfeedb,
  /** What a critic writes. */
  writing: 0x3217e,
  /** Which pieces of a text are asked about. */
  study: 0x57d7,
  /** What a prompt is probed with. */
  probe: 0x9206e,
  /** Episodes of an environment, and what happens in one. */
  episode: 0xe915,
  /** Which two of several are compared, and what a simulated person says. */
  choosing: 0xc4005e,
  /** Which foreign labels are of one group, and which rows stand beside them. */
  foreign: 0xf02e16,
  /** Which rows are to be labelled next. */
  acquisition: 0xac915,
  /** The views of a row that a prompt is tuned on when it is answered. */
  view: 0x71e35,
} as const

/**
 * A generator for one purpose: `stream` tells apart what is drawn under the same seed (an epoch, a file), so that neither
 * repeats the other's draws. Seed and stream are mixed with MurmurHash3's finaliser, since near seeds start alike otherwise.
 */
export function randomGenerator(seed: number, ...stream: readonly number[]): RandomGenerator {
  let state = seed | 0
  for (const part of stream) state = mix(Math.imul(state, 31) + (part | 0) + 0x9e3779b9)
  return xoroshiro128plus(mix(state))
}

function mix(value: number): number {
  let hash = value | 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

/** A permuted copy (Fisher and Yates): the same for the same length, seed and stream. */
export function shuffle<T>(items: readonly T[], seed: number, ...stream: readonly number[]): T[] {
  const shuffled = [...items]
  const random = randomGenerator(seed, ...stream)
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = uniformInt(random, 0, i)
    const item = shuffled[i]!
    shuffled[i] = shuffled[j]!
    shuffled[j] = item
  }
  return shuffled
}
