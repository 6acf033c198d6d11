import { GradpromptError } from '../../errors.js'
import { cosine, percentile } from '../../numbers.js'

/**
 * Labels of what belongs to no class: candidates that are far from all classes. What a label's embedding is made by is unknown here.
 */

/** A label and the direction that it has. */
export interface EmbeddedLabel {
  readonly label: string
  readonly embedding: ArrayLike<number>
}

/**
 * The candidates that are farthest from the classes (NegMining of NegLabel, which LAPT takes): of each the 95th percentile of its cosines to
 * all classes, and those with the smallest. A candidate that is a class's word, or contains it, is none.
 * @returns the labels, the farthest first
 * @throws GradpromptError `invalid-option` where there are not as many
 */
export function farthestLabels(candidates: readonly EmbeddedLabel[], classes: readonly EmbeddedLabel[], count: number): string[] {
  const words = classes.map(({ label }) => label.trim().toLowerCase())
  const isClass = (label: string) => {
    const own = label.trim().toLowerCase()
    return words.some(word => own === word || own.split(/\s+/).includes(word) || word.split(/\s+/).includes(own))
  }
  const seen = new Set<string>()
  const others = candidates.filter(({ label }) => {
    const own = label.trim().toLowerCase()
    if (own === '' || isClass(own) || seen.has(own)) return false
    seen.add(own)
    return true
  })
  if (others.length < count)
    throw new GradpromptError('invalid-option', 'there are not as many foreign labels to choose from', {
      found: `${others.length} that are no class's word`,
      expected: `at least ${count}`,
      hint: 'take fewer, or name more words',
    })
  const near = others.map(({ embedding }) =>
    percentile(
      classes.map(one => cosine(embedding, one.embedding)),
      0.95,
    ),
  )
  return [...others.keys()]
    .sort((a, b) => near[a]! - near[b]! || a - b)
    .slice(0, count)
    .map(i => others[i]!.label.trim())
}
