/** What a search by whole texts keeps of every prompt that it has tried, for ever. Plain JSON: it stands in checkpoints. */
export type Member = {
  /** Its place in the order of trials. */
  readonly id: number
  readonly parents: readonly number[]
  /** What made it: `start`, `reflection`, `merge`, … */
  readonly origin: string
  /** Its texts, of which each may be rewritten alone. */
  readonly components: readonly string[]
  /** Questions that it shows with their answers, by index. */
  readonly demos: readonly number[]
  readonly ids: readonly number[]
  /** Loss by the measure of the search, of each question that it was scored on. */
  readonly losses: Readonly<Record<string, number>>
  /** Negative log-likelihood of the right answer, of the same questions. */
  readonly costs: Readonly<Record<string, number>>
}
