import type { InitialisationContext } from '../prompts/method.js'
import type { LanguageModel } from './language-model.js'

/** What a layer makes of many texts, a few at a time: for prompts that start from it. */

/** Texts that are computed together. */
const BLOCK = 16

/** @param onProgress told of texts that are done */
export function layerOutputsOf(
  model: LanguageModel,
  onProgress: ((progress: { readonly what: 'texts'; readonly done: number; readonly total: number }) => unknown) | undefined,
): InitialisationContext['layerOutputs'] {
  return async (texts, layer) => {
    const outputs: Float32Array[] = []
    while (outputs.length < texts.length) {
      outputs.push(...(await model.layerOutputs(texts.slice(outputs.length, outputs.length + BLOCK), layer)))
      await onProgress?.({ what: 'texts', done: outputs.length, total: texts.length })
    }
    return outputs
  }
}
