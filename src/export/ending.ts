import { RowBuilder } from '../data/rows/rows.js'
import { type AnswerEnd, stopsOf } from '../data/texts/answer-end.js'
import type { Encoder } from '../data/texts/encoder.js'
import { decideLabels, promptLabels } from '../data/texts/labels.js'
import type { Template } from '../data/texts/template.js'
import type { PromptFile } from '../store/prompt-file.js'

/** How the answers of a prompt end, for whoever reads them in another tool. What a README says of it, its writer knows. */
export interface Ending {
  /** What was learned behind every answer. */
  readonly end: AnswerEnd
  /** Whether it is a special token, at which generation stops by its id; otherwise a text. */
  readonly isToken: boolean
  /** Whether labels were scored with it: the tokens of one begin another's (`1` and `10`). */
  readonly isScored: boolean
}

/** @returns undefined where nothing was learned behind answers */
export function endingOf(
  prompt: Pick<PromptFile, 'template' | 'answer' | 'answerEnd' | 'labels' | 'verbalizer'>,
  tokenizer: Encoder,
): Ending | undefined {
  const { answerEnd: end, answer } = prompt
  if (end === undefined) return undefined
  const { labels } = decideLabels(answer, [], { labels: promptLabels(prompt), answerType: 'text' })
  const limits = { contextLength: Number.MAX_SAFE_INTEGER, numVirtualTokens: 0, truncate: false }
  const template = prompt.template as Template
  const builder = new RowBuilder(tokenizer, { template, answer, labels, end, ...limits })
  return { end, isToken: stopsOf(end, tokenizer).stopTokenIds.length > 0, isScored: builder.overlap !== undefined }
}
