import { GradpromptError } from '../../errors.js'
import { type Candidate, substituted } from '../space/candidates.js'
import type { SearchRow, TokenSpace } from '../space/token-space.js'
import type { ScoredCandidate } from './method.js'

/** `drop`: such a prompt is not scored. `allow`: it counts like every other. `penalty`: its loss is so much higher. */
export type DriftPolicy = 'drop' | 'allow' | { readonly penalty: number }

/** Rows in whose text a candidate has to read back; a finished prompt has to in all. */
const PROBED_ROWS = 2
/** Steps in a row without one candidate that reads back. */
const MOST_BARREN_STEPS = 50

/** Watches over prompts whose text the tokenizer reads as other tokens than those that were searched. */
export class DriftGuard {
  readonly #probes: readonly SearchRow[]
  #barren = 0

  readonly #space: TokenSpace
  readonly #policy: DriftPolicy

  constructor(
    space: TokenSpace,
    rows: readonly SearchRow[],
    policy: DriftPolicy,
    /** Prompts that drifted, so far. */
    public drifted = 0,
  ) {
    this.#space = space
    this.#policy = policy
    // Those that differ most: by what stands before the prompt.
    const texts = new Map(rows.map(row => [row.text.before.slice(-8) + row.text.after.slice(0, 8), row]))
    this.#probes = [...texts.values()].slice(0, PROBED_ROWS)
  }

  readsBack(ids: readonly number[]): boolean {
    return this.#probes.every(row => this.#space.readsBack(ids, row))
  }

  /** The same, and a prompt that does not is counted. */
  counted(ids: readonly number[]): boolean {
    const reads = this.readsBack(ids)
    if (!reads) this.drifted++
    return reads
  }

  /** Splits candidates into those to score, and what is added to the loss of each. */
  admitted(candidates: readonly Candidate[]): { candidates: Candidate[]; penalties: number[] } {
    const kept: Candidate[] = []
    const penalties: number[] = []
    let moves = 0
    for (const candidate of candidates) {
      const isSame = candidate.swaps.length === 0
      const reads = isSame || this.readsBack(candidate.ids)
      if (!reads) this.drifted++
      if (!isSame && reads) moves++
      if (!reads && this.#policy === 'drop') continue
      kept.push(candidate)
      penalties.push(reads || typeof this.#policy === 'string' ? 0 : this.#policy.penalty)
    }
    if (candidates.some(({ swaps }) => swaps.length > 0)) this.#barren = moves > 0 ? 0 : this.#barren + 1
    if (this.#policy === 'drop' && this.#barren >= MOST_BARREN_STEPS) throw allDrift(this.drifted, this.#space)
    return { candidates: kept, penalties }
  }

  /** Takes over as many of a prompt's changes as read back, one after the other. */
  settled(from: readonly number[], swaps: readonly { readonly position: number; readonly to: number }[]): Candidate {
    if (this.#policy !== 'drop') return substituted(from, swaps)
    const whole = substituted(from, swaps)
    if (this.readsBack(whole.ids)) return whole
    this.drifted++
    let kept: typeof swaps = []
    for (const swap of swaps) if (this.readsBack(substituted(from, [...kept, swap]).ids)) kept = [...kept, swap]
    return substituted(from, kept)
  }
}

/** Spearman's correlation of the gradient's scores with the exact ones. Null below three candidates. */
export function rankCorrelation(candidates: readonly ScoredCandidate[]): number | null {
  const known = candidates.filter(({ gradientScore }) => gradientScore !== undefined)
  if (known.length < 3) return null
  return spearman(
    known.map(({ gradientScore }) => gradientScore!),
    known.map(({ loss }) => loss),
  )
}

/** The correlation of ranks; ties share their mean rank. Null where all values of a list are equal. */
export function spearman(first: readonly number[], second: readonly number[]): number | null {
  const [a, b] = [ranks(first), ranks(second)]
  const middle = (first.length - 1) / 2
  const product = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, i) => sum + (value - middle) * (y[i]! - middle), 0)
  const scale = Math.sqrt(product(a, a) * product(b, b))
  return scale > 0 ? product(a, b) / scale : null
}

function ranks(values: readonly number[]): number[] {
  const order = [...values.keys()].sort((a, b) => values[a]! - values[b]!)
  const result: number[] = new Array(values.length)
  for (let start = 0; start < order.length; ) {
    let end = start
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++
    for (let i = start; i < end; i++) result[order[i]!] = (start + end - 1) / 2
    start = end
  }
  return result
}

const allDrift = (drifted: number, space: TokenSpace) =>
  new GradpromptError('all-candidates-drift', 'no candidate reads back as the tokens that were searched', {
    found: `${drifted} prompts around ${JSON.stringify(space.startText)}`,
    expected: 'prompts whose text the tokenizer reads as the same tokens',
    hint: 'search.drift: { penalty: 1 } scores them too; search.vocabulary: words has fewer tokens that merge',
    exitCode: 1,
  })
