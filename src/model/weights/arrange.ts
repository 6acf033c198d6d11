import type { WeightPart } from '../../../models/blocks/family.js'

/** Stored tensors in the order that programs want: the layouts that checkpoints have, undone. It knows nothing of files. */

/** A stored tensor in the order that programs want. */
export function arranged(
  data: Float32Array,
  { shape, transposed, permutedHeads, permutedColumns, byKeyHead, added }: WeightPart,
): Float32Array {
  if (added) return data.map(x => x + added)
  if (transposed) {
    const [rows, columns] = shape as [number, number]
    const out = new Float32Array(data.length)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) out[row * columns + column] = data[column * rows + row]!
    return out
  }
  // Each of its rows is a head of one column.
  if (permutedColumns) return arranged(data, { source: '', shape: [data.length], permutedHeads: shape[0]! })
  const rows = shape[0]!
  const width = data.length / rows
  const out = new Float32Array(data.length)
  if (byKeyHead) {
    const { repeat, headDim } = byKeyHead
    const keyHeads = rows / headDim / (repeat + 2)
    let from = 0
    const take = (head: number) => {
      const end = from + headDim * width
      out.set(data.subarray(from, end), head * headDim * width)
      from = end
    }
    for (let head = 0; head < keyHeads; head++) {
      for (let i = 0; i < repeat; i++) take(head * repeat + i)
      take(keyHeads * repeat + head)
      take(keyHeads * (repeat + 1) + head)
    }
    return out
  }
  if (!permutedHeads) return data
  // Stored row 2i + j of a head is row j * (D/2) + i of the half-rotation form.
  const headDim = rows / permutedHeads
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headDim)
    const within = row % headDim
    const target = head * headDim + (within % 2) * (headDim / 2) + (within >> 1)
    out.set(data.subarray(row * width, (row + 1) * width), target * width)
  }
  return out
}
