import type { ActivePrompt, LabelledRow, LanguageModel } from '../model/language-model.js'

/** Rows are recomputed once this much is remembered: a row's bits do not depend on whether it was. */
const REMEMBERED_BYTES = 256e6

/** What a fixed model says of rows' labels, computed once for each row and remembered over the epochs. */
export interface Teacher {
  /** For each row [labels * vocabSize], as `LanguageModel.labelLogProbabilities`. */
  logProbabilities(rows: readonly LabelledRow[]): Promise<Float32Array[]>
}

/**
 * A teacher of rows. Rows are known by identity, so that a text under another template is another row.
 *
 * @param prompt what the model answers under; undefined: the frozen model's own distribution (PromptSRC, arXiv 2307.06948)
 * @param options.read the row as the teacher sees it, with the same labels; by default as it is
 */
export function createTeacher(
  model: LanguageModel,
  prompt: ActivePrompt | undefined,
  { bytes = REMEMBERED_BYTES, read = row => row }: { bytes?: number; read?: (row: LabelledRow) => LabelledRow } = {},
): Teacher {
  const known = new Map<LabelledRow, Float32Array>()
  let left = bytes
  const say = async (row: LabelledRow) => {
    const remembered = known.get(row)
    if (remembered !== undefined) return remembered
    const said = await model.labelLogProbabilities(prompt, read(row))
    if (said.byteLength <= left) {
      known.set(row, said)
      left -= said.byteLength
    }
    return said
  }
  return {
    async logProbabilities(rows) {
      const results: Float32Array[] = []
      for (const row of rows) results.push(await say(row))
      return results
    },
  }
}
