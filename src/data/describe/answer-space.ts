import type { DataNotice } from '../readers/reader.js'
import type { DataRecord } from '../readers/records.js'
import type { Encoder } from '../texts/encoder.js'
import { compileMessages } from '../texts/rendering.js'
import { compileTemplate, type Template } from '../texts/template.js'

/**
 * Whether answers begin with a space where the tokenizer writes words with the space before them. An answer that lacks it is learned
 * and scored by tokens that the model has hardly seen in that place.
 */
export interface AnswerSpace {
  /** Whether the answers begin with white space. */
  readonly begins: boolean
  /** Whether they should; null where nothing can be said. */
  readonly wanted: boolean | null
  /** Whether the text before them ends in a space, which then belongs to the answer. */
  readonly endsInSpace: boolean
}

/** @param record one whose values fill the template and the answer */
export function answerSpace(
  { template, answer }: { readonly template: Template; readonly answer: string },
  record: DataRecord,
  tokenizer: Pick<Encoder, 'encode'>,
): AnswerSpace {
  const rendered = compileMessages(template).render(record, 0)
  const begins = /^\s/.test(compileTemplate(answer).render(record, 0))
  // Behind a chat template's turn stands no space.
  if (typeof rendered !== 'string') return { begins, wanted: false, endsInSpace: false }
  const endsInSpace = / $/.test(rendered)
  const isWritten = /[\p{L}\p{N}:.!?,;]\s?$/u.test(rendered) && !/\n$/.test(rendered)
  if (!isWritten || !joinsSpaces(tokenizer) || withoutSpaces.test(compileTemplate(answer).render(record, 0)))
    return { begins, wanted: null, endsInSpace: false }
  return { begins, wanted: true, endsInSpace }
}

/** Scripts that have no spaces between words. */
const withoutSpaces = /^\s*[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}]/u

/** Whether a tokenizer writes a common word and the space before it as one token. */
function joinsSpaces(tokenizer: Pick<Encoder, 'encode'>): boolean {
  const ids = tokenizer.encode('a the', { addSpecialTokens: false })
  return ids.length === 2
}

export function answerSpaceNotices({ begins, wanted, endsInSpace }: AnswerSpace, answer: string): DataNotice[] {
  if (wanted !== true || (begins && !endsInSpace)) return []
  return [
    {
      code: 'answer-space',
      message: endsInSpace
        ? `the template ends in a space, which the tokenizer writes together with the word behind it: let the template end without it and the answer begin with it`
        : `the answer begins without a space, but the tokenizer writes words together with the space before them: answer: ${JSON.stringify(` ${answer}`)}`,
    },
  ]
}
