import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { type Json, mutateBytes, mutateJson } from './mutate.js'
import type { FuzzTarget } from './run.js'

const keys =
  'quant_method gptq awq fp8 compressed-tensors bits group_size checkpoint_format gptq_v2 weight_block_size format pack-quantized config_groups weights num_bits strategy channel tensor group block block_structure zero_point version weight_scale qweight qzeros scales g_idx shape dtype I32 F8_E4M3'.split(
    ' ',
  )

/** A model whose weights are packed: its config against its tensors, whose header and bytes are changed as well. */
export const packed: FuzzTarget = {
  name: 'packed',
  async prepare(folder) {
    const fixtures = 'test/fixtures/packed'
    const sources = await Promise.all(
      (await readdir(fixtures)).map(async name => ({
        name,
        config: await readFile(join(fixtures, name, 'config.json')),
        weights: await readFile(join(fixtures, name, 'model.safetensors')),
      })),
    )
    for (const { name } of sources) {
      await mkdir(join(folder, name))
      await copyFile(join(fixtures, name, 'model.safetensors'), join(folder, name, 'model.safetensors'))
    }
    return async chance => {
      const { name, config, weights } = chance.pick(sources)
      const place = join(folder, name)
      const parsed = JSON.parse(config.toString('utf8')) as { quantization_config: Json }
      const other = chance.pick(sources).config
      const way = chance.below(4)
      const changed =
        way === 0
          ? { ...parsed, quantization_config: (JSON.parse(other.toString('utf8')) as typeof parsed).quantization_config }
          : way === 1
            ? parsed
            : { ...parsed, quantization_config: mutateJson(chance, parsed.quantization_config, keys) }
      await writeFile(join(place, 'config.json'), JSON.stringify(changed))
      const length = Number(weights.readBigUInt64LE())
      if (way === 1) {
        const header = Buffer.from(
          JSON.stringify(mutateJson(chance, JSON.parse(weights.toString('utf8', 8, 8 + length)) as Json, keys)),
        )
        const size = Buffer.alloc(8)
        size.writeBigUInt64LE(BigInt(header.length))
        await writeFile(join(place, 'model.safetensors'), Buffer.concat([size, header, weights.subarray(8 + length)]))
      } else if (way === 2) {
        const body = mutateBytes(chance, weights.subarray(8 + length), [weights])
        await writeFile(join(place, 'model.safetensors'), Buffer.concat([weights.subarray(0, 8 + length), body]))
      } else await writeFile(join(place, 'model.safetensors'), weights)
      const checkpoint = await openCheckpoint(place)
      try {
        for (const tensor of checkpoint.file.tensors.keys()) await checkpoint.file.read(tensor)
      } finally {
        await checkpoint.file.close()
      }
    }
  },
}
