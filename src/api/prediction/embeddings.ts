import { refuseAborted } from '../../errors.js'
import type { LanguageModel } from '../../model/language-model.js'

/** Texts as vectors of a language model's own, by which they are near to each other or far. */

/** Of a text, at most: what a long text is about shows early. */
const embeddedTokens = 512

/** Means of the last hidden states of texts, without a prompt: [d] each. */
export async function embeddings(
  model: LanguageModel,
  texts: readonly string[],
  {
    signal,
    onProgress,
  }: {
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
  },
): Promise<Float32Array[]> {
  const { hiddenSize, maxPositionEmbeddings: most } = model.config
  const results: Float32Array[] = []
  for (const text of texts) {
    refuseAborted(signal)
    const ids = model.tokenizer.encode(text, { addSpecialTokens: true }).slice(0, Math.min(most, embeddedTokens))
    const [pass] = await model.forward([ids], { hiddenStates: true })
    const last = pass!.hiddenStates!.at(-1)!
    const sum = new Float32Array(hiddenSize)
    for (let i = 0; i < last.length; i++) sum[i % hiddenSize]! += last[i]! / Math.max(1, ids.length)
    results.push(sum)
    onProgress?.(results.length, texts.length, 'comparing texts')
  }
  return results
}
