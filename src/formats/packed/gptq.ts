/**
 * GPTQ: integers of 2, 4 or 8 bits under scales and zero points of groups of input columns, as AutoGPTQ and GPTQModel write them.
 * `qweight` [in / n, out] has n neighbouring inputs in a word, the first lowest; `qzeros` [groups, out / n] neighbouring outputs alike;
 * `scales` [groups, out]; `g_idx` [in] says which group an input is of, where columns were quantised in another order (`desc_act`).
 * In the format "gptq" a stored zero point is one less than meant, among `bits` bits; in "gptq_v2" it is as meant. GPTQModel takes the one
 * from all points of a word in one subtraction, where a point of 0 borrows from its neighbour; it says so by its name (`meta.quantizer`).
 * Weights: Frantar et al. 2022, https://arxiv.org/abs/2210.17323. Values are exact in float32; AutoGPTQ rounds them to half precision.
 */
import type { TensorFile } from '../tensor-file.js'
import type { PackedWeight, PackingScheme } from './packed-tensors.js'
import { integerOf, misfit, modulesWith, partOf, readGroups, readWords, requireShape, unreadPacking } from './parts.js'

const formats = ['gptq', 'gptq_v2']

export const gptq: PackingScheme = {
  methods: ['gptq'],
  find(file, config) {
    const bits = integerOf(config, ['bits']) ?? 0
    const groupSize = integerOf(config, ['group_size']) ?? 0
    const format = config.checkpoint_format ?? 'gptq'
    if (![2, 4, 8].includes(bits)) throw unreadPacking(file, `gptq of ${String(config.bits)} bits`, 'bits: 2, 4 or 8')
    if (groupSize < -1 || groupSize === 0)
      throw unreadPacking(file, `gptq with group_size ${String(config.group_size)}`, '-1, or a whole number of columns')
    if (typeof format !== 'string' || !formats.includes(format) || config.is_marlin_format === true)
      throw unreadPacking(
        file,
        `gptq in the format ${config.is_marlin_format === true ? 'marlin' : String(format)}`,
        formats.join(' or '),
      )
    const zeros = format === 'gptq_v2' ? 'meant' : isGptqModel(config.meta) ? 'less-by-word' : 'less-by-point'
    const options = { bits, groupSize, zeros } as const
    return { weights: modulesWith(file, 'qweight').map(module => packedWeight(file, module, options)), beside: [] }
  },
}

interface Options {
  readonly bits: number
  readonly groupSize: number
  /** Stored zero points are as meant, or one less: each for itself, or all of a word at once. */
  readonly zeros: 'meant' | 'less-by-point' | 'less-by-word'
}

/** Whether GPTQModel wrote it: `meta: { quantizer: ["gptqmodel:2.0.0"] }`, or the name alone. */
function isGptqModel(meta: unknown): boolean {
  const { quantizer } = (meta ?? {}) as { quantizer?: unknown }
  return [quantizer].flat().some(name => typeof name === 'string' && name.startsWith('gptqmodel'))
}

/** The zero points that words of them mean, [groups, out]. */
function zeroPoints(words: Int32Array, bits: number, zeros: Options['zeros']): Uint8Array {
  const inWord = 32 / bits
  const mask = 2 ** bits - 1
  // A one in the place of each point.
  const ones = Math.floor((2 ** 32 - 1) / mask)
  return Uint8Array.from({ length: words.length * inWord }, (_, i) => {
    const word = words[Math.floor(i / inWord)]! + (zeros === 'less-by-word' ? ones : 0)
    return ((word >>> (bits * (i % inWord))) + (zeros === 'less-by-point' ? 1 : 0)) & mask
  })
}

function packedWeight(file: TensorFile, module: string, { bits, groupSize, zeros: stored }: Options): PackedWeight {
  const inWord = 32 / bits
  const integers = partOf(file, `${module}.qweight`, ['I32'], 2)
  const [words, rows] = integers.shape as [number, number]
  const columns = words * inWord
  const size = groupSize === -1 ? columns : groupSize
  const groups = Math.ceil(columns / size)
  const zeros = partOf(file, `${module}.qzeros`, ['I32'], 2)
  const scales = partOf(file, `${module}.scales`, ['F16', 'BF16', 'F32'], 2)
  if (rows % inWord !== 0) throw misfit(file, integers.name, `${rows} outputs`, `a multiple of ${inWord}`)
  requireShape(file, scales, [groups, rows])
  requireShape(file, zeros, [groups, rows / inWord])
  const order = file.tensors.has(`${module}.g_idx`) ? partOf(file, `${module}.g_idx`, ['I32'], 1) : undefined
  if (order !== undefined) requireShape(file, order, [columns])
  return {
    name: `${module}.weight`,
    dtype: `GPTQ ${bits}-bit`,
    shape: [rows, columns],
    sources: [integers.name, zeros.name, scales.name, ...(order === undefined ? [] : [order.name])],
    async unpack(file, out) {
      const packed = await readWords(file, integers.name)
      const packedZeros = await readWords(file, zeros.name)
      const factors = await file.read(scales.name)
      const groupOf = await readGroups(file, order?.name, columns, size, groups)
      const mask = 2 ** bits - 1
      const points = zeroPoints(packedZeros, bits, stored)
      for (let word = 0; word < words; word++)
        for (let row = 0; row < rows; row++) {
          const value = packed[word * rows + row]!
          const start = row * columns + word * inWord
          for (let j = 0; j < inWord; j++) {
            const at = groupOf[word * inWord + j]! * rows + row
            out[start + j] = factors[at]! * (((value >>> (bits * j)) & mask) - points[at]!)
          }
        }
    },
  }
}
