import { readNumpy } from '../../formats/numpy.js'
import type { PromptReader } from './imported.js'
import { matrixRows, wholeFile } from './rows.js'

/** A matrix in NumPy's format: what google-research/prompt-tuning, and the export to `embeds`, write. */
export const numpy: PromptReader = {
  name: 'npy',
  description: "rows in NumPy's format, .npy",
  reads: path => path.endsWith('.npy'),
  async read(path) {
    const { shape, data } = readNumpy(path, await wholeFile(path))
    return matrixRows(path, shape, data)
  },
}
