import type { AttentionLayout } from '../../kernels/causal-attention.js'
import { tf } from '../../kernels/tf.js'
import type { TokenTargets } from '../../kernels/token-cross-entropy.js'
import type { HiddenInputs } from '../../models/family.js'

type Tensors = Record<string, tf.Tensor>

/** The tensor side of a `Forest`: its inputs as the attention layouts and targets that a family and a loss take. */
export function forestLayout(inputs: Tensors): Omit<HiddenInputs, 'weight' | 'x'> & { targets: TokenTargets } {
  const { positions, sharedPositions, readIndex, readInverse } = inputs as Record<string, tf.Tensor1D>
  const groupings = [0, 1].filter(i => inputs[`keyIndex${i}`])
  const grouping = (i: number, query: 'query' | 'read') => ({
    keyIndex: inputs[`keyIndex${i}`]!,
    keySlot: inputs[`keySlot${i}`]!,
    queryIndex: inputs[query === 'query' ? `queryIndex${i}` : `readIndexOf${i}`]!,
    querySlot: inputs[`${query}Slot${i}`]!,
    queryGroup: inputs[`${query}Group${i}`]!,
  })
  // Masks go by `queryPositions`; a placeholder row differs there from the position that it is embedded at.
  const queryPositions = tf.concat([sharedPositions!, tf.slice(positions!, [sharedPositions!.shape[0]], [-1])]) // [R]
  const layout: AttentionLayout = {
    queryPositions,
    keyPositions: positions!,
    sharedPositions: sharedPositions!,
    groupings: groupings.map(i => grouping(i, 'query')),
  }
  return {
    layout,
    read: {
      index: readIndex!,
      inverse: readInverse!,
      layout: {
        ...layout,
        queryPositions: tf.gather(queryPositions, readIndex!),
        groupings: groupings.map(i => grouping(i, 'read')),
      },
    },
    targets: { row: inputs.targetRow!, target: inputs.targetId!, weight: inputs.targetWeight!, rowWeight: inputs.rowWeight! },
  }
}
