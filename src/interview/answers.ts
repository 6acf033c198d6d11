import { didYouMean, GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { clean, fields, required } from './brief.js'
import type { InterviewQuestion } from './machine.js'

/** Answers that were written beforehand: by the keys of their questions, or in the order in which these are asked. */

const isKey = (key: string) =>
  (fields as readonly string[]).includes(key) ||
  key === 'draft' ||
  key === 'draft.change' ||
  /^(?:input\.\d+\..+|verdict\.\d+\.\d+|right\.\d+)$/.test(key)

/** Asks again where nothing was said, and there is no going on without it: for somebody who is there to answer. */
export const insisting =
  (ask: (question: InterviewQuestion) => Promise<string>) =>
  async (question: InterviewQuestion): Promise<string> => {
    const isNeeded = (required as readonly string[]).includes(question.key)
    for (;;) {
      const answer = await ask(question)
      if (!isNeeded || clean(answer) !== '') return answer
    }
  }

/** Keys of answers that no question has asked for. @param asked keys of all questions, of earlier sittings too */
export const unread = (given: unknown, asked: ReadonlySet<string>): string[] =>
  isRecord(given) ? Object.keys(given).filter(key => !asked.has(key)) : []

/**
 * @param given an object; what it says nothing to is answered by nothing, which accepts a draft or an answer. Or a list.
 * @throws GradpromptError `invalid-answers`; from the function `answers-spent`
 */
export function answersFrom(given: unknown, source: string): (question: InterviewQuestion) => string {
  const wrong = (found: string, hint?: string) =>
    new GradpromptError('invalid-answers', `${source}: these are no answers`, {
      found,
      expected: `a list of texts, or an object of them: ${fields.join(', ')}, draft, draft.change, input.1.NAME, verdict.1.1, right.1`,
      ...(hint !== undefined && { hint }),
    })
  if (!isRecord(given) && !Array.isArray(given)) throw wrong(given === null ? 'null' : typeof given)
  for (const [key, value] of Object.entries(given)) {
    if (typeof value !== 'string') throw wrong(`${key}: ${JSON.stringify(value)}`)
    if (!Array.isArray(given) && !isKey(key)) throw wrong(key, didYouMean(key, [...fields, 'draft', 'draft.change']))
  }
  if (!Array.isArray(given)) return ({ key }) => (given[key] as string | undefined) ?? ''
  const left = [...(given as string[])]
  return ({ key }) => {
    const answer = left.shift()
    if (answer !== undefined) return answer
    throw new GradpromptError('answers-spent', `${source} has no more answers`, {
      found: `${given.length}, and a question behind them: ${key}`,
      hint: 'the interview stands where it was: the same command goes on with the answers from there on',
    })
  }
}
