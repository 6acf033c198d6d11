import type { DataRecord } from '../data/readers/records.js'
import type { GenerationInput } from '../generate/input.js'
import { type ActiveStrategy, type AskingOptions, answerBy } from '../strategies/asking.js'
import { plainAnswer } from './answers/agreement.js'
import type { RowResult } from './row-results.js'
import { cutAtStop, type GenerationTask } from './tasks/task.js'

/** Rows that are answered with several calls: what a row's result says beside its text. */

/** What was generated for a row. */
export interface Said {
  readonly text: string
  readonly finishReason?: RowResult['finishReason']
  readonly scores?: RowResult['scores']
  /** Of several calls: the answer that one of them alone would have been. */
  readonly first?: string | undefined
  /** Of several calls whose answers all count: each of them. */
  readonly texts?: readonly string[] | undefined
  /** Generated in all. */
  readonly tokens: number
}

/** @throws GradpromptError as the calls do */
export async function byStrategy(
  active: ActiveStrategy,
  { task, record, input }: { readonly task: GenerationTask; readonly record: DataRecord; readonly input: GenerationInput },
  asking: AskingOptions,
): Promise<Said> {
  const question = task.question(record)
  const read = (text: string) => plainAnswer(cutAtStop(text, task.stop), task.filters[0].rules, question)
  const { answer, answers, figures, spent } = await answerBy(active, { input, question: question.trim(), read }, asking)
  return {
    text: answer.text,
    finishReason: answer.finishReason as 'stop' | 'length',
    scores: {
      ...(answer.rejectedMass !== undefined && { rejectedMass: answer.rejectedMass }),
      ...{ ...figures, calls: spent.calls, tokens: spent.tokens },
    },
    ...(active.strategy.eachCounts === true
      ? { texts: answers.map(({ text }) => text) }
      : { first: answers.length > 1 ? answers[0]!.text : undefined }),
    tokens: spent.tokens,
  }
}

/** What further calls have changed: whether the first answer counted, was mended, or spoiled. */
export const figuresOf = (first: number, score: number): Readonly<Record<string, number>> => ({
  'first answer': first,
  mended: Number(score > first),
  spoiled: Number(score < first),
})
