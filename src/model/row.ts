import type { ModelConfig } from '../../models/blocks/family.js'
import { GradpromptError } from '../errors.js'
import { inWords } from '../own-calls.js'
import { numSoftTokens } from '../prompts/soft-rows.js'
import { type ActivePrompt, placementOf } from './active-prompt.js'

/** Of a position without a loss. */
const IGNORED = -100

/** A row for training or scoring: `labels[i]` is `ids[i]`, or -100 where there is no loss. */
export interface LabelledRow {
  readonly ids: readonly number[]
  readonly labels: readonly number[]
  /** Which of the prompt's tasks it belongs to, where the prompt has several. */
  readonly task?: number | undefined
}

/** A row to score: a context, and what may follow it. */
export interface CandidateRow {
  readonly context: readonly number[]
  /** `task`: the one that a candidate is scored under, where its row names none. */
  readonly candidates: readonly { readonly ids: readonly number[]; readonly task?: number | undefined }[]
  readonly task?: number | undefined
}

/** Nothing is predicted from what stands behind the second-last label, so it is not computed. */
export const fedIds = (row: LabelledRow) => row.ids.slice(0, labelPositions(row).at(-1) ?? 0)

/**
 * Positions of the labels of a row.
 * @throws GradpromptError `shape-mismatch`
 */
export function labelPositions({ ids, labels }: LabelledRow): number[] {
  if (labels.length !== ids.length) {
    throw new GradpromptError('shape-mismatch', 'A row has not as many labels as ids', {
      found: `${labels.length} labels`,
      expected: `${ids.length}, one for each id`,
    })
  }
  return labels.flatMap((label, i) => (label === IGNORED ? [] : [i]))
}

/** @throws GradpromptError `invalid-rows` for what is no list of lists */
export function requireLists(rows: unknown): void {
  const other = Array.isArray(rows) ? rows.findIndex(ids => !Array.isArray(ids)) : undefined
  if (other === -1) return
  const found = other === undefined ? rows : (rows as unknown[])[other]
  throw new GradpromptError('invalid-rows', other === undefined ? 'There are no rows' : `Row ${other} is none`, {
    found: inWords(found),
    expected: 'a list of rows, each a list of token ids',
    ...(ArrayBuffer.isView(found) && { hint: '[...ids] makes a list of a typed array' }),
  })
}

/**
 * Behind the vocabulary are the prompt's soft tokens.
 * @throws GradpromptError `invalid-token-id`
 */
export function requireIds(
  rows: readonly (readonly number[])[],
  model: ModelConfig,
  prompt: Pick<ActivePrompt, 'config'> | undefined,
): void {
  const limit = model.vocabSize + (prompt ? numSoftTokens(prompt.config) : 0)
  for (const [i, ids] of rows.entries()) {
    const bad = ids.find(id => !(Number.isInteger(id) && id >= 0 && id < limit))
    if (bad !== undefined) throw outsideVocabulary(`Row ${i} holds an id outside the vocabulary`, bad, limit)
  }
}

/** @param limit how many ids there are */
export const outsideVocabulary = (message: string, id: number, limit: number): GradpromptError =>
  new GradpromptError('invalid-token-id', message, {
    found: String(id),
    expected: `0 to ${limit - 1}`,
    hint: 'a tokenizer of more tokens than the model has embeddings for may be of another model',
  })

/**
 * Beyond its positions a model computes numbers that mean nothing, or none.
 * @param lengths tokens that are fed of each row, virtual ones not among them
 * @throws GradpromptError `context-exceeded`
 */
export function requireContext(
  lengths: readonly number[],
  model: ModelConfig,
  prompt: Pick<ActivePrompt, 'method' | 'config'> | undefined,
): void {
  const { numVirtualTokens } = placementOf(prompt, model)
  const { maxPositionEmbeddings: most } = model
  const long = lengths.findIndex(length => length + numVirtualTokens > most)
  if (long === -1) return
  throw new GradpromptError('context-exceeded', `Row ${long} is longer than the model's context`, {
    found: `${lengths[long]} tokens${numVirtualTokens === 0 ? '' : ` behind ${numVirtualTokens} of a soft prompt`}`,
    expected: `at most ${most} in all`,
    hint: 'cut the row, or use a model with a longer context',
  })
}
