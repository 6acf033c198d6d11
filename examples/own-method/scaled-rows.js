import { tf, z } from 'gradprompt/extend'

/** Rows that start from words and are learned as a change of them, whose size is learned for each row apart. */
export default {
  paper: 'an example',
  learningRate: 0.02,
  options: z.object({
    numVirtualTokens: z.int().min(1).default(10).describe('rows that are learned'),
    words: z.string().min(1).default('Classify the sentiment of the review.').describe('what the rows start from'),
  }),
  placement: ({ numVirtualTokens }) => ({ numVirtualTokens, position: 'before-bos' }),
  parameters: ({ numVirtualTokens }, { hiddenSize }) => [
    { name: 'start', shape: [numVirtualTokens, hiddenSize] },
    { name: 'scale', shape: [numVirtualTokens, 1] },
  ],
  async initialise({ numVirtualTokens: count, words }, { tokenizer, embeddingRows }) {
    const ids = tokenizer.encode(words, { addSpecialTokens: false })
    const rows = await embeddingRows(Array.from({ length: count }, (_, i) => ids[i % ids.length]))
    return new Map([
      ['start', rows],
      ['scale', new Float32Array(count).fill(1)],
    ])
  },
  inputRows: (_, { start, scale }) => tf.mul(start, scale), // [m, d]
}
