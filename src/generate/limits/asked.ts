import type { DataNotice } from '../../data/readers/reader.js'
import { GradpromptError } from '../../errors.js'
import { type AnswerPlace, choicesOf, type WrittenChoice, writtenIn } from './choices.js'
import { type AnswerGrammar, checkGrammar, type WrittenGrammar } from './grammars.js'

/** What answers are to be limited to, as a caller says it, and as a request has it. */

/** At most one of the first three. */
export interface LimitsAsked {
  /**
   * The only answers that may be given. Each token is the likeliest (or drawn) among those that some of them go on with, so that an answer
   * is made in a few steps; the likeliest of them as a whole is what `predict` finds. Under a run they stand in its `answer`.
   */
  readonly choices?: readonly string[] | undefined
  /** A regular expression that each answer matches as a whole. */
  readonly regex?: string | undefined
  /** A JSON Schema that each answer is JSON for, in one line; `true` for any. An answer that the token budget ends is only its beginning. */
  readonly jsonSchema?: unknown
  /** Tell of each answer the probability that the model would have left the limit without it. */
  readonly rejectedMass?: boolean | undefined
}

export interface Limits {
  readonly choices: readonly WrittenChoice[] | undefined
  readonly grammar: WrittenGrammar | undefined
  readonly rejectedMass: boolean
}

/** @throws GradpromptError `invalid-option` for two limits at a time, `invalid-regex`, `invalid-schema`, `unsupported-schema` */
export function grammarAsked({ choices, regex, jsonSchema, rejectedMass }: LimitsAsked): AnswerGrammar | undefined {
  const given = Object.entries({ choices, regex, jsonSchema }).filter(([, value]) => value !== undefined)
  if (given.length > 1)
    throw new GradpromptError('invalid-option', 'answers are limited in two ways', {
      found: given.map(([name]) => name).join(' and '),
      expected: 'one of choices, regex and jsonSchema',
    })
  if (rejectedMass === true && given.length === 0)
    throw new GradpromptError('invalid-option', 'there is no limit that could reject anything', {
      found: 'rejectedMass',
      expected: 'choices, regex or jsonSchema beside it',
    })
  const grammar = regex !== undefined ? { regex } : jsonSchema !== undefined ? { jsonSchema } : undefined
  if (grammar !== undefined) checkGrammar(grammar)
  return grammar
}

/**
 * The limits of a request: what it names, or the labels of the run that answers it.
 * @param labels of classes that were learned without an end
 * @throws GradpromptError as `grammarAsked`
 */
export function limitsOf(
  asked: LimitsAsked,
  place: AnswerPlace,
  labels: readonly string[] | undefined,
  announce: (notice: DataNotice) => void,
): Limits {
  const grammar = grammarAsked(asked)
  const rejectedMass = asked.rejectedMass === true
  if (grammar === undefined) return { choices: choicesOf(asked.choices, place, labels, announce), grammar, rejectedMass }
  return { choices: undefined, grammar: writtenGrammar(grammar, place.answer), rejectedMass }
}

/** @param answer of the prompt, in whose only column the answer stands */
export function writtenGrammar(grammar: AnswerGrammar, answer: string | undefined): WrittenGrammar {
  const mark = '\u0000'
  const [before = '', after = ''] = writtenIn(answer)(mark).split(mark)
  return { ...grammar, ...(before !== '' && { before }), ...(after !== '' && { after }) }
}
