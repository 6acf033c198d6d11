import type { DataNotice } from '../../data/readers/reader.js'
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
    onWarning,
  }: {
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: ((done: number, total: number, what: string) => void) | undefined
    readonly onWarning?: ((warning: DataNotice) => void) | undefined
  },
): Promise<Float32Array[]> {
  const { hiddenSize, maxPositionEmbeddings: most } = model.config
  const results: Float32Array[] = []
  const length = Math.min(most, embeddedTokens)
  let cut = 0
  for (const text of texts) {
    refuseAborted(signal)
    const whole = model.tokenizer.encode(text, { addSpecialTokens: true })
    if (whole.length > length) cut++
    const ids = whole.slice(0, length)
    const [pass] = await model.forward([ids], { hiddenStates: true })
    const last = pass!.hiddenStates!.at(-1)!
    const sum = new Float32Array(hiddenSize)
    for (let i = 0; i < last.length; i++) sum[i % hiddenSize]! += last[i]! / Math.max(1, ids.length)
    results.push(sum)
    onProgress?.(results.length, texts.length, 'comparing texts')
  }
  if (cut > 0)
    onWarning?.({
      code: 'long-texts',
      message: `${cut} of ${texts.length} texts are longer than ${length} tokens: by how far they are from each other only their beginnings say`,
    })
  return results
}
