import { type DataRecord, originOf, setOrigin } from '../../data/readers/records.js'
import { GradpromptError } from '../../errors.js'
import { scoreRows } from '../../evaluate/score.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { SearchConfig } from '../config.js'
import type { TokenSpace } from '../space/token-space.js'
import type { SearchTask } from './task.js'

/**
 * A task whose questions have the model's own answers under the first prompt for labels: of each class the ones it is surest of (Huang
 * et al. 2022, arXiv 2204.03649, of images and text; Zhang et al. 2024, arXiv 2410.03124, of language models). What the file says of
 * the questions is not read; dev and test stay as they are.
 * @throws GradpromptError `no-confident-answers`
 */
export async function pseudoLabelled(
  task: SearchTask,
  { perClass, confidence }: NonNullable<SearchConfig['search']['pseudoLabels']>,
  model: LanguageModel,
  space: TokenSpace,
  { seed }: SearchConfig,
): Promise<SearchTask> {
  const labels = task.labels!
  const rows = task.questions.map((record, i) => space.scoring(record, i, space.start))
  const { logLikelihoods, predictions } = await scoreRows(model, undefined, rows, labels, { seed })
  const guesses = predictions.map((label, index) => ({ index, label, probability: highestShare(logLikelihoods[index]!) }))
  const kept = labels.candidates.flatMap((_, label) =>
    guesses
      .filter(guess => guess.label === label && guess.probability >= confidence)
      .sort((a, b) => b.probability - a.probability || a.index - b.index)
      .slice(0, perClass),
  )
  if (kept.length === 0)
    throw new GradpromptError('no-confident-answers', 'the model is sure of no answer to a question', {
      found: `at most ${Math.max(...guesses.map(({ probability }) => probability)).toFixed(3)} of the labels' probability`,
      expected: `${confidence} or more (search.pseudoLabels.confidence)`,
      hint: 'lower it, or let the first prompt say what the answer should look like',
    })
  const values = [...labels.words]
  const questions = kept
    .sort((a, b) => a.index - b.index)
    .map(({ index, label }): DataRecord => {
      const record = task.questions[index]!
      const [value] = values.find(([, word]) => word === labels.candidates[label])!
      const answered = { ...record, [labels.column]: value }
      setOrigin(answered, originOf(record, index))
      return answered
    })
  return { ...task, questions }
}

/** The likeliest label's share of the labels' probability. */
function highestShare(scores: readonly number[]): number {
  const highest = Math.max(...scores)
  return 1 / scores.reduce((sum, score) => sum + Math.exp(score - highest), 0)
}
