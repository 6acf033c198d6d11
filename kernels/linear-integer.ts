import type { LoweredRowQuantization, Lowering } from './kernel.js'

/** Sides of the rotations, largest first. */
const ROTATIONS = [64, 32, 16]

/** Integers of a row of activations or weights, at most. */
export const LARGEST = 127
/** What makes the integers of activations unsigned, as the hardware's products want them. */
const ZERO = 128
/** The scale of a row of zeros. */
const SMALLEST_SCALE = 1e-30

/** How many neighbouring columns are rotated together where there are `columns` of them; undefined where no rotation divides them. */
export const rotationOf = (columns: number): number | undefined => ROTATIONS.find(side => columns % side === 0)

/**
 * `x weightᵀ + bias` by whole numbers of 8 bits: each row of activations has one scale, each row of the weight another, and what is
 * between is a product of integers, for which processors have units of their own (VNNI, AMX, dot products).
 *
 * One scale for a whole row wants activations of like size, and a few columns of a language model's are a hundred times the others'.
 * So the columns are scaled, the weight's the other way round, towards the middle between both (SmoothQuant,
 * https://arxiv.org/abs/2211.10438), and blocks of neighbours are rotated by a Hadamard matrix H, which spreads what is large over
 * its block (QuaRot, https://arxiv.org/abs/2404.00456, with blocks in place of whole rows). Neither changes the product:
 * `(x S H)(weight S⁻¹ H)ᵀ = x weightᵀ`. The weight has been through this before it was rounded (`src/model/integer-weights.ts`).
 */
export function lowerIntegerLinear(
  { inputs: [x, weight, bias], emit, emitMany, float, int64, once }: Lowering,
  { rotation, inputBits, integers, scales: weightScales, inputScales }: LoweredRowQuantization,
): string {
  const columns = weight!.shape[1] as number
  const own = (what: string) => `${what} of ${x!.name} by ${inputScales}`
  const rotated = once(own('rotation'), () => {
    const matrix = once(`rotation of ${rotation}`, () =>
      emit('Reshape', [float(hadamard(rotation)), int64([rotation, rotation])]),
    )
    const blocks = emit('Reshape', [emit('Mul', [x!.name, inputScales]), int64([-1, rotation])])
    return emit('Reshape', [emit('MatMul', [blocks, matrix]), int64([-1, columns])]) // [R, in]
  })
  const rowScales = once(own('scales'), () => {
    const [highest, lowest] = ['ReduceMax', 'ReduceMin'].map(name => emit(name, [rotated, int64([1])], { keepdims: 0 }))
    const largest = emit('Max', [highest!, emit('Neg', [lowest!])])
    return emit('Max', [emit('Mul', [largest, float(1 / LARGEST)]), float(SMALLEST_SCALE)]) // [R]
  })
  const zeros = (size: Parameters<Lowering['int64']>[0]) =>
    emit('ConstantOfShape', [int64(size)], { value: { dtype: 'uint8', values: [ZERO] } })
  const rows = once(own('integers'), () => emit('QuantizeLinear', [rotated, rowScales, zeros([x!.shape[0]!])], { axis: 0 }))
  const column = (scales: string) => emit('Unsqueeze', [scales, int64([1])]) // [R] -> [R, 1]
  const zero = once('zero of integers', () => zeros([1]))
  const multiply = (rows: string, scales: string) =>
    emit('MatMulIntegerToFloat', [rows, integers, scales, weightScales, zero], {}, 'com.microsoft')
  let product: string
  if (inputBits === 8) {
    product = multiply(
      rows,
      once(own('column of scales'), () => column(rowScales)),
    )
  } else {
    // What rounding leaves is at most half a number: it is rounded anew, and both are rows of one product, which reads the weight once.
    const rest = emit('Sub', [rotated, emit('DequantizeLinear', [rows, rowScales, zeros([x!.shape[0]!])], { axis: 0 })])
    const restScales = emit('Mul', [rowScales, float(0.5 / LARGEST)])
    const restRows = emit('QuantizeLinear', [rest, restScales, zeros([x!.shape[0]!])], { axis: 0 })
    const both = emit('Concat', [rows, restRows], { axis: 0 }) // [2 R, in]
    const products = multiply(both, column(emit('Concat', [rowScales, restScales], { axis: 0 })))
    const [first, second] = emitMany('Split', [products], 2, { axis: 0, num_outputs: 2 })
    product = emit('Add', [first!, second!])
  }
  return bias ? emit('Add', [product, bias.name]) : product
}

/** The orthogonal, symmetric matrix of Sylvester's construction: [side, side], row by row. */
export function hadamard(side: number): number[] {
  const value = 1 / Math.sqrt(side)
  return Array.from({ length: side * side }, (_, at) => (odd(Math.floor(at / side) & (at % side)) ? -value : value))
}

/** Whether an odd number of bits are set. */
function odd(bits: number): boolean {
  let is = false
  for (let rest = bits; rest > 0; rest &= rest - 1) is = !is
  return is
}
