import { join } from 'node:path'
import { cacheFolder, hashOf, hasProgram, writeProgram } from './cache.js'
import { defaultDevice } from './devices.js'
import { ModelBuilder } from './onnx.js'
import { Session } from './session.js'

const COLUMNS = 64

let known: Promise<boolean> | undefined

/**
 * Whether the processor multiplies bytes without losing bits, which those do that have units for it (VNNI, AMX, dot products). On others
 * ONNX Runtime adds pairs of products in 16 bits: 255 · 127 + 255 · 127 stops at 32,767.
 */
export function multipliesBytes(): Promise<boolean> {
  known ??= probe()
  return known
}

async function probe(): Promise<boolean> {
  const builder = new ModelBuilder()
  builder.input('x', 'uint8', [1, COLUMNS])
  const weight = builder.constant('int8', [COLUMNS, 1], new Uint8Array(COLUMNS).fill(127))
  builder.node('MatMulInteger', ['x', weight], ['y:out'])
  builder.output('y:out', 'int32', [1, 1])
  const model = builder.encode()
  const path = join(cacheFolder(), 'programs', `${hashOf('byte products, sealed in place', model)}.onnx`)
  if (!hasProgram(path)) writeProgram(path, model)
  const session = await Session.open(path, { device: defaultDevice, threads: 1, pack: true })
  try {
    const { y } = await session.run({ x: new Uint8Array(COLUMNS).fill(255) }, { x: [1, COLUMNS] })
    return y!.data[0] === COLUMNS * 255 * 127
  } finally {
    await session.release()
  }
}
