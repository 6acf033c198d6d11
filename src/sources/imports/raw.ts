import type { PromptReader } from './imported.js'
import { finite, notAPrompt, wholeFile } from './rows.js'

/** Nothing but float32 numbers, little-endian, row after row: how wide a row is says the model. */
export const raw: PromptReader = {
  name: 'f32',
  description: 'rows as raw float32, .f32: as wide as the model',
  reads: path => path.endsWith('.f32'),
  async read(path) {
    const bytes = await wholeFile(path)
    if (bytes.length === 0 || bytes.length % 4 !== 0)
      throw notAPrompt(path, `${bytes.length} bytes`, 'float32 numbers, four bytes each')
    const data = Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))
    return { kind: 'rows', data: finite(path, data), width: undefined }
  },
}
