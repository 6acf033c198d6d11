import { tf } from '../../kernels/tf.js'
import type { Loss } from './loss.js'
import { sequenceDims, sequenceFeeds, sequenceInputs, sequenceLogProbabilities } from './sequences.js'

/**
 * What programs compute of a loss over classes: the sum of the log-likelihoods of answers, each weighed by how the loss changes with it. Its
 * gradient is that of the loss, whatever formula the slopes come from.
 */

/** How a loss changes with the log-likelihood of each row's answer. */
export interface Slopes {
  readonly slopes: readonly number[]
}

export const weighedLikelihoods: Pick<Required<Loss<{ type: string }, Slopes>>, 'dims' | 'inputs' | 'compute' | 'feed'> = {
  dims: sequenceDims,
  inputs: () => ({ ...sequenceInputs, slope: { shape: ['C'], dtype: 'float32' } }),
  compute: (_, read) => ({ loss: tf.sum(tf.mul(sequenceLogProbabilities(read), read.given.slope!)) }),
  feed: (_, { slopes }, part) => ({
    ...sequenceFeeds(part),
    slope: { data: Float32Array.from(part.sequences, row => slopes[row]!), shape: [part.sequences.length] },
  }),
}
