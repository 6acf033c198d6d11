import { z } from 'zod'
import { drawIds } from '../initialisation.js'
import { start } from './start.js'
import { idsOfTexts } from './texts.js'

export const labels = start({
  schema: z.strictObject({
    type: z.literal('labels').describe('start from the embeddings of the label words, then from drawn vocabulary rows'),
  }),
  needs: 'label words',
  rows(_, count, context) {
    const { model, tokenizer, seed, labelWords } = context
    const ids = idsOfTexts(labelWords, context, { addSpecialTokens: false })
    const further = drawIds(Math.max(0, count - ids.length), model.vocabSize, { tokenizer, seed })
    return context.embeddingRows([...ids, ...further].slice(0, count))
  },
})
