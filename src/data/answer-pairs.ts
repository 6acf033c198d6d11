import { GradpromptError } from '../errors.js'
import { drawExamples } from './rows/examples.js'
import { RowBuilder, type RowOptions } from './rows/rows.js'
import { sideOf, type Task } from './task.js'
import type { TaskConfig } from './task-config.js'

/** Pairs of answers as a model reads them: for methods that start from what it makes of both. */

/** A text with its answer. */
export interface AnsweredText {
  readonly ids: readonly number[]
  /** The place of the answer's first token among the ids. */
  readonly answerStart: number
}

/** Two answers to one text, of which one was preferred. */
export interface AnswerPair {
  readonly chosen: AnsweredText
  readonly rejected: AnsweredText
}

/**
 * Draws training pairs, by seed: so many, or as many as there are. What ends an answer is not part of them.
 * @throws GradpromptError `no-pairs` where the task names no rejected answers, and as `RowBuilder.training`
 */
export function answerPairs(
  config: Pick<TaskConfig, 'template' | 'answer' | 'rejected' | 'train' | 'seed'>,
  { train }: Pick<Task, 'train'>,
  {
    tokenizer,
    contextLength,
  }: Pick<RowOptions, 'contextLength'> & { readonly tokenizer: ConstructorParameters<typeof RowBuilder>[0] },
): (count: number) => AnswerPair[] {
  return count => {
    const { template, answer, rejected, seed } = config
    if (rejected === undefined)
      throw new GradpromptError('no-pairs', 'the task has no pairs of answers to start from', {
        found: `answer: ${JSON.stringify(answer)}, and nothing that was rejected`,
        expected: 'rejected: the answer that was not chosen, such as " {rejected}"',
        hint: 'docs/preferences.md says how pairs are written',
      })
    const [chosen, other] = [answer, rejected].map(text => {
      const options = { template, answer: text, contextLength, numVirtualTokens: 0, truncate: config.train?.truncate ?? false }
      return new RowBuilder(tokenizer, { ...options, labels: undefined, ...sideOf({ answer, rejected }, text) })
    }) as [RowBuilder, RowBuilder]
    const text = (builder: RowBuilder, i: number): AnsweredText => {
      const { ids, labels } = builder.training(train[i]!, i)
      return { ids, answerStart: labels.findIndex(label => label !== -100) }
    }
    return drawExamples(train, undefined, count, seed).map(i => ({ chosen: text(chosen, i), rejected: text(other, i) }))
  }
}
