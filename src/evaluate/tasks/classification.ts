import { type LabelSet, labelWord } from '../../data/texts/labels.js'
import type { Template } from '../../data/texts/template.js'
import { afterPhrase, extractionRule, labelRule, type PatternOptions } from '../answers/extraction.js'
import { exactMatch, rougeL, squadF1 } from '../answers/text-metrics.js'
import type { Filter, GenerationTask } from './task.js'

const plain = { description: '', separator: '\n\n', shots: 0 } as const

/** A classification whose answers are written out: the first label word in the text counts. */
export function classification(labels: LabelSet, { template, answer }: { template: Template; answer: string }): GenerationTask {
  const label = labelRule(labels.candidates)
  return {
    ...plain,
    name: 'classification',
    template,
    example: answer,
    answer,
    stop: ['\n\n'],
    maxNewTokens: 32,
    filters: [
      {
        name: 'label',
        rules: [afterPhrase(label), label],
        score: (extracted, word) => exactMatch(extracted, word, { ignoreCase: true }),
      },
    ],
    question: () => '',
    reference: row => labelWord(labels, row, 0) ?? '',
  }
}

/**
 * Free text, scored by exact match, SQuAD's F1 and ROUGE-L against the column `answerColumn`.
 * @param extraction rules for the part of the text that is the answer; by default all of it
 */
export function freeText({
  template,
  answer,
  answerColumn,
  extraction = ['whole-text'],
  maxNewTokens = 128,
  stop = [],
}: {
  template: Template
  answer: string
  answerColumn: string
  extraction?: readonly (string | PatternOptions)[]
  maxNewTokens?: number
  stop?: readonly string[]
}): GenerationTask {
  const chain = extraction.map(extractionRule)
  const filter = (name: string, score: Filter['score']): Filter => ({ name, rules: chain, score })
  return {
    ...plain,
    name: 'free-text',
    template,
    example: answer,
    answer,
    stop,
    maxNewTokens,
    filters: [
      filter('exactMatch', (extracted, reference) => exactMatch(extracted.trim(), reference.trim())),
      filter('f1', (extracted, reference) => squadF1(extracted, reference)),
      filter('rougeL', (extracted, reference) => rougeL(extracted, reference)),
    ],
    question: () => '',
    reference: row => row[answerColumn] ?? '',
  }
}
