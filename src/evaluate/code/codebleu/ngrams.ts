import { ngramCounts, whiteSpace } from '../bleu.js'

/** The two parts of CodeBLEU that take code for words (Ren et al. 2020, arXiv 2009.10297, section 3.1), as its Python package has them. */

const spaces = new RegExp(`[${whiteSpace}]+`, 'u')

export const codeTokens = (code: string): string[] => code.split(spaces).filter(token => token !== '')

/** How many n-grams of each length are shared, and out of how many. */
type Shares = readonly { readonly shared: number; readonly all: number }[]

/** BLEU-4 of code split at white space: where nothing of one length is shared, 0.1 is (method 1 of Chen and Cherry 2014). */
export function codeBleuNgrams(code: readonly string[], reference: readonly string[]): number {
  const shares = [1, 2, 3, 4].map(n => {
    const there = ngramCounts(reference, n)
    let shared = 0
    for (const [ngram, count] of ngramCounts(code, n)) shared += Math.min(count, there.get(ngram) ?? 0)
    return { shared, all: Math.max(1, code.length - n + 1) }
  })
  return together(shares, code.length, reference.length)
}

/**
 * The same as a recall, in which single tokens weigh 1 where they are keywords, and 0.2 otherwise.
 *
 * Published figures come from code that takes every reference for two tokens long where it punishes brevity, which it so does of single
 * tokens alone; that is kept. The package divides by no less than 1, so that a short text without keywords does not even match itself; here
 * it is divided by the weight that there is.
 */
export function weightedNgrams(code: readonly string[], reference: readonly string[], keywords: ReadonlySet<string>): number {
  const shares = [1, 2, 3, 4].map(n => {
    const own = ngramCounts(code, n)
    let [shared, all] = [0, 0]
    for (const [ngram, count] of ngramCounts(reference, n)) {
      const weight = n > 1 || keywords.has(ngram) ? 1 : 0.2
      shared += weight * Math.min(count, own.get(ngram) ?? 0)
      all += weight * count
    }
    return { shared, all: all || 1 }
  })
  return together(shares, code.length, 2)
}

function together(shares: Shares, length: number, reference: number): number {
  if (shares[0]!.shared === 0) return 0
  const log = shares.reduce((sum, { shared, all }) => sum + Math.log((shared || 0.1) / all) / 4, 0)
  return Math.exp(log + (length > reference ? 0 : 1 - reference / length))
}
