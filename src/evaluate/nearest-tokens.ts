import type { SoftPrompt } from '../model/active-prompt.js'
import type { LanguageModel } from '../model/language-model.js'
import { softParameter } from '../prompts/soft-rows.js'
import { activeRows, inputRowsOf, loadPrompt } from '../sources/prompt.js'
import type { PromptFile } from '../store/prompt-file.js'

export interface NearestToken {
  /** As people read it: ` good`, not `Ġgood`. */
  readonly text: string
  readonly id: number
  readonly cosine: number
}

export interface NearestTokens {
  /** The virtual token, counted from 0; behind the last one the template's soft tokens. */
  readonly row: number
  /** It stands in the template. */
  readonly soft?: true
  /** Length of its vector. */
  readonly norm: number
  /** The vocabulary's rows of the largest cosine, downwards. */
  readonly tokens: readonly NearestToken[]
  /** Those of the largest dot product, which favours long rows. */
  readonly byDot: readonly { readonly text: string; readonly id: number; readonly dot: number }[]
}

/**
 * What the vectors of a soft prompt read as: for each the closest rows of the embedding table. Vectors that have moved far from all
 * words still have nearest ones, so look at the cosines.
 * @param options.count tokens per row, 3 by default
 * @returns nothing where the method has no rows at the input
 * @throws GradpromptError `model-mismatch`
 */
export async function nearestTokens(
  model: LanguageModel,
  prompt: PromptFile | SoftPrompt,
  { count = 3 }: { count?: number } = {},
): Promise<NearestTokens[]> {
  if ('tensors' in prompt) await loadPrompt(prompt, model)
  else activeRows(prompt, model)
  const input = 'tensors' in prompt ? await inputRowsOf(prompt) : prompt
  const soft = 'tensors' in prompt ? prompt.tensors.find(({ name }) => name === softParameter) : undefined
  const width = model.config.hiddenSize
  const data = new Float32Array((input?.data.length ?? 0) + (soft?.data.length ?? 0))
  if (input) data.set(input.data)
  if (soft) data.set(soft.data, input?.data.length ?? 0)
  const rows = data.length / width
  if (rows === 0) return []
  const norms = Array.from({ length: rows }, (_, row) => norm(data, row * width, width))
  const byCosine = norms.map(() => new Leaders(count))
  const byDot = norms.map(() => new Leaders(count))
  for await (const { ids, squaredNorms, products } of model.embeddingProducts(data))
    for (let row = 0; row < rows; row++) {
      const [nearest, largest] = [byCosine[row]!, byDot[row]!]
      for (const [i, id] of ids.entries()) {
        const dot = products[row * ids.length + i]!
        const lengths = Math.sqrt(squaredNorms[i]!) * norms[row]!
        largest.offer(id, dot)
        nearest.offer(id, lengths > 0 ? dot / lengths : 0)
      }
    }
  const text = (id: number) => model.tokenizer.token(id)
  return norms.map((length, row) => ({
    row,
    ...(row >= (input?.shape[0] ?? 0) && { soft: true as const }),
    norm: length,
    tokens: byCosine[row]!.list.map(({ id, value }) => ({ text: text(id), id, cosine: value })),
    byDot: byDot[row]!.list.map(({ id, value }) => ({ text: text(id), id, dot: value })),
  }))
}

/** A vector of a soft prompt, where it began and where it ended. */
export interface MovedTokens {
  readonly row: number
  /** Undefined where it is not known. */
  readonly start?: NearestTokens
  readonly end: NearestTokens
  /** Of the vector at the end and at the start. */
  readonly cosine?: number
}

/**
 * What the vectors of a soft prompt read as, and what they did before the first step.
 * @returns nothing where the method has no rows at the input
 * @throws GradpromptError `model-mismatch`
 */
export async function movedTokens(model: LanguageModel, start: PromptFile | undefined, end: PromptFile): Promise<MovedTokens[]> {
  const ends = await nearestTokens(model, end)
  const [first, last] = [start && (await inputRowsOf(start)), await inputRowsOf(end)]
  if (start === undefined || first === undefined || last === undefined || first.data.length !== last.data.length)
    return ends.map(end => ({ row: end.row, end }))
  const width = last.shape[1]
  const starts = await nearestTokens(model, start)
  return ends.map((end, row) => {
    let product = 0
    for (let k = row * width; k < (row + 1) * width; k++) product += first.data[k]! * last.data[k]!
    const lengths = starts[row]!.norm * end.norm
    return { row, start: starts[row]!, end, cosine: lengths > 0 ? product / lengths : 0 }
  })
}

function norm(values: Float32Array, start: number, width: number): number {
  let sum = 0
  for (let k = start; k < start + width; k++) sum += values[k]! * values[k]!
  return Math.sqrt(sum)
}

/** The few largest of many, downwards; of equals the first. */
class Leaders {
  readonly list: { id: number; value: number }[] = []
  #least = Number.NEGATIVE_INFINITY

  readonly #count: number

  constructor(count: number) {
    this.#count = count
  }

  offer(id: number, value: number): void {
    if (this.list.length === this.#count && !(value > this.#least)) return
    const place = this.list.findIndex(other => value > other.value)
    this.list.splice(place === -1 ? this.list.length : place, 0, { id, value })
    if (this.list.length > this.#count) this.list.pop()
    this.#least = this.list.at(-1)?.value ?? Number.NEGATIVE_INFINITY
  }
}
