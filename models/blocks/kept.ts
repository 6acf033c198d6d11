import type { DecoderConfig } from './config.js'
import type { KeptNumbers } from './family.js'
import type { MlpConfig } from './mlp.js'

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
    // Queries, keys and values as attention has laid them out, and what it comes to.
    row: norms * hiddenSize + 2 * queries + 2 * keys + unscaled + mlpKept(mlp) * intermediateSize,
    // Probabilities; the hyperbolic tangent of a soft cap.
    pair: attention.softCap === 0 ? 1 : 2,
  }
}

/** In widths of the MLP. */
function mlpKept({ gated, activation }: MlpConfig): number {
  // The product has two factors, of which one is what the activation makes.
  const product = gated ? 2 : 0
  switch (activation) {
    case 'silu':
      return product + (gated ? 1 : 2)
    case 'gelu-tanh':
      return product + 4
    case 'gelu':
      return product + 2
    case 'relu':
      return product + 1
  }
}
