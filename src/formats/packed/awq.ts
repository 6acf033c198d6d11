/**
 * AWQ as AutoAWQ's "gemm" stores it: integers of 4 bits under scales and zero points of groups of input columns. `qweight` [in, out / 8] has
 * eight neighbouring outputs in a word, in the order that its kernel wants; `qzeros` [groups, out / 8] alike; `scales` [groups, out].
 * Weights: Lin et al. 2023, https://arxiv.org/abs/2306.00978. Values are exact in float32; AutoAWQ rounds them to half precision.
 */
import type { TensorFile } from '../tensor-file.js'
import type { PackedWeight, PackingScheme } from './packed-tensors.js'
import { integerOf, misfit, modulesWith, partOf, readWords, requireShape, unreadPacking } from './parts.js'

/** Of the eight nibbles of a word, lowest first, which output each is. */
const order = [0, 2, 4, 6, 1, 3, 5, 7] as const

export const awq: PackingScheme = {
  methods: ['awq'],
  find(file, config) {
    const bits = integerOf(config, ['bits', 'w_bit']) ?? 0
    const groupSize = integerOf(config, ['group_size', 'q_group_size']) ?? 0
    const version = String(config.version ?? 'gemm').toLowerCase()
    if (bits !== 4) throw unreadPacking(file, `awq of ${String(config.bits ?? config.w_bit)} bits`, 'bits: 4')
    if (version !== 'gemm') throw unreadPacking(file, `awq in the layout of ${version}`, 'version: gemm')
    if (config.zero_point === false) throw unreadPacking(file, 'awq without zero points', 'zero_point: true')
    if (groupSize < -1 || groupSize === 0) throw unreadPacking(file, `awq with groups of ${groupSize}`, 'groups of input columns')
    return { weights: modulesWith(file, 'qweight').map(module => packedWeight(file, module, groupSize)), beside: [] }
  },
}

function packedWeight(file: TensorFile, module: string, groupSize: number): PackedWeight {
  const integers = partOf(file, `${module}.qweight`, ['I32'], 2)
  const [columns, words] = integers.shape as [number, number]
  const rows = words * 8
  const size = groupSize === -1 ? columns : groupSize
  const groups = Math.ceil(columns / size)
  const zeros = partOf(file, `${module}.qzeros`, ['I32'], 2)
  const scales = partOf(file, `${module}.scales`, ['F16', 'BF16', 'F32'], 2)
  requireShape(file, scales, [groups, rows])
  requireShape(file, zeros, [groups, words])
  if (columns % size !== 0) throw misfit(file, integers.name, `${columns} inputs`, `a multiple of the group size ${size}`)
  return {
    name: `${module}.weight`,
    dtype: 'AWQ 4-bit',
    shape: [rows, columns],
    sources: [integers.name, zeros.name, scales.name],
    async unpack(file, out) {
      const packed = await readWords(file, integers.name)
      const points = await readWords(file, zeros.name)
      const factors = await file.read(scales.name)
      for (let column = 0; column < columns; column++) {
        const group = Math.floor(column / size)
        for (let word = 0; word < words; word++) {
          const value = packed[column * words + word]!
          const point = points[group * words + word]!
          for (let j = 0; j < 8; j++) {
            const row = word * 8 + order[j]!
            out[row * columns + column] = factors[group * rows + row]! * (((value >>> (4 * j)) & 15) - ((point >>> (4 * j)) & 15))
          }
        }
      }
    },
  }
}
