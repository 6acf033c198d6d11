import { openSafetensors } from '../../formats/safetensors.js'
import { elementCount } from '../../numbers.js'
import { mostBytes, type PromptReader } from './imported.js'
import { matrixRows, notAPrompt } from './rows.js'

/** A safetensors file that holds one matrix: rows for `inputs_embeds`, as the export to `embeds` writes them. */
export const safetensors: PromptReader = {
  name: 'safetensors',
  description: 'one matrix of rows, .safetensors',
  reads: path => path.endsWith('.safetensors'),
  async read(path) {
    const file = await openSafetensors(path)
    try {
      const tensors = [...file.tensors.values()]
      const [tensor] = tensors
      if (tensors.length !== 1 || tensor === undefined) {
        const names = tensors.slice(0, 5).map(({ name }) => name)
        throw notAPrompt(
          path,
          `${tensors.length} tensors: ${names.join(', ')}`,
          'one matrix of rows, or the prompt.safetensors of a run',
          'of an adapter name the folder, with its adapter_config.json',
        )
      }
      if (4 * elementCount(tensor.shape) > mostBytes)
        throw notAPrompt(path, `a tensor of shape [${tensor.shape.join(', ')}]`, `at most ${mostBytes / 4} numbers`)
      const position = file.metadata.get('position')
      const rows = matrixRows(path, tensor.shape, await file.read(tensor.name))
      return position === 'after-bos' || position === 'before-bos' ? { ...rows, position } : rows
    } finally {
      await file.close()
    }
  },
}
