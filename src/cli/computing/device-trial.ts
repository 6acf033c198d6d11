import { tf } from '../../../kernels/tf.js'
import { GradpromptError } from '../../errors.js'
import { compile } from '../../program/compile.js'
import type { Device } from '../../program/devices.js'

/**
 * Compiles and runs a small program on a device.
 * @throws GradpromptError `device-unavailable`, `device-wrong`
 */
export async function tryDevice(device: Device): Promise<{ seconds: number }> {
  const started = performance.now()
  const matrix = { shape: [2, 2], dtype: 'float32' } as const
  const program = await compile(({ x, y }) => ({ z: tf.matMul(x as tf.Tensor2D, y as tf.Tensor2D) }), {
    inputs: { x: matrix, y: matrix },
    device,
    name: 'trial',
  })
  const { z } = await program.run({ x: Float32Array.of(1, 2, 3, 4), y: Float32Array.of(5, 6, 7, 8) })
  await program.dispose()
  const numbers = [...(z ?? [])].map(Number)
  if (numbers.join() !== '19,22,43,50') {
    throw new GradpromptError('device-wrong', `the device ${device} computes wrongly`, {
      found: numbers.join(', '),
      expected: '19, 22, 43, 50',
      exitCode: 1,
    })
  }
  return { seconds: (performance.now() - started) / 1000 }
}
