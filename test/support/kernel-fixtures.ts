import { readFileSync } from 'node:fs'
import { openSafetensors } from '../../src/formats/safetensors.js'
import type { Values } from './numbers.js'

/** Cases of test/fixtures/kernels/NAME: their scalars, and their tensors by name. */
export async function kernelCases<Case extends { name: string }>(
  kernel: string,
): Promise<(Case & { tensors: Record<string, Values & { data: Float32Array }> })[]> {
  const path = `test/fixtures/kernels/${kernel}`
  const { cases } = JSON.parse(readFileSync(`${path}.json`, 'utf8')) as { cases: Case[] }
  const file = await openSafetensors(`${path}.safetensors`)
  try {
    const read = async (name: string) => ({ data: await file.read(name), shape: file.tensors.get(name)!.shape })
    const results = []
    for (const one of cases) {
      const names = [...file.tensors.keys()].filter(name => name.startsWith(`${one.name}/`))
      const tensors = await Promise.all(names.map(async name => [name.slice(one.name.length + 1), await read(name)] as const))
      results.push({ ...one, tensors: Object.fromEntries(tensors) })
    }
    return results
  } finally {
    await file.close()
  }
}
