import { join } from 'node:path'
import { cacheFolder, hashOf, hasProgram, touch, trimCache, writeProgram } from './cache.js'
import { type Device, type DeviceProfile, deviceProfile } from './devices.js'
import type { Size } from './operations/sizes.js'
import { halfTypes } from './precision.js'
import type { ProgramSpec, WeightFile } from './program.js'
import { cacheKey } from './program-key.js'
import type { Graph } from './solve/symbolic-graph.js'

/**
 * The file of a program: where it stands in the cache, by what makes it or by its graph, and how it comes there. Whether it is open, and
 * what it is run with, is unknown here.
 */

/** Changes whenever files of programs would be written in another way. */
const SEALED = 2

/**
 * The file of a program in the cache, compiled if it is not there.
 *
 * @param shapes of the inputs, read
 * @throws GradpromptError as `traceGraph` does
 */
export async function programFile(
  spec: ProgramSpec,
  device: Device,
  shapes: ReadonlyMap<string, readonly Size[]>,
): Promise<{ readonly path: string; readonly cached: boolean }> {
  const folder = spec.weights?.folder ?? join(cacheFolder(), 'programs')
  let path = programPath(folder, spec, device)
  const cached = path !== undefined && hasProgram(path)
  if (!cached) {
    // The compiler and TF.js are loaded only when there is something to compile.
    const { traceGraph } = await import('./graph.js')
    const { lowerGraph } = await import('./lower.js')
    const placeholders = Object.entries(spec.inputs).map(([name, { dtype }]) => ({ name, dtype, shape: shapes.get(name)! }))
    const weights = new Map(
      [...(spec.weights?.tensors ?? [])].map(([name, { shape, dtype }]) => [
        name,
        { shape: [...shape], dtype: dtype === 'int32' ? dtype : ('float32' as const) },
      ]),
    )
    const profile = deviceProfile(device)
    const stored: WeightFile['tensors'] = spec.weights?.tensors ?? new Map()
    const traced = traceGraph(spec.fn, placeholders, weights, spec.dims)
    const graph = spec.weights?.precision ? await halved(traced, spec.weights, profile) : traced
    const { model } = lowerGraph(graph, profile, stored, placeholders, spec.weights?.quantized)
    const isNew = path !== undefined
    path ??= join(folder, `${hashOf(SEALED, model)}.onnx`)
    if (isNew || !hasProgram(path)) {
      writeProgram(path, model)
      trimCache([path])
    }
  }
  touch(path!)
  if (spec.weights) touch(folder)
  return { path: path!, cached }
}

/** A graph in the precision of its weights; weights that the device multiplies as integers stay out of it. */
async function halved(
  graph: Graph,
  { precision, tensors, quantized = new Map() }: WeightFile,
  { halves, operators }: DeviceProfile,
): Promise<Graph> {
  const { inHalfPrecision } = await import('./rewrite/half-precision.js')
  const { quantizedOperators } = await import('../../kernels/kernel.js')
  const integers = [...quantized].filter(([, { form }]) => operators.has(quantizedOperators[form])).map(([name]) => name)
  return inHalfPrecision(graph, {
    type: halfTypes[precision!],
    rounded: halves[precision!] === 'rounded',
    stored: tensors,
    quantized: new Set(integers),
  })
}

/** Where a program stands in the cache; undefined where only its graph tells. */
function programPath(folder: string, { name, inputs, dims, weights, origin }: ProgramSpec, device: Device): string | undefined {
  const key = origin && cacheKey(origin)
  return key && join(folder, `${hashOf(SEALED, name, key, inputs, dims, deviceProfile(device).name, weights?.hash ?? null)}.onnx`)
}
