import { encode, encodedLength, isEncodable, rounded } from '../../formats/encode.js'
import { type ActivePrompt, plainPrompt } from '../../model/active-prompt.js'
import type { LanguageModel } from '../../model/language-model.js'
import { logSumExp } from '../../numbers.js'
import { softParameter } from '../../prompts/soft-rows.js'
import { isStatic } from '../../prompts/static.js'
import type { ExportedPrompt, VocabularyRows } from './rows.js'

/** What it costs a prompt to be stored in fewer bits, and the narrowest type of numbers that costs next to nothing. */

/** Nats per token that an exported prompt's likelihood may move. */
export const mostMoved = 0.01

/** From narrow to wide. */
const widths = ['Q8_0', 'F16', 'F32']

export interface Width {
  readonly dtype: string
  /** Mean over tokens of how far their log-probability moves, in nats. */
  readonly moved: number
}

/**
 * The type of the embedding table with the prompt's rows in it. The table's own is taken where it moves the likelihood of the self-test's
 * texts and their continuations by less than `mostMoved`; then wider ones are tried, and the last is exact.
 *
 * @param stored.own the type that the table has in the source, or is to have
 * @param stored.isRounded the table's rows are of that type already, so that 8 bits would round them a second time
 */
export async function tableWidth(
  context: ExportedPrompt,
  rows: VocabularyRows,
  { own, isRounded }: { readonly own: string; readonly isRounded: boolean },
): Promise<Width> {
  const { model, selfTest } = context
  const { hiddenSize } = model.config
  const order = [...new Set([...(isEncodable(own) && rows.fold === undefined ? [own] : []), ...widths])]
  const isWider = (type: string) =>
    type === own || (isRounded ? type !== 'Q8_0' && bits(type) >= Math.min(16, bits(own)) : bits(type) > bits(own))
  const texts = selfTest.cases.map(({ ids, greedy }) => [...ids, ...greedy])
  const exact = await logProbabilities(model, texts, withRows(context, rows.rows))
  let last: Width = { dtype: 'F32', moved: 0 }
  for (const dtype of order.filter(isWider)) {
    if (dtype === 'F32') return { dtype, moved: 0 }
    if (dtype.startsWith('Q') && hiddenSize % 32 !== 0) continue
    const stored = rounded(
      dtype,
      rows.rows.map(x => x / rows.scale),
    ).map(x => x * rows.scale)
    if (!stored.every(Number.isFinite)) continue
    const found = await logProbabilities(model, texts, withRows(context, stored))
    last = { dtype, moved: meanDifference(exact, found) }
    if (last.moved < mostMoved) return last
  }
  return last
}

const bits = (type: string) => (type === 'F32' ? 32 : /F16$/.test(type) ? 16 : type === 'Q8_0' ? 8 : 4)

/**
 * The prompt with some rows in the places of its own: those of the template's soft tokens, then those in front. One that is rows in front
 * alone runs in the program that has computed the self-test.
 */
function withRows({ active, prompt: { position }, model }: ExportedPrompt, rows: Float32Array): ActivePrompt {
  const { method, config, parameters } = active
  const { hiddenSize } = model.config
  if (isStatic(method, config))
    return plainPrompt({ data: rows, shape: [rows.length / hiddenSize, hiddenSize], position }, model.config)
  const soft = parameters.get(softParameter)?.length ?? 0
  const own = rows.subarray(soft)
  const shape = [own.length / hiddenSize, hiddenSize]
  const changed = new Map(parameters)
  if (soft > 0) changed.set(softParameter, rows.slice(0, soft))
  if (own.length === 0) return { method, config, parameters: changed }
  changed.set('exportedRows', own)
  const replaced = {
    ...method,
    parameters: (...given: Parameters<typeof method.parameters>) => [
      ...method.parameters(...given),
      { name: 'exportedRows', shape },
    ],
    inputRows: (_: object, { exportedRows }: Parameters<NonNullable<typeof method.inputRows>>[1]) => exportedRows!,
  }
  return { method: replaced, config, parameters: changed }
}

/** Positions at the end of each text that are compared: so many logits are held at a time. */
const mostCompared = 24

/** Of each text's last tokens, in nats. */
async function logProbabilities(
  model: LanguageModel,
  texts: readonly (readonly number[])[],
  prompt: ActivePrompt,
): Promise<Float32Array[]> {
  const { vocabSize } = model.config
  const logits = await model.logits(texts, prompt, { last: mostCompared + 1 })
  return texts.map((ids, i) => {
    const first = ids.length - logits[i]!.length / vocabSize
    return Float32Array.from(ids.slice(first + 1), (id, j) => {
      const position = logits[i]!.subarray(j * vocabSize, (j + 1) * vocabSize)
      return position[id]! - logSumExp(position)
    })
  })
}

function meanDifference(some: readonly Float32Array[], others: readonly Float32Array[]): number {
  const differences = some.flatMap((row, i) => Array.from(row, (value, j) => Math.abs(value - others[i]![j]!)))
  return differences.reduce((sum, difference) => sum + difference, 0) / Math.max(1, differences.length)
}

/** The bytes of a table in a type. */
export const tableBytes = (dtype: string, rows: number, width: number): number => encodedLength(dtype, rows * width)

/** A longer table whose old rows stay as they are, byte for byte. */
export async function* copiedTable(
  pieces: AsyncIterable<Uint8Array>,
  { rows, scale, firstId, tableRows }: VocabularyRows,
  { dtype, oldRows, width }: { readonly dtype: string; readonly oldRows: number; readonly width: number },
) {
  const rowBytes = encodedLength(dtype, width)
  const added = encode(
    dtype,
    rows.map(x => x / scale),
  )
  const overlay = (piece: Uint8Array, start: number) => {
    const at = firstId * rowBytes - start
    const [from, to] = [Math.max(0, at), Math.min(piece.length, at + added.length)]
    if (to > from) piece.set(added.subarray(from - at, to - at), from)
    return piece
  }
  let done = 0
  for await (const piece of pieces) {
    yield overlay(piece, done)
    done += piece.length
  }
  if (tableRows > oldRows) yield overlay(new Uint8Array((tableRows - oldRows) * rowBytes), done)
}
