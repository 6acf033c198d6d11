/** What a judge's preferences come to when each pair was seen in both orders. */

/**
 * 1 where the new answer is preferred in both orders, -1 where the old one is, 0 where the judge prefers a place.
 * @param oldFirst preference for A, the old answer
 * @param newFirst preference for A, the new answer
 */
export function voteOf(oldFirst: number, newFirst: number): number {
  if (oldFirst < 0 && newFirst > 0) return 1
  if (oldFirst > 0 && newFirst < 0) return -1
  return 0
}

/** A new prompt is better where it has won more often than it has lost; a tie keeps the old one. */
export function verdictOfVotes(votes: readonly number[]): { isNewBetter: boolean; won: number; lost: number; tied: number } {
  const won = votes.filter(vote => vote > 0).length
  const lost = votes.filter(vote => vote < 0).length
  return { isNewBetter: won > lost, won, lost, tied: votes.length - won - lost }
}
