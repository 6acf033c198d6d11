import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { WeightFile } from '../../src/program/program.js'

/** Values of a model's weights by name, as its programs map them. */
export function weightReader({
  folder,
  tensors,
}: WeightFile): (name: string) => { data: Float32Array; shape: readonly number[] } | undefined {
  const files = new Map<string, Buffer>()
  return name => {
    const tensor = tensors.get(name)
    if (!tensor) return undefined
    const bytes = files.get(tensor.file) ?? readFileSync(join(folder, tensor.file))
    files.set(tensor.file, bytes)
    const part = bytes.subarray(tensor.offset, tensor.offset + tensor.byteLength)
    return { data: new Float32Array(Uint8Array.from(part).buffer), shape: tensor.shape }
  }
}
