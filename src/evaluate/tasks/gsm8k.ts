import { normalNumber, rules } from '../answers/extraction.js'
import { benchmarkColumns, type GenerationTask } from './task.js'

/** Whether two texts are the same number. */
export const sameNumber = (extracted: string, answer: string): boolean => {
  const value = normalNumber(extracted)
  return value !== undefined && value === normalNumber(answer)
}

/** Grade-school mathematics (Cobbe et al. 2021): a worked solution, and a number. */
export const gsm8k: GenerationTask = {
  name: 'gsm8k',
  description: '',
  template: 'Question: {question}\nAnswer:',
  example: ' {rationale}\n#### {answer}',
  separator: '\n\n',
  shots: 5,
  answer: ' {answer}',
  stop: ['Question:'],
  maxNewTokens: 256,
  filters: [
    {
      name: 'answer',
      rules: [rules.hashNumber, rules.answerResult, rules.lastResult],
      score: sameNumber,
    },
  ],
  ...benchmarkColumns,
}
