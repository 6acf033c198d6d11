/**
 * What vLLM's compressed-tensors writes: integers of 4 or 8 bits packed into words (`weight_packed` [out, in / n], the first input lowest,
 * as much as half their range too large), and plain `weight`s of FP8 or 8-bit integers; each under `weight_scale` and, where it is not
 * symmetric, `weight_zero_point`, of groups of input columns, of blocks, of rows, or of all. Activations stay as they are.
 * Format: https://github.com/vllm-project/compressed-tensors
 */
import { isRecord } from '../../json.js'
import type { StoredTensor, TensorFile } from '../tensor-file.js'
import { activationScale, float8Types, scaledWeights } from './float8.js'
import type { PackedWeight, PackingScheme } from './packed-tensors.js'
import { fitsGrid, integerOf, misfit, modulesWith, partOf, readGroups, readWords, requireShape, unreadPacking } from './parts.js'

const formats = ['dense', 'pack-quantized', 'float-quantized', 'int-quantized', 'naive-quantized']
const expected = `compressed-tensors of the formats ${formats.join(', ')}`

/** How the weights of some modules were quantised. */
interface WeightScheme {
  readonly bits: number
  /** Blocks that have a scale each, for a weight of this shape. */
  block(shape: readonly [number, number]): readonly [number, number]
}

export const compressedTensors: PackingScheme = {
  methods: ['compressed-tensors'],
  find(file, config) {
    refuseOthers(file, config)
    const schemes = weightSchemes(file, config)
    const scaled = scaledWeights(file, shape => schemes.map(({ block }) => block(shape)), [...float8Types, 'I8'])
    const packedModules = new Set(modulesWith(file, 'weight_packed'))
    return {
      weights: [
        ...[...packedModules].map(module => packedWeight(file, module, schemes)),
        ...scaled.weights.filter(({ name }) => !packedModules.has(name.slice(0, -'.weight'.length))),
      ],
      beside: [...file.tensors.keys()].filter(name => activationScale.test(name)),
    }
  },
}

function refuseOthers(file: TensorFile, config: Readonly<Record<string, unknown>>): void {
  const { format, quantization_status: status, sparsity_config: sparsity, transform_config: transform } = config
  const groups = isRecord(config.config_groups) ? Object.values(config.config_groups) : []
  const named = [format, ...groups.map(group => (isRecord(group) ? group.format : undefined))]
  const other = named.find(name => name !== undefined && name !== null && !formats.includes(String(name)))
  if (other !== undefined) throw unreadPacking(file, `compressed-tensors in the format ${String(other)}`, expected)
  if (status !== undefined && status !== null && status !== 'compressed')
    throw unreadPacking(file, `compressed-tensors whose status is ${String(status)}`, 'quantization_status: compressed')
  if (isRecord(sparsity) && sparsity.format !== undefined && sparsity.format !== 'dense')
    throw unreadPacking(file, `compressed-tensors with ${String(sparsity.format)} sparsity`, 'weights without gaps')
  if (
    isRecord(transform) &&
    Object.keys(transform).length > 0 &&
    Object.keys((transform.config_groups as object) ?? {}).length > 0
  )
    throw unreadPacking(file, 'compressed-tensors with transforms of activations', 'weights alone')
}

/** The distinct schemes of `config_groups`: which a module has, its tensors' shapes say. */
function weightSchemes(file: TensorFile, config: Readonly<Record<string, unknown>>): WeightScheme[] {
  const groups = isRecord(config.config_groups) ? Object.values(config.config_groups) : []
  return groups.flatMap((group): WeightScheme[] => {
    const weights = isRecord(group) ? group.weights : undefined
    if (!isRecord(weights)) return []
    const { strategy, block_structure: structure } = weights
    const bits = integerOf(weights, ['num_bits']) ?? 0
    const size = integerOf(weights, ['group_size']) ?? 0
    if (bits !== 4 && bits !== 8) throw unreadPacking(file, `weights of ${String(weights.num_bits)} bits`, 'num_bits: 4 or 8')
    switch (strategy) {
      case 'tensor':
        return [{ bits, block: shape => shape }]
      case 'channel':
        return [{ bits, block: ([, columns]) => [1, columns] }]
      case 'group':
        if (size > 0) return [{ bits, block: () => [1, size] }]
        break
      case 'block':
        if (Array.isArray(structure) && structure.length === 2 && structure.every(one => Number.isSafeInteger(one) && one > 0))
          return [{ bits, block: () => structure as unknown as [number, number] }]
    }
    throw unreadPacking(
      file,
      `weights by the strategy ${JSON.stringify(strategy ?? null)}`,
      'strategy: tensor, channel, group with a group_size, or block with a block_structure',
    )
  })
}

