import { type ExtractionRule, rules } from '../answers/extraction.js'
import { exactMatch } from '../answers/text-metrics.js'
import { answerShape } from './bbh.js'
import { asGenerated, harnessChoice, harnessNumber, harnessPattern, harnessPhrases, harnessWord } from './harness-filters.js'
import { benchmarkColumns, type Filter, type GenerationTask } from './task.js'

/** The prompts, stop strings, filters and metrics of lm-evaluation-harness as its version 0.4.13 has them. */
const conventions = 'lm-evaluation-harness 0.4.13'

type Score = Filter['score']

/** Its `exact_match`: both texts without what some patterns match, in lower case. */
const harnessMatch =
  (ignore: readonly RegExp[], ignoreCase = true): Score =>
  (extracted, answer) =>
    exactMatch(extracted, answer, { ignore, ignoreCase })

// In Python "$" also stands before a line break at the end.
const fullStop = /\.(?=\n?$)/g

const gsm8kMatch = harnessMatch([/,/g, /\$/g, /[\s\S]*#### /g, fullStop])
const gsm8kFlexible: Filter = {
  name: 'flexible-extract',
  rules: [harnessPattern('last-number', '(-?[$0-9.,]{2,})|(-?[0-9]+)', 'last')],
  score: gsm8kMatch,
}

const gsm8k: GenerationTask = {
  name: 'gsm8k',
  conventions,
  description: '',
  template: 'Question: {question}\nAnswer:',
  example: ' {rationale}\n#### {answer}',
  separator: '\n\n',
  shots: 5,
  answer: ' {answer}',
  stop: ['Question:', '</s>', '<|im_end|>'],
  maxNewTokens: 256,
  filters: [
    gsm8kFlexible,
    { name: 'strict-match', rules: [harnessPattern('hash-number', '#### (-?[0-9.,]+)')], score: gsm8kMatch },
  ],
  ...benchmarkColumns,
}

const gsm8kZeroShotReasoning: GenerationTask = {
  ...gsm8k,
  name: 'gsm8k-cot-zeroshot',
  template: "Q: {question}\nA: Let's think step by step.",
  shots: 0,
  stop: ['Q:', '</s>', '<|im_end|>'],
  filters: [
    gsm8kFlexible,
    { name: 'strict-match', rules: [harnessPattern('the-answer-is', 'The answer is (-?[0-9.,]+)[^\\n]')], score: gsm8kMatch },
  ],
}

/** What stands before the question: the descriptions of the tasks in BIG-Bench. */
const descriptions: Readonly<Record<string, string>> = {
  boolean_expressions: 'Evaluate the result of a random Boolean expression.',
  causal_judgement: 'Answer questions about causal attribution.',
  date_understanding: 'Infer the date from context.',
  disambiguation_qa: 'Clarify the meaning of sentences with ambiguous pronouns.',
  dyck_languages: 'Correctly close a Dyck-n word.',
  formal_fallacies: 'Distinguish deductively valid arguments from formal fallacies.',
  geometric_shapes: 'Name geometric shapes from their SVG paths.',
  hyperbaton: 'Order adjectives correctly in English sentences.',
  logical_deduction: 'A logical deduction task which requires deducing the order of a sequence of objects.',
  movie_recommendation: 'Recommend movies similar to the given list of movies.',
  multistep_arithmetic_two: 'Solve multi-step arithmetic problems.',
  navigate: 'Given a series of navigation instructions, determine whether one would end up back at the starting point.',
  object_counting: 'Questions that involve enumerating objects and asking the model to count them.',
  penguins_in_a_table: 'Answer questions about a table of penguins and their attributes.',
  reasoning_about_colored_objects: 'Answer extremely simple questions about the colors of objects on a surface.',
  ruin_names: "Select the humorous edit that 'ruins' the input movie or musical artist name.",
  salient_translation_error_detection: 'Detect the type of error in an English translation of a German source sentence.',
  snarks:
    'Determine which of two sentences is sarcastic.\n\nAccording to Cambridge University Dictionary, sarcasm is "the use of remarks that clearly mean the opposite of what they say, made in order to hurt someone\'s feelings or to criticize something in a humorous way." Sarcastic sentences often contain satirical or ironic utterances, hyperboles, ambivalent or witty remarks.',
  sports_understanding: 'Determine whether an artificially constructed sentence relating to sports is plausible or not.',
  temporal_sequences: 'Task description: Answer questions about which times certain events could have occurred.',
  tracking_shuffled_objects:
    'A task requiring determining the final positions of a set of objects given their initial positions and a description of a sequence of swaps.',
  web_of_lies: 'Evaluate a random boolean function expressed as a word problem.',
  word_sorting: 'Sort a list of words.',
}

/** Tasks of three, five and seven objects share one. */
function descriptionOf(name: string): string {
  const text = descriptions[name.replace(/_(?:three|five|seven)_objects$/, '')]
  return text === undefined ? '' : `${text}\n\n`
}

/** Its `flexible-extract`: the first match without reasoning, the last with. */
function flexibleRule(name: string, which: 'first' | 'last'): ExtractionRule {
  if (name === 'sports_understanding')
    return harnessPhrases(
      'plausible',
      [
        ['no', 'no|not plausible'],
        ['yes', 'yes|plausible'],
      ],
      which,
    )
  if (name === 'web_of_lies')
    return harnessPhrases(
      'tells-the-truth',
      [
        ['no', 'no|does not tell the truth|is not telling the truth'],
        ['yes', 'yes|tells the truth|is telling the truth'],
      ],
      which,
    )
  switch (answerShape(name)) {
    case 'option':
      return harnessChoice(which)
    case 'yes-no':
      return harnessWord('yes-no', 'Yes|No|yes|no', which)
    case 'true-false':
      return harnessWord('true-false', 'True|False', which)
    case 'valid-invalid':
      return harnessWord('valid-invalid', 'valid|invalid', which)
    case 'number':
      return harnessNumber(which)
    case 'words':
      return rules.wordList
    case 'brackets':
      return harnessPattern('brackets', '(?<= )([" \\[(<{}>)\\]]+)|([" \\[(<{}>)\\]]+)', which)
    case 'text':
      return asGenerated
  }
}

const bbhMatch = harnessMatch([fullStop, /,/g, /\n/g, /\\/g, /"/g])

function bbhZeroShot(name: string): GenerationTask {
  return {
    name: `bbh-zeroshot/${name}`,
    conventions,
    description: descriptionOf(name),
    template: 'Q: {question}\nA:',
    example: ' {answer}',
    separator: '\n\n',
    shots: 0,
    answer: ' {answer}',
    stop: ['</s>', 'Q:', '<|im_end|>'],
    maxNewTokens: 256,
    filters: [
      { name: 'flexible-extract', rules: [flexibleRule(name, 'first')], score: bbhMatch },
      { name: 'strict-match', rules: [asGenerated], score: bbhMatch },
    ],
    ...benchmarkColumns,
  }
}

const finalAnswer = ['The answer is ', 'the answer is ', 'The answer: ', 'The final answer: ']

function bbhZeroShotReasoning(name: string): GenerationTask {
  const pattern = `(${finalAnswer.map(phrase => `(?<=${phrase})([^\\n]*)(?=[^\\n])`).join('|')})`
  return {
    ...bbhZeroShot(name),
    name: `bbh-cot-zeroshot/${name}`,
    template: "Q: {question}\nA: Let's think step by step.",
    filters: [
      { name: 'flexible-extract', rules: [flexibleRule(name, 'last')], score: bbhMatch },
      { name: 'strict-match', rules: [harnessPattern('the-answer-is', pattern)], score: bbhMatch },
    ],
  }
}

/**
 * Its few-shot prompt; it has three examples of its own for each task, which belong into the examples given to `promptTemplate`. Its only
 * filter, `none`, takes a space before the answer for a mistake, so `trimmed` decides here.
 */
function bbhFewShot(name: string): GenerationTask {
  const literal = harnessMatch([], false)
  return {
    ...bbhZeroShot(name),
    name: `bbh-fewshot/${name}`,
    shots: 3,
    stop: ['</s>', 'Q', '\n\n'],
    filters: [
      {
        name: 'trimmed',
        rules: [asGenerated],
        score: (extracted, answer, question) => literal(extracted.trim(), answer, question),
      },
      { name: 'none', rules: [asGenerated], score: literal },
    ],
  }
}

/** Tasks as lm-evaluation-harness 0.4.13 asks, reads and scores them. Those of BBH go by the name of the task's file. */
export const presets = {
  gsm8k,
  'gsm8k-cot-zeroshot': gsm8kZeroShotReasoning,
  'bbh-zeroshot': bbhZeroShot,
  'bbh-cot-zeroshot': bbhZeroShotReasoning,
  'bbh-fewshot': bbhFewShot,
} as const satisfies Readonly<Record<string, GenerationTask | ((task: string) => GenerationTask)>>
