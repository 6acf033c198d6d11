import { encode, encodedLength } from '../../src/formats/encode.js'
import { GgufFile } from '../../src/formats/gguf.js'
import { writeGguf } from '../../src/formats/gguf-writer.js'
import type { TensorStream } from '../../src/formats/safetensors-writer.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { elementCount } from '../../src/numbers.js'

/**
 * Writes a GGUF file again with its matrices in another type; vectors, and rows that do not fill blocks, become float32. The embedding
 * table, which is the head as well where the two are tied, is one of the matrices.
 */
export async function writeRequantized(source: string, target: string, type: string): Promise<void> {
  const { file } = await openCheckpoint(source)
  if (!(file instanceof GgufFile)) throw new RangeError(`${source} is no GGUF file`)
  try {
    const keys = [...file.metadata.keys()].filter(key => !key.startsWith('split.'))
    const entries = await Promise.all(keys.map(key => file.rawEntry(key)))
    const tensors = [...file.tensors].map(([name, { shape }]): TensorStream => {
      const own = shape.length === 2 && shape.at(-1)! % 32 === 0 ? type : 'F32'
      const pieces = async function* () {
        yield encode(own, await file.read(name))
      }
      return { name, dtype: own, shape, byteLength: encodedLength(own, elementCount(shape)), pieces }
    })
    await writeGguf(target, { entries, tensors, alignment: file.alignment })
  } finally {
    await file.close()
  }
}
