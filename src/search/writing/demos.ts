import type { SearchContext } from '../moves/method.js'
import type { SearchRow } from '../space/token-space.js'

/** Examples that a prompt may show, and what is known of them. */

/**
 * Questions with their answers, as a prompt shows them: where the model reasons, with its own reasoning under the first prompt if that led to
 * the right answer.
 * @throws BudgetSpent; GradpromptError `aborted`
 */
export async function demoTexts(rows: readonly SearchRow[], context: SearchContext): Promise<Map<number, string>> {
  const { objective, space, demoOf } = context
  const answers = objective.isReasoned ? await objective.answers(space.start, rows) : []
  return new Map(
    rows.map((row, i) => {
      const answer = answers[i]
      return [row.index, demoOf(row, answer?.isRight ? answer.reasoning : undefined).trim()]
    }),
  )
}

/** Questions that the model answers rightly under a prompt: the traces that a bootstrap keeps. */
export async function passing(
  prompt: readonly number[],
  rows: readonly SearchRow[],
  { objective }: SearchContext,
): Promise<SearchRow[]> {
  const answers = await objective.answers(prompt, rows)
  return rows.filter((_, i) => answers[i]!.isRight)
}
