import type { ActivePrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { LabelledRow } from '../../model/row.js'

/** Rows are recomputed once this much is remembered: a row's bits do not depend on whether it was. */
const REMEMBERED_BYTES = 256e6

/** What a fixed model says of rows' labels, computed once for each row and remembered over the epochs. */
export interface Teacher {
  /** For each row [labels * vocabSize], as `LanguageModel.labelLogProbabilities`. */
  logProbabilities(rows: readonly LabelledRow[]): Promise<Float32Array[]>
  /** For each row the hidden states behind its labels, [labels * hiddenSize]. */
  hidden(rows: readonly LabelledRow[]): Promise<Float32Array[]>
}

interface Said {
  readonly logProbabilities: Float32Array
  readonly hidden: Float32Array
}

/**
 * A teacher of rows. Rows are known by identity, so that a text under another template is another row.
 *
 * @param prompt what the model answers under; undefined: the frozen model's own distribution (PromptSRC, arXiv 2307.06948)
 * @param options.withHidden keep hidden states as well, for `hidden`
 * @param options.read the row as the teacher sees it, with the same labels; by default as it is
 */
export function createTeacher(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  {
    bytes = REMEMBERED_BYTES,
    withHidden = false,
    read = row => row,
  }: { bytes?: number; withHidden?: boolean; read?: (row: LabelledRow) => LabelledRow } = {},
): Teacher {
  const known = new Map<LabelledRow, Said>()
  let left = bytes
  const say = async (row: LabelledRow) => {
    const remembered = known.get(row)
    if (remembered !== undefined) return remembered
    const said = withHidden
      ? await model.labelStates(prompt, read(row))
      : { logProbabilities: await model.labelLogProbabilities(prompt, read(row)), hidden: new Float32Array() }
    const size = said.logProbabilities.byteLength + said.hidden.byteLength
    if (size <= left) {
      known.set(row, said)
      left -= size
    }
    return said
  }
  const each = async (rows: readonly LabelledRow[], what: keyof Said) => {
    const results: Float32Array[] = []
    for (const row of rows) results.push((await say(row))[what])
    return results
  }
  return {
    logProbabilities: rows => each(rows, 'logProbabilities'),
    hidden: rows => each(rows, 'hidden'),
  }
}
