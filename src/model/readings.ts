import { tf } from '../../kernels/tf.js'
import { tokenLogits, tokenLogProbabilities } from '../../kernels/token-cross-entropy.js'
import { declareCode } from '../code-identity.js'
import type { Reading } from './model-programs.js'

/** What programs read off the model where something is predicted. They know neither prompts nor forests. */

/** `logits` [Q, V] */
export const logitsReading: Reading = declareCode(import.meta.url, {
  name: 'logits',
  compute: ({ logits }) => ({ logits }),
})

/** `logits` [Q, V], and the normalised hidden states that they are made of, `hidden` [Q, d] */
export const statesAndLogits: Reading = declareCode(import.meta.url, {
  name: 'logitsAndHidden',
  compute: read => {
    const { hidden } = read
    return { logits: read.logits, hidden }
  },
})

/** The normalised hidden states alone, as the head takes them: `states` [Q, d] */
export const statesReading: Reading = declareCode(import.meta.url, {
  name: 'states',
  compute: ({ hidden }) => ({ states: hidden }),
})

/** Of every target, `logProbabilities` [N] */
export const targetLogProbabilities: Reading = declareCode(import.meta.url, {
  name: 'logProbabilities',
  compute: ({ logits, targets: { row, target } }) => ({ logProbabilities: tokenLogProbabilities(logits, row, target) }),
})

/** Of every target, `logProbabilities` and `logits` [N]; and of every read row, the `highest` logit [Q] */
export const targetScores: Reading = declareCode(import.meta.url, {
  name: 'scores',
  compute: ({ logits, targets: { row, target } }) => ({
    logProbabilities: tokenLogProbabilities(logits, row, target),
    logits: tokenLogits(logits, row, target),
    highest: tf.max(logits, -1),
  }),
})
