import { parentPort, workerData } from 'node:worker_threads'
import { GradpromptError } from '../errors.js'
import { loadTokenizer, type TokenizerSource } from '../formats/tokenizer.js'
import type { LongText, Tokenized } from './tokenizing.js'

/** The thread of `tokenizing.ts`: one text after the other, in the order in which they came. */

const loading = loadTokenizer(workerData as TokenizerSource)

parentPort!.on('message', async ({ id, text, addSpecialTokens }: LongText) => {
  const tokenizer = await loading
  parentPort!.postMessage(answer())

  function answer(): Tokenized {
    try {
      return { id, ids: tokenizer.encode(text, { addSpecialTokens }) }
    } catch (error) {
      if (!(error instanceof GradpromptError)) throw error
      const { code, message, found } = error
      return { id, error: { code, message, found } }
    }
  }
})
