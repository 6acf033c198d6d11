import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { rotationOf } from '../../kernels/linear-integer.js'
import { hashOf, readSealedText, touch, writeSealedText } from '../program/cache.js'
import type { ExternalTensor, RowQuantizedTensor } from '../program/lower.js'
import type { CompileOptions, WeightFile } from '../program/program.js'
import { type CalibratedModel, type InputGroup, inputGroups } from './input-groups.js'
import { balance, roundingOf, roundRows } from './round-rows.js'
import { ALIGNMENT, isWhole, readWeight, writeBeside } from './weights/weight-file.js'

/** Changes whenever the bytes that this file writes would. */
const LAYOUT_VERSION = 2

/** Directions that rounding spares: more where its error is that of the logits. */
const SPARED = { ofLogits: 16, others: 4 }

export interface IntegerOptions extends CompileOptions {
  /** Called while the weights are written for the first time. */
  readonly onProgress?: ((fraction: number) => void) | undefined
}

type Entry = readonly [name: string, tensor: RowQuantizedTensor]

/**
 * The weights of linear layers in 8 bits, one scale for each row, as one more file beside the dequantised ones: `weights` with
 * `quantized` set, for programs that multiply many rows by whole numbers (see `kernels/linear-integer.ts`). A weight whose rows
 * have no rotation stays as it is.
 *
 * @throws GradpromptError `disk-full`
 */
export async function integerWeights(
  model: CalibratedModel,
  options: IntegerOptions = {},
): Promise<WeightFile<RowQuantizedTensor>> {
  const { weights } = model
  const name = `integer-${LAYOUT_VERSION}`
  const file = (suffix: string) => join(weights.folder, `${name}.${suffix}`)
  const known = async () => {
    const text = readSealedText(file('json'))
    if (text === undefined) return undefined
    const entries = JSON.parse(text) as Entry[]
    return (await isWhole(file('bin'), byteLength(entries))) ? entries : undefined
  }
  const entries = (await known()) ?? (await write(model, options, name))
  touch(weights.folder)
  return { ...weights, quantized: new Map(entries), hash: hashOf(weights.hash, entries) }
}

async function write(model: CalibratedModel, options: IntegerOptions, name: string): Promise<Entry[]> {
  const { weights } = model
  const groups = (await inputGroups(model, options)).filter(({ columns }) => rotationOf(columns) !== undefined)
  const entries = layout(groups, weights, `${name}.bin`)
  const tensors = new Map(entries)
  await writeBeside(weights.folder, `${name}.bin`, byteLength(entries), async file => {
    for (const [done, { names, columns, rows, ofLogits }] of groups.entries()) {
      options.onProgress?.(done / groups.length)
      const weightsOf = await Promise.all(names.map(name => readWeight(weights, name)))
      const columnScales = balance(rows, weightsOf, columns)
      const inputScales = columnScales.map(scale => 1 / scale)
      const rounding = roundingOf(rows, columnScales, rotationOf(columns)!, ofLogits ? SPARED.ofLogits : SPARED.others)
      for (const [i, name] of names.entries()) {
        const tensor = tensors.get(name)!
        const { integers, scales } = roundRows(weightsOf[i]!, rounding)
        await put(file, tensor.integers, integers)
        await put(file, tensor.scales, scales)
        await put(file, tensor.inputScales, inputScales)
      }
    }
  })
  writeSealedText(join(weights.folder, `${name}.json`), JSON.stringify(entries))
  return entries
}

function layout(groups: readonly InputGroup[], { tensors }: WeightFile, file: string): Entry[] {
  let end = 0
  const place = <Dtype extends 'int8' | 'float32'>(dtype: Dtype, ...shape: number[]): ExternalTensor<Dtype> => {
    const byteLength = shape.reduce((a, b) => a * b) * (dtype === 'int8' ? 1 : 4)
    const offset = end
    end = Math.ceil((end + byteLength) / ALIGNMENT) * ALIGNMENT
    return { file, offset, byteLength, shape, dtype }
  }
  return groups.flatMap(({ names, columns, ofLogits }) => {
    const inputBits = ofLogits ? 16 : 8
    const inputScales = place('float32', columns)
    return names.map((name): Entry => {
      const rows = tensors.get(name)!.shape[0]!
      const [integers, scales] = [place('int8', columns, rows), place('float32', rows)]
      return [name, { form: 'rows', rotation: rotationOf(columns)!, inputBits, integers, scales, inputScales }]
    })
  })
}

/** The scales of the last weight end the file; where no weight can be rotated, it is empty. */
function byteLength(entries: readonly Entry[]): number {
  const [, last] = entries.at(-1) ?? []
  return last ? last.scales.offset + last.scales.byteLength : 0
}

async function put(file: FileHandle, { offset, byteLength }: ExternalTensor<'int8' | 'float32'>, data: Int8Array | Float32Array) {
  await file.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 0, byteLength, offset)
}
