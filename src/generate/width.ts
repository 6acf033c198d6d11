import { GradpromptError } from '../errors.js'
import type { MemoryPlan } from '../model/memory.js'
import { isHalf } from '../program/precision.js'
import type { WeightWidth } from './programs.js'

/** The arithmetic of what is generated: the one place that decides it where nobody asks for one. */

/** `auto`: exact (fp32) wherever that fits comfortably. */
export type WeightChoice = 'auto' | WeightWidth

export const weightChoices: readonly WeightChoice[] = ['auto', 'fp32', 'stored']

/** Of the memory budget, what the weights of exact arithmetic may take: keys, values and logits need the rest. */
const comfortably = 2 / 3
/** Decoding packs the weights once more, beside those that all programs map. */
const copies = 2

/**
 * The width of the products that write. With `auto` exact arithmetic is taken when the weights, in float32 and packed once more, take
 * two thirds of the memory budget at most; otherwise those that the checkpoint stores, in 8 bits or less. Weights that are kept compact
 * would be unpacked for every token; a half precision was asked for, and is taken.
 * @throws GradpromptError `invalid-option`
 */
export function chooseWidth(
  choice: WeightChoice,
  { budget, keeping, float32Weights }: Pick<MemoryPlan, 'budget' | 'keeping' | 'float32Weights'>,
): WeightWidth {
  if (choice === 'auto' && isHalf(keeping)) return 'fp32'
  if (choice === 'auto') return keeping === 'fp32' && copies * float32Weights <= comfortably * budget ? 'fp32' : 'stored'
  if (weightChoices.includes(choice)) return choice
  throw new GradpromptError('invalid-option', 'weights is not usable', {
    found: String(choice),
    expected: `one of ${weightChoices.join(', ')}`,
  })
}
