import type { DataRecord } from '../../data/readers/records.js'
import { decideLabels, type LabelWords } from '../../data/texts/labels.js'
import { GradpromptError } from '../../errors.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { Config } from '../../train/config.js'
import { controlNotices } from '../../train/control.js'

/** Whether what is to be learned fits the context of the model: asked before it writes a single text. */

/**
 * @param config of the run that is taught
 * @param words the classes, and the foreign labels beside them
 * @param held rows that the base model will be scored on, with its instruction
 * @throws GradpromptError `row-too-long`
 */
export function refuseWithoutRoom(
  config: Config,
  words: LabelWords,
  held: readonly DataRecord[],
  { tokenizer, config: { maxPositionEmbeddings: contextLength } }: LanguageModel,
): void {
  const { labels } = decideLabels(config.answer, held, { labels: words })
  try {
    controlNotices(config, { labels, scored: held, test: [] }, { tokenizer, contextLength })
  } catch (error) {
    if (!(error instanceof GradpromptError && error.code === 'row-too-long') || config.control.instruction !== undefined)
      throw error
    const { message, found, expected } = error
    throw new GradpromptError('row-too-long', `${message}: it names all labels`, {
      ...(found !== undefined && { found }),
      ...(expected !== undefined && { expected }),
      hint: 'fewer foreign labels: labels (--labels N)',
      cause: error,
    })
  }
}
