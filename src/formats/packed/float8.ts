/**
 * FP8 weights with scales: `weight` of E4M3 or E5M2, times `weight_scale` or `weight_scale_inv` (which also multiplies): one number, one for
 * each output, or one for each block (128 x 128 in DeepSeek's and Qwen's). Scales of activations, for running in FP8, change no weight:
 * here activations stay as they are.
 * Formats: Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433
 */
import type { TensorFile } from '../tensor-file.js'
import type { PackedWeight, PackingScheme } from './packed-tensors.js'
import { applyGrid, fitsGrid, misfit, modulesWith, partOf, readInt8, type ScaleGrid, unreadPacking } from './parts.js'

export const float8Types = ['F8_E4M3', 'F8_E5M2']

/** Scales that only a product in 8 bits, or a cache in 8 bits, reads. */
export const activationScale = /\.(input_scale|activation_scale|output_scale|k_scale|v_scale|q_scale|input_scale_ub)$/

export const float8: PackingScheme = {
  methods: ['fp8', 'fbgemm_fp8'],
  find(file, config) {
    const given = config.weight_block_size ?? undefined
    if (given !== undefined && !isBlock(given))
      throw unreadPacking(file, `fp8 with weight_block_size ${JSON.stringify(given)}`, 'two whole numbers, such as [128, 128]')
    return scaledWeights(file, ([rows, columns]) => [...(given ? [given] : []), [rows, columns], [1, columns]])
  },
}

const isBlock = (value: unknown): value is [number, number] =>
  Array.isArray(value) && value.length === 2 && value.every(size => Number.isSafeInteger(size) && size > 0)

/**
 * Every `weight` that has a scale beside it.
 * @param blocks what a scale may serve, for a weight of this shape
 */
export function scaledWeights(
  file: TensorFile,
  blocks: (shape: readonly [number, number]) => readonly ScaleGrid['block'][],
  dtypes: readonly string[] = float8Types,
): { weights: PackedWeight[]; beside: string[] } {
  const weights = ['weight_scale', 'weight_scale_inv'].flatMap(suffix =>
    modulesWith(file, suffix)
      .filter(module => file.tensors.has(`${module}.weight`))
      .map(module => scaledWeight(file, module, suffix, dtypes, blocks)),
  )
  return { weights, beside: [...file.tensors.keys()].filter(name => activationScale.test(name)) }
}

function scaledWeight(
  file: TensorFile,
  module: string,
  suffix: string,
  dtypes: readonly string[],
  blocks: (shape: readonly [number, number]) => readonly ScaleGrid['block'][],
): PackedWeight {
  const weight = partOf(file, `${module}.weight`, dtypes, 2)
  const shape = weight.shape as [number, number]
  const scale = file.tensors.get(`${module}.${suffix}`)!
  const block = blocks(shape).find(one => fitsGrid(scale, shape, one))
  if (block === undefined) {
    const known = blocks(shape).map(one => `[${one.join(', ')}]`)
    throw misfit(file, scale.name, `[${scale.shape.join(', ')}]`, `a scale for each block of ${known.join(' or ')} of [${shape}]`)
  }
  const points = file.tensors.get(`${module}.weight_zero_point`)
  if (points !== undefined && (points.dtype !== 'I8' || points.shape.join() !== scale.shape.join()))
    throw misfit(file, points.name, `${points.dtype} [${points.shape.join(', ')}]`, `I8 [${scale.shape.join(', ')}]`)
  const grid = { scales: scale.name, points: points?.name, block }
  return {
    name: weight.name,
    dtype: `${weight.dtype} scaled`,
    shape,
    sources: [weight.name, scale.name, ...(points === undefined ? [] : [points.name])],
    async unpack(file, out) {
      if (weight.dtype === 'I8') out.set(await readInt8(file, weight.name))
      else await file.read(weight.name, out)
      await applyGrid(file, grid, out, shape)
    },
  }
}
