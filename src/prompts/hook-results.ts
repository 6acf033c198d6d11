import type { tf } from '../../kernels/tf.js'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { inWords } from '../own-calls.js'
import type { LayerPrefix, PromptMethod } from './method.js'

/** What hooks of methods have to give back: tensors of these shapes. Of another shape they would fail far from the hook, or act where they should not. */

type Size = number | undefined

/** @throws GradpromptError `invalid-method` */
function invalid({ type }: PromptMethod, hook: string, found: string, expected: string): GradpromptError {
  return new GradpromptError('invalid-method', `what ${hook} of the method ${type} gives back is not usable`, {
    found,
    expected,
    hint: 'docs/extending.md has a method; the function may not be async',
  })
}

const shapeOf = (value: unknown): readonly number[] | undefined =>
  isRecord(value) && Array.isArray(value.shape) ? (value.shape as number[]) : undefined

/**
 * A tensor of some shape, of which undefined sizes may be any.
 * @param names what the sizes are, for the message
 * @throws GradpromptError `invalid-method`
 */
export function tensorOf<Tensor>(
  method: PromptMethod,
  hook: string,
  given: Tensor,
  sizes: readonly Size[],
  names: string,
): Tensor {
  const shape = shapeOf(given)
  if (shape?.length === sizes.length && sizes.every((size, axis) => size === undefined || size === shape[axis])) return given
  const known = sizes.map((size, axis) => size ?? names.split(', ')[axis]).join(', ')
  throw invalid(method, hook, inWords(given), `a tensor of shape [${names}], here [${known}]`)
}

/**
 * Keys and values of every layer.
 * @throws GradpromptError `invalid-method`
 */
export function prefixOf(
  method: PromptMethod,
  given: readonly LayerPrefix[],
  { layers, virtual }: { readonly layers: number; readonly virtual: number },
): readonly LayerPrefix[] {
  const expected = `a list of { key, value }, one for each of ${layers} layers`
  if (!Array.isArray(given)) throw invalid(method, 'prefix', inWords(given), expected)
  if (given.length !== layers) throw invalid(method, 'prefix', `${given.length} of them`, expected)
  for (const layer of given as readonly Record<string, tf.Tensor>[])
    for (const part of ['key', 'value'])
      tensorOf(method, `prefix (its ${part})`, layer?.[part], [undefined, virtual, undefined], 'Hkv, m, D')
  return given
}

/**
 * What a hook of a caller has made of a layer's rows.
 * @throws GradpromptError `invalid-hook`
 */
export function changedRows(given: tf.Tensor2D | undefined, { shape }: tf.Tensor): tf.Tensor2D | undefined {
  if (given === undefined) return undefined
  const own = isRecord(given) && Array.isArray(given.shape) ? given.shape : []
  if (own.length === shape.length && shape.every((size, axis) => size === own[axis])) return given
  throw new GradpromptError('invalid-hook', 'what the hook gives back is not usable', {
    found: inWords(given),
    expected: `a tensor of the shape of the rows, here [${shape.join(', ')}], or nothing: the layer is left as it is`,
    hint: 'the function may not be async',
  })
}
