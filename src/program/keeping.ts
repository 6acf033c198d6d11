import { GradpromptError, unknownName } from '../errors.js'
import { type Device, deviceProfile } from './devices.js'

/** How weights are kept, by name: options and help know the names without a model. What the forms are is said in `compact-weights.ts`. */

/** `fp32`, or `compact`: each weight in the smallest form that has its values to the bit, on disk and in memory. */
export type WeightKeeping = 'fp32' | 'compact'

/** `auto`: `fp32` wherever that fits comfortably. */
export type KeepingChoice = 'auto' | WeightKeeping

export const keepingChoices: readonly KeepingChoice[] = ['auto', 'fp32', 'compact']

/**
 * What is chosen on a device: where ONNX Runtime optimises programs itself, it would unpack whole models as they are opened.
 * @throws GradpromptError `invalid-option`
 */
export function keepingOn(device: Device, choice: KeepingChoice = 'auto'): KeepingChoice {
  if (!keepingChoices.includes(choice))
    throw unknownName('invalid-option', 'keepWeights is not usable', String(choice), keepingChoices)
  if (deviceProfile(device).opensAsWritten) return choice
  if (choice !== 'compact') return 'fp32'
  throw new GradpromptError('invalid-option', `Weights cannot be kept compact on the device ${device}`, {
    found: 'keepWeights: compact',
    expected: 'fp32, or auto',
  })
}
