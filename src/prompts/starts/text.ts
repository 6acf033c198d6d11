import { z } from 'zod'
import { start } from './start.js'
import { idsOfTexts } from './texts.js'

export const text = start({
  schema: z.strictObject({
    type: z.literal('text').describe('start from the embeddings of a text, repeated or cut to the number of virtual tokens'),
    text: z.string().min(1).describe('the text to start from, for example an instruction'),
  }),
  rows({ text }, count, context) {
    // PEFT encodes the text as the tokenizer does by default, special tokens included.
    const ids = idsOfTexts([text], context, { addSpecialTokens: true })
    return context.embeddingRows(Array.from({ length: count }, (_, i) => ids[i % ids.length]!))
  },
})
