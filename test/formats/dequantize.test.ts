import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { blockLayout, dequantizableTypes, dequantize, ggmlType } from '../../src/formats/dequantize.js'
import { failure } from './failure.js'

const fixtures = JSON.parse(readFileSync('test/fixtures/formats/blocks.json', 'utf8')) as Record<
  string,
  { blocks: string; values: string }
>
const decode = (text: string) => new Uint8Array(Buffer.from(text, 'hex'))

describe('dequantize', () => {
  it('has a fixture for every type it reads', () => {
    expect(Object.keys(fixtures).sort()).toEqual([...dequantizableTypes].sort())
  })

  it.each(Object.entries(fixtures))('%s gives the bits of the reference', (type, { blocks, values }) => {
    const expected = decode(values)
    const out = new Float32Array(expected.length / 4)
    dequantize(type, decode(blocks), out)
    expect(Buffer.from(out.buffer).equals(expected)).toBe(true)
  })

  it.each(Object.entries(fixtures))('%s reads from an odd address and writes only its own part', (type, { blocks, values }) => {
    const expected = decode(values)
    const shifted = new Uint8Array(decode(blocks).length + 3)
    shifted.set(decode(blocks), 1)
    const surroundings = new Float32Array(expected.length / 4 + 2).fill(7)
    dequantize(type, shifted.subarray(1, -2), surroundings.subarray(1, -1))
    expect(Buffer.from(surroundings.buffer, 4, expected.length).equals(expected)).toBe(true)
    expect([surroundings[0], surroundings.at(-1)]).toEqual([7, 7])
  })

  it.each(dequantizableTypes)('%s refuses bytes that are not whole blocks', async type => {
    const { blockSize, bytesPerBlock } = blockLayout(type)
    const bytes = new Uint8Array(2 * bytesPerBlock)
    dequantize(type, bytes, new Float32Array(2 * blockSize))
    expect((await failure(() => dequantize(type, bytes.subarray(1), new Float32Array(2 * blockSize)))).code).toBe(
      'shape-mismatch',
    )
    expect((await failure(() => dequantize(type, bytes, new Float32Array(2 * blockSize + 1)))).code).toBe('shape-mismatch')
  })

  it.each(['IQ2_XS', 'NVFP4', 'constructor'])('refuses %s by name and lists what it reads', async type => {
    const error = await failure(() => blockLayout(type, 'blk.0.attn_q.weight'))
    expect(error.code).toBe('unsupported-quantization')
    expect(error.message).toContain(type)
    expect(error.message).toContain('blk.0.attn_q.weight')
    expect(error.expected).toBe(`one of ${dequantizableTypes.join(', ')}`)
    expect((await failure(() => dequantize(type, new Uint8Array(0), new Float32Array(0)))).code).toBe('unsupported-quantization')
  })
})

describe('ggmlType', () => {
  it('names types by number, with the layout of those in use', () => {
    expect(ggmlType(3, 't')).toEqual({ name: 'Q4_1', blockSize: 32, bytesPerBlock: 20 })
    expect(ggmlType(23, 't')).toEqual({ name: 'IQ4_XS', blockSize: 256, bytesPerBlock: 136 })
  })

  it.each([
    [5, 'Q4_3'],
    [33, 'Q4_0_8_8'],
    [1000, 'ggml type 1000'],
  ])('refuses type %i as %s', async (number, name) => {
    expect((await failure(() => ggmlType(number, 'output.weight'))).message).toBe(
      `Tensor "output.weight" is stored as ${name}, which cannot be read`,
    )
  })
})