function packedWeight(file: TensorFile, module: string, schemes: readonly WeightScheme[]): PackedWeight {
  const integers = partOf(file, `${module}.weight_packed`, ['I32'], 2)
  const scales = partOf(file, `${module}.weight_scale`, ['F16', 'BF16', 'F32'], 2)
  const [rows, words] = integers.shape as [number, number]
  // Where a scale serves blocks of several rows, it serves all rows.
  const scheme = schemes.find(({ bits, block }) => {
    const shape = [rows, (words * 32) / bits] as const
    const [height, width] = block(shape)
    return (height === 1 || (height === rows && width === shape[1])) && fitsGrid(scales, shape, [height, width])
  })
  if (scheme === undefined)
    throw misfit(file, scales.name, `[${scales.shape.join(', ')}]`, `scales of the groups of [${rows}, ${words} words]`)
  const { bits } = scheme
  const inWord = 32 / bits
  const columns = words * inWord
  const [, size] = scheme.block([rows, columns])
  const groups = Math.ceil(columns / size)
  const zeros = optionalPart(file, `${module}.weight_zero_point`, ['I32'], 2)
  if (zeros) requireShape(file, zeros, [Math.ceil(rows / inWord), groups])
  const order = optionalPart(file, `${module}.weight_g_idx`, ['I32', 'I64'], 1)
  if (order) requireShape(file, order, [columns])
  const shape = optionalPart(file, `${module}.weight_shape`, ['I64', 'I32'], 1)
  const half = 2 ** (bits - 1)
  const mask = 2 ** bits - 1
  return {
    name: `${module}.weight`,
    dtype: `packed ${bits}-bit`,
    shape: [rows, columns],
    sources: [integers.name, scales.name, ...[zeros, order, shape].flatMap(part => (part ? [part.name] : []))],
    async unpack(file, out) {
      if (shape) await requireStoredShape(file, shape, [rows, columns])
      const packed = await readWords(file, integers.name)
      const factors = await file.read(scales.name)
      const points = zeros ? await readWords(file, zeros.name) : undefined
      const groupOf = await readGroups(file, order?.name, columns, size, groups)
      const perRow = factors.length === 1 ? 0 : groups
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++) {
          const group = groupOf[column]!
          const value = (packed[row * words + Math.floor(column / inWord)]! >>> (bits * (column % inWord))) & mask
          const word = points?.[Math.floor(row / inWord) * groups + group]
          // Both are as much too large.
          const point = word === undefined ? half : (word >>> (bits * (row % inWord))) & mask
          out[row * columns + column] = factors[row * perRow + group]! * (value - point)
        }
    },
  }
}

const optionalPart = (file: TensorFile, name: string, dtypes: readonly string[], axes: number): StoredTensor | undefined =>
  file.tensors.has(name) ? partOf(file, name, dtypes, axes) : undefined

/** @throws GradpromptError `shape-mismatch`: columns that do not fill words are not read */
async function requireStoredShape(file: TensorFile, { name, dtype }: StoredTensor, shape: readonly number[]): Promise<void> {
  const bytes = await file.readBytes(name)
  const numbers =
    dtype === 'I64'
      ? [...new BigInt64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8)].map(Number)
      : [...new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)]
  if (numbers.join() !== shape.join()) throw misfit(file, name, `[${numbers.join(', ')}]`, `[${shape.join(', ')}]`)
}
