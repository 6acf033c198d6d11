import { zipEntries } from '../../formats/archive/zip.js'
import { readNumpy } from '../../formats/numpy.js'
import { mostBytes, type PromptReader } from './imported.js'
import { matrixRows, notAPrompt, wholeFile } from './rows.js'

/** Fewer than this many rows, as KoboldAI itself wants. */
const belowRows = 2048

/** A soft prompt of KoboldAI: a zip archive with `tensor.npy`, and `meta.json`, which names models and decides nothing here. */
export const koboldai: PromptReader = {
  name: 'koboldai',
  description: 'a soft prompt of KoboldAI, .zip',
  reads: (path, head) => path.endsWith('.zip') || head.readUInt32LE(0) === 0x04034b50,
  async read(path) {
    const entries = zipEntries(path, await wholeFile(path), mostBytes)
    const tensor = entries.find(({ name }) => name === 'tensor.npy')
    if (tensor === undefined) {
      const names = entries.slice(0, 5).map(({ name }) => name)
      const isTorch = entries.some(({ name }) => name.endsWith('data.pkl'))
      throw notAPrompt(
        path,
        names.join(', ') || 'nothing',
        'tensor.npy in it, as KoboldAI writes it',
        isTorch ? 'a file that torch.save wrote is a pickle: save its tensor with safetensors.torch.save_file' : undefined,
      )
    }
    const { shape, data } = readNumpy(`${path}: tensor.npy`, Buffer.from(tensor.read()))
    if (shape[0]! >= belowRows) throw notAPrompt(path, `${shape[0]} rows`, `fewer than ${belowRows}`)
    return matrixRows(path, shape, data)
  },
}
