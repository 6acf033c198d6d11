import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openSafetensors, writeSafetensors } from '../../src/formats/safetensors.js'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { readWeight, weightFile } from '../../src/model/weights/weight-file.js'
import { failure } from './failure.js'

const fixtures = 'test/fixtures/packed'
let scratch: string
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'gradprompt-packed-'))
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

type Json = Record<string, unknown>
const configOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Json

let made = 0
/** A copy of a fixture whose `quantization_config`, and entries of whose header, are others. */
function changed(name: string, quantization: Json, header: (entries: Record<string, Json>) => void = () => {}): string {
  const folder = join(scratch, String(made++))
  mkdirSync(folder)
  const config = configOf(join(fixtures, name))
  const given = { ...(config.quantization_config as Json), ...quantization }
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, quantization_config: given }))
  const file = readFileSync(join(fixtures, name, 'model.safetensors'))
  const length = Number(file.readBigUInt64LE())
  const entries = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<string, Json>
  header(entries)
  const written = Buffer.from(JSON.stringify(entries))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(written.length))
  writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([size, written, file.subarray(8 + length)]))
  return folder
}

const open = async (path: string) => {
  const { file } = await openCheckpoint(path)
  await file.close()
}

describe('packed weights', () => {
  it.each(readdirSync(fixtures))('%s: every weight is what the reference says, bit for bit', async name => {
    const folder = join(fixtures, name)
    const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Record<string, string>
    const { file, weights } = await openCheckpoint(folder)
    try {
      for (const [tensor, digest] of Object.entries(expected)) {
        const values = await file.read(tensor)
        expect(createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex'), tensor).toBe(digest)
        const given = new Float32Array(values.length)
        expect(await file.read(tensor, given)).toBe(given)
        expect(given).toEqual(values)
        expect((await failure(() => file.read(tensor, new Float32Array(3)))).code).toBe('shape-mismatch')
        for await (const piece of file.valuePieces(tensor)) expect(piece).toEqual(values)
        expect((await failure(() => file.bytePieces(tensor))).code).toBe('unsupported-quantization')
        expect(file.locate(tensor).path).toMatch(/model\.safetensors$/)
        expect((await file.readBytes(tensor)).length).toBe(file.locate(tensor).byteLength)
      }
      expect([...file.tensors.keys()].filter(tensor => !tensor.endsWith('.weight'))).toEqual([])
      expect(weights.flatMap(({ parts }) => parts.map(({ source }) => source))).toEqual(
        expect.arrayContaining(Object.keys(expected)),
      )
    } finally {
      await file.close()
    }
  })

  it.each([
    ['gptq', { bits: 3 }, 'gptq of 3 bits'],
    ['gptq', { bits: 'four' }, 'gptq of four bits'],
    ['gptq', { checkpoint_format: 'marlin' }, 'gptq in the format marlin'],
    ['gptq', { is_marlin_format: true }, 'gptq in the format marlin'],
    ['gptq', { group_size: 0 }, 'gptq with group_size 0'],
    ['awq', { version: 'gemv' }, 'awq in the layout of gemv'],
    ['awq', { bits: 8 }, 'awq of 8 bits'],
    ['awq', { zero_point: false }, 'awq without zero points'],
    ['awq', { group_size: -2 }, 'awq with groups of -2'],
    ['fp8-block', { weight_block_size: [128] }, 'fp8 with weight_block_size [128]'],
    ['ct-int4', { format: 'nvfp4-pack-quantized' }, 'compressed-tensors in the format nvfp4-pack-quantized'],
    ['ct-int4', { quantization_status: 'frozen' }, 'compressed-tensors whose status is frozen'],
    ['ct-int4', { sparsity_config: { format: 'sparse-24-bitmask' } }, 'compressed-tensors with sparse-24-bitmask sparsity'],
    ['ct-int4', { transform_config: { config_groups: { r: {} } } }, 'compressed-tensors with transforms of activations'],
    ['ct-int4', { config_groups: { g: { weights: { num_bits: 3, strategy: 'channel' } } } }, 'weights of 3 bits'],
    ['ct-int4', { config_groups: { g: { weights: { num_bits: 4, strategy: 'group' } } } }, 'weights by the strategy "group"'],
    ['ct-int4', { quant_method: 'bitsandbytes' }, 'quantization by bitsandbytes'],
    ['ct-int4', { quant_method: 7, format: 'own' }, 'quantization by own'],
  ])('%s with %j is refused by name', async (name, quantization, found) => {
    const error = await failure(() => open(changed(name, quantization)))
    expect([error.code, error.found]).toEqual(['unsupported-quantization', found])
    expect(error.hint).toContain('GGUF')
  })

  const q = 'model.layers.0.self_attn.q_proj'
  const shaped = (part: string, shape: number[]) => (entries: Record<string, Json>) => {
    entries[`${q}.${part}`]!.shape = shape
  }
  const renamed = (part: string, other: string) => (entries: Record<string, Json>) => {
    entries[`${q}.${other}`] = entries[`${q}.${part}`]!
    delete entries[`${q}.${part}`]
  }

  it.each<[string, Json, (entries: Record<string, Json>) => void, string, string]>([
    ['gptq', { group_size: 16 }, () => {}, 'shape-mismatch', 'scales'],
    ['gptq', { bits: 8 }, () => {}, 'shape-mismatch', 'scales'],
    ['gptq', {}, shaped('qweight', [512]), 'shape-mismatch', 'qweight'],
    ['gptq', {}, shaped('scales', [1, 128]), 'shape-mismatch', 'scales'],
    ['gptq', {}, renamed('scales', 'scale'), 'missing-weight', 'scales'],
    ['gptq', {}, renamed('qzeros', 'weight'), 'missing-weight', 'qzeros'],
    ['awq', {}, shaped('qzeros', [4, 4]), 'shape-mismatch', 'qzeros'],
    ['awq', { group_size: 40 }, () => {}, 'shape-mismatch', 'qweight'],
    ['fp8-block', { weight_block_size: [64, 64] }, () => {}, 'shape-mismatch', 'weight_scale_inv'],
    ['ct-int4', {}, shaped('weight_scale', [128, 1]), 'shape-mismatch', 'weight_scale'],
    ['ct-int4', {}, renamed('weight_packed', 'weight'), 'shape-mismatch', 'weight'],
    ['ct-int4-zero', {}, shaped('weight_g_idx', [32, 2]), 'shape-mismatch', 'weight_g_idx'],
  ])('%s with %j and parts that do not fit', async (name, quantization, header, code, part) => {
    const error = await failure(() => open(changed(name, quantization, header)))
    expect(error.code).toBe(code)
    expect(error.message + error.found).toContain(part)
  })

  it('zero points that GPTQModel has lessened word by word are those of the format that stores them as meant', async () => {
    const quantizer = { checkpoint_format: 'gptq', meta: { quantizer: ['gptqmodel:2.2.0'] } }
    // Points of 0 beside others, and a whole word of them.
    const meant = Array.from({ length: 4 }, () => [0, 0x10f0_3070, 0xffff_fff0, 0x1234_5670]).flat()
    const read = async (quantization: Json, word: (word: number) => number) => {
      const folder = changed('gptq', quantization)
      const path = join(folder, 'model.safetensors')
      const stored = await openSafetensors(path)
      const { offset } = stored.locate(`${q}.qzeros`)
      await stored.close()
      const bytes = readFileSync(path)
      for (const [i, value] of meant.entries()) bytes.writeUInt32LE(word(value) >>> 0, offset + 4 * i)
      writeFileSync(path, bytes)
      const { file } = await openCheckpoint(folder)
      const values = await file.read(`${q}.weight`)
      await file.close()
      return values
    }
    const expected = await read({ checkpoint_format: 'gptq_v2' }, word => word)
    expect(await read(quantizer, word => word - 0x1111_1111)).toEqual(expected)
    expect(await read({}, word => word - 0x1111_1111)).not.toEqual(expected)
  })

  it('a group that does not exist is refused when the weight is read', async () => {
    const folder = changed('gptq-act-order', {})
    const path = join(folder, 'model.safetensors')
    const { file } = await openCheckpoint(folder)
    const stored = await openSafetensors(path)
    const { offset } = stored.locate(`${q}.g_idx`)
    await stored.close()
    const bytes = readFileSync(path)
    bytes.writeInt32LE(2, offset)
    writeFileSync(path, bytes)
    const { code, found } = await failure(() => file.read(`${q}.weight`))
    await file.close()
    expect([code, found]).toEqual(['shape-mismatch', 'group 2'])
  })

  it('a weight that is stored twice is refused', async () => {
    const folder = changed('fp8-tensor', {}, entries => {
      const input = entries[`${q}.input_scale`]!
      delete entries[`${q}.input_scale`]
      entries[`${q}.weight_scale_inv`] = input
    })
    expect((await failure(() => open(folder))).code).toBe('shape-mismatch')
  })

  it('programs map what they would of the same weights in float32', async () => {
    const packed = await openCheckpoint(join(fixtures, 'gptq-act-order'))
    const weights = await weightFile(packed, 'packed')
    const folder = join(scratch, 'dense')
    mkdirSync(folder)
    const tensors = await Promise.all(
      [...packed.file.tensors.values()].map(async ({ name, shape }) => ({ name, shape, data: await packed.file.read(name) })),
    )
    await packed.file.close()
    await writeSafetensors(join(folder, 'model.safetensors'), tensors)
    const { quantization_config: _, ...config } = configOf(join(fixtures, 'gptq-act-order'))
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
    const dense = await openCheckpoint(folder)
    const other = await weightFile(dense, 'dense')
    await dense.file.close()
    // The bytes behind the values say which file they belong to.
    for (const name of weights.tensors.keys()) expect(await readWeight(weights, name)).toEqual(await readWeight(other, name))
  })

  it('copies of a folder need no config of their own tools', async () => {
    const folder = join(scratch, 'bare')
    mkdirSync(folder)
    copyFileSync(join(fixtures, 'awq', 'model.safetensors'), join(folder, 'model.safetensors'))
    const { quantization_config: quantization, ...config } = configOf(join(fixtures, 'awq'))
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, compression_config: quantization }))
    await open(folder)
  })
})
