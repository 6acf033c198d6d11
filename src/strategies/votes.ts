/**
 * Which of several texts is taken, by what is read of each.
 * @param read undefined has no vote
 * @returns the first text that has the answer of most, of as many votes the one that was there first; and the share of texts that have it
 */
export function majority(read: readonly (string | undefined)[]): { readonly index: number; readonly agreement: number } {
  const votes = new Map<string, number>()
  for (const answer of read) if (answer !== undefined) votes.set(answer, (votes.get(answer) ?? 0) + 1)
  const most = Math.max(0, ...votes.values())
  const index = read.findIndex(answer => answer !== undefined && votes.get(answer) === most)
  return { index: Math.max(0, index), agreement: most / read.length }
}
