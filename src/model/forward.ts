import type { AttentionLayout } from '../../kernels/causal-attention.js'
import type { tf } from '../../kernels/tf.js'
import type { TokenTargets } from '../../kernels/token-cross-entropy.js'
import type { HiddenInputs } from '../../models/family.js'

/** The tensor side of a `Forest`: its inputs as the attention layouts and targets that a family and a loss take. */
export function forestLayout(
  inputs: Readonly<Record<string, tf.Tensor>>,
): Omit<HiddenInputs, 'weight' | 'x'> & { targets: TokenTargets } {
  const at = (name: string) => inputs[name]!
  const layout: AttentionLayout = {
    keyPositions: at('positions'),
    sharedPositions: at('sharedPositions'),
    queryIndex: at('queryIndex'),
    queryPositions: at('queryPositions'),
    queryMask: at('queryMask'),
    querySlot: at('querySlot'),
    keyIndex: at('keyIndex'),
    ...(inputs.keySlot ? { keySlot: inputs.keySlot } : {}),
  }
  const readLayout: AttentionLayout = {
    keyPositions: layout.keyPositions,
    sharedPositions: layout.sharedPositions,
    queryIndex: at('readQueryIndex'),
    queryPositions: at('readQueryPositions'),
    queryMask: at('readQueryMask'),
    querySlot: at('readQuerySlot'),
    keyIndex: at('readKeyIndex'),
    ...(inputs.readKeySlot ? { keySlot: inputs.readKeySlot } : {}),
  }
  return {
    layout,
    read: { index: at('readIndex'), inverse: at('readInverse'), layout: readLayout },
    targets: { row: at('targetRow'), target: at('targetId'), weight: at('targetWeight'), rowWeight: at('rowWeight') },
  }
}
