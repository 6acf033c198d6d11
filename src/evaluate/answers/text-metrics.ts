/** What `exactMatch` leaves out of account. */
export interface ExactMatchOptions {
  readonly ignoreCase?: boolean | undefined
  /** The 32 punctuation characters of ASCII. */
  readonly ignorePunctuation?: boolean | undefined
  /** Parts to take out first, in order; they need the `g` flag to go everywhere. */
  readonly ignore?: readonly RegExp[] | undefined
}

/** Whether two texts are equal, but for what is ignored in both. */
export function exactMatch(prediction: string, reference: string, options: ExactMatchOptions = {}): boolean {
  return comparable(prediction, options) === comparable(reference, options)
}

const punctuation = /[!-/:-@[-`{-~]/g

function comparable(text: string, { ignoreCase = false, ignorePunctuation = false, ignore = [] }: ExactMatchOptions): string {
  let kept = ignore.reduce((rest, pattern) => rest.replace(pattern, ''), text)
  if (ignoreCase) kept = kept.toLowerCase()
  return ignorePunctuation ? kept.replaceAll(punctuation, '') : kept
}

/** The normal form of SQuAD (Rajpurkar et al. 2016): lower case, no punctuation, no articles, single spaces. */
export function squadTokens(text: string): string[] {
  const words = text
    .toLowerCase()
    .replaceAll(punctuation, '')
    .replaceAll(/(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu, ' ')
  return words.split(/\s+/).filter(word => word !== '')
}

/** SQuAD's exact match: 1 when the normal forms of the prediction and of one reference are equal, else 0. */
export const squadExactMatch = (prediction: string, references: string | readonly string[]): number =>
  best(references, reference => (squadTokens(prediction).join(' ') === squadTokens(reference).join(' ') ? 1 : 0))

/**
 * SQuAD's F1 of the words that prediction and reference share, from 0 to 1; of several references the best. Where one of the two has
 * no words: 1 when neither has (Rajpurkar et al. 2018).
 */
export const squadF1 = (prediction: string, references: string | readonly string[]): number =>
  best(references, reference => wordF1(squadTokens(prediction), squadTokens(reference)))

function wordF1(prediction: readonly string[], reference: readonly string[]): number {
  if (prediction.length === 0 || reference.length === 0) return prediction.length === reference.length ? 1 : 0
  const left = new Map<string, number>()
  for (const word of reference) left.set(word, (left.get(word) ?? 0) + 1)
  let shared = 0
  for (const word of prediction) {
    const count = left.get(word) ?? 0
    if (count === 0) continue
    left.set(word, count - 1)
    shared++
  }
  return f1(shared, prediction.length, reference.length)
}

/**
 * ROUGE-L (Lin 2004): F1 of the longest common subsequence of words, from 0 to 1; of several references the best. Words are runs
 * of `a-z` and `0-9` in lower case, without stemming.
 */
export const rougeL = (prediction: string, references: string | readonly string[]): number =>
  best(references, reference => {
    const [a, b] = [rougeTokens(prediction), rougeTokens(reference)]
    return a.length === 0 || b.length === 0 ? 0 : f1(longestCommonSubsequence(a, b), a.length, b.length)
  })

const rougeTokens = (text: string): string[] => text.toLowerCase().match(/[a-z0-9]+/g) ?? []

/** Its length, in one row of the table at a time. */
function longestCommonSubsequence(a: readonly string[], b: readonly string[]): number {
  const lengths = new Int32Array(b.length + 1)
  for (const word of a) {
    let diagonal = 0
    for (let j = 1; j <= b.length; j++) {
      const above = lengths[j]!
      lengths[j] = word === b[j - 1] ? diagonal + 1 : Math.max(above, lengths[j - 1]!)
      diagonal = above
    }
  }
  return lengths[b.length]!
}

const f1 = (shared: number, predicted: number, referenced: number): number => (2 * shared) / (predicted + referenced)

function best(references: string | readonly string[], score: (reference: string) => number): number {
  return typeof references === 'string' ? score(references) : references.reduce((most, text) => Math.max(most, score(text)), 0)
}
