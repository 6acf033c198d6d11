import { defineKernel, type Lowering } from './kernel.js'
import { tf } from './tf.js'

/**
 * Cosines and sines of positions times frequencies, the tables of `rotary-embedding.ts`. A kernel of its own because graphics processors
 * compute both with an error of 2e-4, which is seen in every logit: where they do, the tables are made in double precision, which
 * ONNX Runtime computes on the host, of positions that lie there anyway.
 */
const run = defineKernel({
  name: 'RotaryTable',
  inputs: ['positions'],
  reference: ({ positions }, attributes) => {
    const { of, frequencies, factor } = attributes as unknown as Attributes
    const angles = tf.mul(tf.expandDims(tf.cast(positions!, 'float32'), 1), tf.tensor1d([...frequencies])) // [R, D/2]
    const table = of === 'Cos' ? tf.cos(angles) : tf.sin(angles)
    return factor === 1 ? table : tf.mul(table, factor)
  },
  lower: {
    shape: ({ positions }, { frequencies }) => [positions!.shape[0]!, (frequencies as number[]).length],
    write: lowering => {
      const { of, frequencies, factor } = lowering.attributes as unknown as Attributes
      const { inputs, emit, float, once, isCoarse } = lowering
      const precise = isCoarse(of)
      const table = emit(of, [
        once(`angles of ${inputs[0]!.name} by ${frequencies}`, () => (precise ? doubleAngles(lowering) : floatAngles(lowering))),
      ])
      const rounded = precise ? emit('Cast', [table], { to: FLOAT }) : table
      return factor === 1 ? rounded : emit('Mul', [rounded, float(factor)])
    },
  },
})

interface Attributes {
  readonly of: 'Cos' | 'Sin'
  readonly frequencies: readonly number[]
  readonly factor: number
}

/** ONNX's numbers of the types. */
const [FLOAT, DOUBLE] = [1, 11]

const column = ({ inputs, emit, int64 }: Lowering) => emit('Unsqueeze', [inputs[0]!.name, int64([1])]) // [R, 1]

function floatAngles(lowering: Lowering): string {
  const { attributes, emit, float } = lowering
  return emit('Mul', [emit('Cast', [column(lowering)], { to: FLOAT }), float(attributes.frequencies as number[])])
}

/**
 * The same angles to the bit, as doubles: checkpoints were trained with angles that are rounded to float32. Adding and taking away
 * 2^29 times a double leaves its 24 highest bits (Veltkamp 1968; Dekker 1971, section 5).
 */
function doubleAngles(lowering: Lowering): string {
  const { attributes, emit, float } = lowering
  const double = (x: string) => emit('Cast', [x], { to: DOUBLE })
  const exact = emit('Mul', [double(column(lowering)), double(float(attributes.frequencies as number[]))])
  const shifted = emit('Add', [emit('Mul', [exact, double(float(2 ** 29))]), exact])
  return emit('Sub', [shifted, emit('Sub', [shifted, exact])])
}

/**
 * @param of of which function the table is
 * @param positions [R] int32
 * @param frequencies radians per position, each a float32 number, [D/2]
 * @param factor by which the values are multiplied
 * @returns [R, D/2]
 */
export function rotaryTable(
  of: 'cos' | 'sin',
  positions: tf.Tensor,
  frequencies: ArrayLike<number>,
  factor: number,
): tf.Tensor2D {
  return run({ positions }, { of: of === 'cos' ? 'Cos' : 'Sin', frequencies: Array.from(frequencies), factor }) as tf.Tensor2D
}
