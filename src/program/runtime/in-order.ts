/**
 * Does jobs in turn, several at a time, and takes their results in the order of the jobs: a sum of them has the same bits however many
 * are done at once. When one fails, no other is begun, and those that had been are waited for.
 *
 * @param jobs begun one after the other
 * @param atOnce how many may have begun and not been taken
 */
export async function inOrder<Result>(
  jobs: Iterable<() => Promise<Result>>,
  atOnce: number,
  take: (result: Result) => void,
): Promise<void> {
  const begun: Promise<Result>[] = []
  try {
    for (const job of jobs) {
      if (begun.length >= atOnce) take(await begun.shift()!)
      const next = job()
      // Who waits for it hears of its failure when those before it have been taken.
      next.catch(() => {})
      begun.push(next)
    }
    while (begun.length > 0) take(await begun.shift()!)
  } finally {
    await Promise.allSettled(begun)
  }
}
