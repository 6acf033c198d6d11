import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { mutateBytes } from './mutate.js'
import type { FuzzTarget } from './run.js'

/** Bytes in which these files have their metadata and most of their tensors' names. */
const HEAD = 8000

/** A model in one file, opened: its metadata as a config of each family, against its tensors. */
export const ggufModel: FuzzTarget = {
  name: 'gguf-model',
  async prepare(folder) {
    const fixtures = 'test/fixtures/models'
    const names = (await readdir(fixtures)).filter(name => name.endsWith('-gguf'))
    const files = await Promise.all(names.map(name => readFile(join(fixtures, name, 'model.gguf'))))
    const heads = files.map(file => file.subarray(0, HEAD))
    await mkdir(join(folder, 'model'))
    const scratch = join(folder, 'model', 'model.gguf')
    return async chance => {
      const i = chance.below(files.length)
      // What the family reads stands first.
      const until = chance.pick([1000, 1000, HEAD])
      const head = mutateBytes(chance, heads[i]!.subarray(0, until), heads)
      await writeFile(scratch, Buffer.concat([head, files[i]!.subarray(until)]))
      const { file, weights } = await openCheckpoint(scratch)
      try {
        for (const { parts } of weights) for (const { source } of parts) await file.read(source)
      } finally {
        await file.close()
      }
    }
  },
}
