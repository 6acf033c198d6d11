import { expect, test } from 'vitest'
import { onePart } from '../../src/export/vocabulary/checkpoint-tensors.js'
import type { TensorFile } from '../../src/formats/tensor-file.js'

const rows = Float32Array.from({ length: 12 }, (_, i) => i)

/** A file with one tensor, [4, 3], read in two pieces; whole only where that is allowed. */
const file = (isReadWhole: boolean) =>
  ({
    async *valuePieces() {
      yield rows.subarray(0, 6)
      yield rows.subarray(6)
    },
    read: async () => {
      if (isReadWhole) return rows
      throw new Error('read whole')
    },
  }) as unknown as TensorFile

async function written(source: object, target: object, isReadWhole: boolean): Promise<number[]> {
  const weight = (part: object) => ({ name: 'w', shape: [4, 3], parts: [{ source: 'own', shape: [4, 3], ...part }] })
  const bytes: number[] = []
  for await (const piece of onePart(file(isReadWhole), weight(source), weight(target), 0, 'F32')) bytes.push(...piece)
  return [...new Float32Array(Uint8Array.from(bytes).buffer)]
}

test.each([{}, { permutedHeads: 1 }, { transposed: true }])(
  'a weight that lies as it is wanted (%o) goes by in pieces',
  async layout => {
    expect(await written(layout, { ...layout, source: 'other' }, false)).toEqual([...rows])
  },
)

test('one that lies otherwise is laid out anew', async () => {
  expect(await written({}, { permutedHeads: 1 }, true)).toEqual([0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11])
  expect(await written({ added: 1 }, {}, true)).toEqual([...rows].map(x => x + 1))
})
