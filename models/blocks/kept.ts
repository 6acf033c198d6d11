import type { DecoderConfig } from './config.js'
import type { KeptNumbers } from './family.js'

/**
 * What the backward pass of one of a decoder's layers reads again, so that memory can be estimated from a config alone. A test counts the
 * same in compiled programs.
 */
export function keptNumbers(config: DecoderConfig): KeptNumbers {
  const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim, intermediateSize, attention, residual, mlp } = config
  const [queries, keys] = [numAttentionHeads * headDim, numKeyValueHeads * headDim]
  const norms = (residual.before === 'none' ? 0 : residual.parallel ? 1 : 2) + (residual.after ? 2 : 0)
  const unscaled = attention.queryKeyNorm === 'none' ? 0 : queries + keys
  return {
    // Queries, keys and values as attention has laid them out, and what it comes to; of the MLP what its activation takes, and the other
    // factor of a gate's product: all else of it is made again (`kernels/pointwise.ts`).
    row: norms * hiddenSize + 2 * queries + 2 * keys + unscaled + (mlp.gated ? 2 : 1) * intermediateSize,
    // Probabilities; the hyperbolic tangent of a soft cap.
    pair: attention.softCap === 0 ? 1 : 2,
  }
}
