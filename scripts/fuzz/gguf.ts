import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openGguf } from '../../src/formats/gguf.js'
import { loadTokenizer } from '../../src/formats/tokenizer.js'
import { mutateBytes } from './mutate.js'
import type { FuzzTarget } from './run.js'

/** The header, every tensor, and the tokenizer in the metadata. */
export const gguf: FuzzTarget = {
  name: 'gguf',
  async prepare(folder) {
    const paths = [
      'formats/tiny.gguf',
      'models/llama-gguf/model.gguf',
      'models/gpt2-gguf/model.gguf',
      'quantized/mixed.gguf',
      'quantized/codes.gguf',
    ]
    const files = await Promise.all(paths.map(path => readFile(join('test/fixtures', path))))
    // Headers are where the claims are: most changes belong there.
    const heads = files.map(file => file.subarray(0, 12_000))
    const scratch = join(folder, 'model.gguf')
    return async chance => {
      const i = chance.below(files.length)
      const head = mutateBytes(chance, heads[i]!, heads)
      await writeFile(scratch, chance.below(8) === 0 ? head : Buffer.concat([head, files[i]!.subarray(12_000)]))
      const file = await openGguf(scratch)
      try {
        for (const name of file.tensors.keys()) await file.read(name).catch(ignoreRefusal)
        const tokenizer = await loadTokenizer({ ggufMetadata: file.metadata })
        tokenizer.decode(tokenizer.encode('Hello  world, 1 2 3 \ud83d\ude00'))
      } finally {
        await file.close()
      }
    }
  },
}

/** A tensor of a type that cannot be read does not keep the others from being tried. */
function ignoreRefusal(error: unknown): void {
  if ((error as { code?: unknown }).code !== 'unsupported-quantization') throw error
}
