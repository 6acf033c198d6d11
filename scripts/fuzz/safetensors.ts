import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openSafetensors } from '../../src/formats/safetensors.js'
import { type Json, mutateBytes, mutateJson } from './mutate.js'
import type { FuzzTarget } from './run.js'

const keys = [
  '__metadata__',
  'dtype',
  'shape',
  'data_offsets',
  'weight_map',
  'F32',
  'BF16',
  'I64',
  'a.weight',
  '../x.safetensors',
]

/** One file, changed as bytes or in its header; or an index of shards. */
export const safetensors: FuzzTarget = {
  name: 'safetensors',
  async prepare(folder) {
    const fixtures = 'test/fixtures/formats'
    const files = await Promise.all(['single.safetensors', 'plain.safetensors'].map(name => readFile(join(fixtures, name))))
    const sharded = join(fixtures, 'sharded')
    for (const name of await readdir(sharded)) await writeFile(join(folder, name), await readFile(join(sharded, name)))
    const indexName = 'model.safetensors.index.json'
    const index = await readFile(join(sharded, indexName), 'utf8')
    const scratch = join(folder, 'scratch.safetensors')
    return async chance => {
      const file = chance.pick(files)
      const length = Number(file.readBigUInt64LE())
      const body = file.subarray(8 + length)
      let path = scratch
      switch (chance.below(3)) {
        case 0:
          await writeFile(scratch, mutateBytes(chance, file, files))
          break
        case 1: {
          const json = mutateJson(chance, JSON.parse(file.toString('utf8', 8, 8 + length)) as Json, keys)
          const header = Buffer.from(JSON.stringify(json))
          const size = Buffer.alloc(8)
          size.writeBigUInt64LE(BigInt(header.length))
          await writeFile(scratch, Buffer.concat([size, header, body]))
          break
        }
        default:
          await writeFile(join(folder, indexName), JSON.stringify(mutateJson(chance, JSON.parse(index) as Json, keys)))
          path = folder
      }
      const opened = await openSafetensors(path)
      try {
        for (const name of opened.tensors.keys()) {
          await opened.readBytes(name)
          if (['F32', 'F16', 'BF16'].includes(opened.tensors.get(name)!.dtype)) await opened.read(name)
        }
      } finally {
        await opened.close()
      }
    }
  },
}
