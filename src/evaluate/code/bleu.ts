/** BLEU as the code-to-text task of CodeXGLUE reports it (Lu et al. 2021, arXiv 2102.04664): its evaluator of single comments. */

/** What Python calls white space; JavaScript counts a byte order mark, and no control characters. */
export const whiteSpace = String.raw`\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`

/** Runs of letters and digits, and every other character by itself: so the evaluator's two steps come to, underscores included. */
const tokenPattern = new RegExp(String.raw`[\p{L}\p{N}]+|[^${whiteSpace}]`, 'gu')

/** Lower-cased tokens of a comment. */
export const commentTokens = (text: string): string[] => text.toLowerCase().match(tokenPattern) ?? []

/** How often each n-gram of `n` tokens stands there. */
export function ngramCounts(tokens: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>()
  for (let i = 0; i + n <= tokens.length; i++) {
    // No token holds white space.
    const key = tokens.slice(i, i + n).join(' ')
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return counts
}

/** The smallest positive normal number, which the evaluator adds so that a logarithm of 0 is finite. */
const least = 2.2250738585072014e-308

/**
 * Smoothed BLEU-4 of one comment, from 0 to 1: 1 is added to the counts of n-grams of two tokens and more, as well as to both lengths of
 * the brevity penalty (Lin and Och 2004). The figure of a task is the mean over its rows.
 */
export function commentBleu(text: string, reference: string): number {
  const [tokens, right] = [commentTokens(text), commentTokens(reference)]
  let log = 0
  for (let n = 1; n <= 4; n++) {
    const there = ngramCounts(right, n)
    let correct = 0
    for (const [ngram, count] of ngramCounts(tokens, n)) correct += Math.min(count, there.get(ngram) ?? 0)
    const guessed = Math.max(tokens.length - n + 1, 0)
    const smooth = n === 1 ? 0 : 1
    log += Math.log(correct + smooth + least) - Math.log(guessed + smooth + least)
  }
  const brevity = Math.min(0, 1 - (right.length + 1) / (tokens.length + 1))
  return Math.exp(log / 4 + brevity)
}
