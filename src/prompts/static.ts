import { runEagerly } from '../program/eager.js'
import type { PromptMethod } from './method.js'

/** Whether a method comes to rows that are the same for every text and stand at the input alone. */
export const isStatic = ({ inputRows, offset, layerRows, prefix, attention }: PromptMethod): boolean =>
  inputRows !== undefined && !offset && !layerRows && !prefix && !attention

/**
 * The rows that a static method comes to.
 *
 * @returns [numVirtualTokens, hiddenSize]
 */
export async function staticRows(
  method: PromptMethod,
  config: { readonly type: string },
  tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly data: Float32Array }[],
): Promise<Float32Array> {
  const inputs = Object.fromEntries(tensors.map(({ name, shape, data }) => [name, { shape, data }]))
  const declared = Object.fromEntries(tensors.map(({ name, shape }) => [name, { shape, dtype: 'float32' as const }]))
  const fn = (given: Parameters<NonNullable<PromptMethod['inputRows']>>[1]) => ({ rows: method.inputRows!(config, given) })
  const { rows } = await runEagerly({ name: `${method.type} rows`, inputs: declared, fn }, inputs)
  return rows!.data as Float32Array
}
