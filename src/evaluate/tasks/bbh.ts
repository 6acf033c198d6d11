import { basename } from 'node:path'
import type { DataRecord } from '../../data/readers/records.js'
import { afterPhrase, type ExtractionRule, normalNumber, optionsOf, rules } from '../answers/extraction.js'
import { benchmarkColumns, type GenerationTask } from './task.js'

/** What the answers of a task look like. */
export type AnswerShape = 'option' | 'yes-no' | 'true-false' | 'valid-invalid' | 'number' | 'words' | 'brackets' | 'text'

/** The tasks of BIG-Bench Hard (Suzgun et al. 2022) whose answers are no lettered options. */
const shapes: Readonly<Record<string, AnswerShape>> = {
  boolean_expressions: 'true-false',
  causal_judgement: 'yes-no',
  dyck_languages: 'brackets',
  formal_fallacies: 'valid-invalid',
  multistep_arithmetic_two: 'number',
  navigate: 'yes-no',
  object_counting: 'number',
  sports_understanding: 'yes-no',
  web_of_lies: 'yes-no',
  word_sorting: 'words',
}

const optionTasks: ReadonlySet<string> = new Set([
  'date_understanding',
  'disambiguation_qa',
  'geometric_shapes',
  'hyperbaton',
  'logical_deduction_five_objects',
  'logical_deduction_seven_objects',
  'logical_deduction_three_objects',
  'movie_recommendation',
  'penguins_in_a_table',
  'reasoning_about_colored_objects',
  'ruin_names',
  'salient_translation_error_detection',
  'snarks',
  'temporal_sequences',
  'tracking_shuffled_objects_five_objects',
  'tracking_shuffled_objects_seven_objects',
  'tracking_shuffled_objects_three_objects',
])

/** The 27 tasks by their names, which are those of their files. */
export const bbhTasks: readonly string[] = [...optionTasks, ...Object.keys(shapes)].sort()

/** `data/bbh/navigate.json` -> `navigate` */
export const bbhTaskName = (path: string): string => basename(path).replace(/\.[^.]*$/, '')

/** The shape of a known task's answers, or the one that all answers have: a few rows may have a faulty one. */
export function answerShape(name: string, rows: readonly DataRecord[] = []): AnswerShape {
  if (optionTasks.has(name)) return 'option'
  const known = Object.hasOwn(shapes, name) ? shapes[name] : undefined
  if (known !== undefined) return known
  const answers = rows.map(row => (row.answer ?? '').trim())
  const fits = (pattern: RegExp) =>
    answers.length > 0 && answers.filter(answer => pattern.test(answer)).length >= 0.9 * answers.length
  if (fits(/^\([A-Z]\)$/)) return 'option'
  if (fits(/^(?:yes|no)$/i)) return 'yes-no'
  if (fits(/^(?:true|false)$/i)) return 'true-false'
  if (fits(/^(?:valid|invalid)$/i)) return 'valid-invalid'
  if (fits(/^-?[\d,]+(?:\.\d+)?$/)) return 'number'
  if (fits(/^[[\](){}<>\s]+$/)) return 'brackets'
  return 'text'
}

/** The rules of a shape, for answers that come at once or, with `reasoning`, at the end of a text. */
function rulesOf(shape: AnswerShape, name: string, reasoning: boolean): ExtractionRule[] {
  switch (shape) {
    case 'option': {
      const letter = reasoning ? rules.lastOptionLetter : rules.optionLetter
      return [afterPhrase(rules.optionLetter), afterPhrase(rules.bareLetter), rules.bareLetter, letter, rules.optionText]
    }
    case 'yes-no': {
      const words = name === 'sports_understanding' ? [rules.plausible] : name === 'web_of_lies' ? [rules.tellsTheTruth] : []
      return [afterPhrase(rules.yesNo), reasoning ? rules.lastYesNo : rules.yesNo, ...words]
    }
    case 'true-false':
      return [afterPhrase(rules.trueFalse), reasoning ? rules.lastTrueFalse : rules.trueFalse]
    case 'valid-invalid':
      return [afterPhrase(rules.validInvalid), reasoning ? rules.lastValidInvalid : rules.validInvalid]
    case 'number':
      return [rules.answerResult, reasoning ? rules.lastResult : rules.number]
    case 'words':
      return [afterPhrase(rules.wordList), rules.wordList]
    case 'brackets':
      return [afterPhrase(rules.brackets), rules.brackets]
    case 'text':
      return [rules.afterPhrase, rules.firstLine]
  }
}

/** An answer's normal form. An option that is given by its words instead of its letter gets the letter. */
export function normalAnswer(answer: string, shape: AnswerShape, question: string): string {
  const text = answer.trim()
  if (shape === 'number') return normalNumber(text) ?? text
  if (shape === 'brackets') return text.replaceAll(/\s/g, '')
  if (shape !== 'option') return text.toLowerCase().replaceAll(/\s+/g, ' ')
  const letter = /^\(?([A-Z])\)?$/.exec(text)?.[1] ?? optionsOf(question).find(option => option.text === text)?.letter
  return letter === undefined ? text : `(${letter})`
}

/**
 * A task of BIG-Bench Hard.
 * @param name as its file is called, such as `navigate`; of a name that is not known the rows tell the shape of the answers
 */
export function bbh(
  name: string,
  { rows = [], reasoning = false }: { rows?: readonly DataRecord[]; reasoning?: boolean } = {},
): GenerationTask {
  const shape = answerShape(name, rows)
  return {
    name: `bbh/${name}`,
    description: '',
    template: reasoning ? "Q: {question}\nA: Let's think step by step." : 'Q: {question}\nA:',
    example: ' {answer}',
    separator: '\n\n',
    shots: reasoning ? 0 : 3,
    answer: ' {answer}',
    stop: ['\nQ:'],
    maxNewTokens: reasoning ? 512 : 64,
    filters: [
      {
        name: 'answer',
        rules: rulesOf(shape, name, reasoning),
        score: (extracted, answer, question) =>
          normalAnswer(extracted, shape, question) === normalAnswer(answer, shape, question),
      },
    ],
    ...benchmarkColumns,
  }
}
