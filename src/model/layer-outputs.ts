import { OpenPrograms } from '../program/open-programs.js'
import type { InitialisationContext } from '../prompts/method.js'
import type { LanguageModel } from './language-model.js'
import { layerRows } from './prompt-gradient.js'
import { requireContext, requireIds } from './row.js'

/** What a layer makes of many texts, a few at a time: for prompts that start from it. */

/** Texts that are computed together. */
const BLOCK = 16

/**
 * What a layer gives out at every token of texts, under no prompt: [tokens * hiddenSize] for each. The last layer is none of them: its
 * rows are nowhere whole.
 * @param onProgress told of texts that are done
 * @throws GradpromptError `context-exceeded`, `invalid-token-id`
 */
export function layerOutputsOf(
  model: LanguageModel,
  onProgress?: (progress: { readonly what: 'texts'; readonly done: number; readonly total: number }) => unknown,
): InitialisationContext['layerOutputs'] {
  return async (texts, layer) => {
    const { config, memory, checkpoint, weights } = model
    const rows = texts.map(({ ids }) => ids)
    const lengths = rows.map(({ length }) => length)
    requireContext(lengths, config, undefined)
    requireIds(rows, config, undefined)
    const programs = new OpenPrograms(model, 'the model')
    const outputs: Float32Array[] = []
    try {
      while (outputs.length < rows.length) {
        const block = rows.slice(outputs.length, outputs.length + BLOCK)
        outputs.push(...(await layerRows({ config, memory, checkpoint, weights, programs }, block, { to: layer + 1 })))
        await onProgress?.({ what: 'texts', done: outputs.length, total: rows.length })
      }
    } finally {
      await programs.dispose()
    }
    return outputs
  }
}
