/**
 * The chance that at least one of `k` answers is right, estimated without bias from `n` answers of which `c` are: `1 - C(n-c,k)/C(n,k)`
 * (Chen et al. 2021, arXiv 2107.03374, equation 1).
 * @throws RangeError unless `0 <= c <= n` and `1 <= k <= n`, in whole numbers
 */
export function passAtK(n: number, c: number, k: number): number {
  if (![n, c, k].every(Number.isInteger) || c < 0 || c > n || k < 1 || k > n)
    throw new RangeError(`pass@${k} of ${c} right in ${n}`)
  if (k > n - c) return 1
  // C(n-c,k)/C(n,k), factor by factor: nothing overflows.
  let none = 1
  for (let i = n - c + 1; i <= n; i++) none *= 1 - k / i
  return 1 - none
}

/** The numbers of answers that are usual to report, up to `n`, which is one of them. */
export const usualKs = (n: number): number[] => [...new Set([...[1, 2, 5, 10, 20, 50, 100, 200, 500].filter(k => k < n), n])]

/**
 * `pass@1`, `pass@2`, … of a row whose answers are right or wrong.
 * @param ks those that other rows have as well; a row of fewer than `k` answers says nothing of `pass@k`
 */
export const passFigures = (n: number, c: number, ks: readonly number[] = usualKs(n)): Readonly<Record<string, number>> =>
  Object.fromEntries(ks.filter(k => k <= n).map(k => [`pass@${k}`, passAtK(n, c, k)]))

/** Whether a figure is a `pass@k`, which hangs on the number of answers that a row has. */
export const isPassFigure = (name: string): boolean => /^pass@\d+$/.test(name)
