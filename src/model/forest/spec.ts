import type { InputSpec } from '../../program/program.js'
import type { PromptPlacement } from '../../prompts/method.js'
import type { ForestLayout } from './groups.js'

/** What programs over forests declare: their inputs, and how large they may be. */

/** A row limit that no batch on a machine of today reaches, so that one program serves all of them. */
export const MAX_ROWS = 1 << 17

/** Ranges of the sizes of a forest, and the declared inputs of a program over one. */
export function forestSpec({ placement, layout = 'distinct' }: { placement: PromptPlacement; layout?: ForestLayout }): {
  inputs: Record<string, InputSpec>
  dims: Record<string, readonly [number, number]>
} {
  const { numVirtualTokens: m, as = 'rows', perSequence = false, edges } = placement
  // P shared rows and S others; where sequences share nothing, a placeholder, m virtual rows for each of B, and W text rows.
  const own = perSequence ? `W+${m}*B` : 'S'
  const all = perSequence ? `${own}+1` : 'P+S'
  const text = perSequence ? 'W' : m > 0 ? `P+S-${m}` : 'P+S'
  const hidden = as === 'keys' ? text : all
  const size: readonly [number, number] = [1, MAX_ROWS]
  const int32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'int32' })
  const float32 = (...shape: (number | string)[]): InputSpec => ({ shape, dtype: 'float32' })
  const inputs = {
    tokenIds: int32(text),
    textIndex: int32(text),
    answerMask: float32(text),
    ...(edges && { edgeMask: float32(text) }),
    positions: int32(all),
    sharedPositions: int32(perSequence ? 1 : 'P'),
    readIndex: int32('Q'),
    readInverse: int32(hidden),
    targetRow: int32('N'),
    targetId: int32('N'),
    targetWeight: float32('N'),
    rowWeight: float32('Q'),
    queryIndex: int32('G', 'T'),
    queryPositions: int32('G', 'T'),
    queryMask: float32('G', 'T'),
    querySlot: int32(hidden),
    keyIndex: int32('G', 'K'),
    readQueryIndex: int32('H', 'U'),
    readQueryPositions: int32('H', 'U'),
    readQueryMask: float32('H', 'U'),
    readQuerySlot: int32('Q'),
    readKeyIndex: int32('H', 'J'),
    ...(layout === 'distinct' && { keySlot: int32(own), readKeySlot: int32(own) }),
    ...(layout === 'in turn' && { keyCount: int32('G'), readKeyCount: int32('H') }),
    ...(perSequence
      ? {
          instructionIndex: int32('B', 'I'),
          instructionMask: float32('B', 'I'),
          instructionInverse: int32(text),
        }
      : {}),
  }
  const names = ['Q', 'N', 'G', 'T', 'K', 'H', 'U', 'J', ...(perSequence ? ['W', 'B', 'I'] : ['S'])]
  const dims = Object.fromEntries(names.map(name => [name, size]))
  return { inputs, dims: perSequence ? dims : { P: [Math.max(1, m), MAX_ROWS], ...dims } }
}
