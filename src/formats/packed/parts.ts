/** What packing schemes share: the tensors of a module, checked to fit together, and scales that each serve a block of a weight. */

import { GradpromptError } from '../../errors.js'
import { elementCount } from '../../numbers.js'
import type { StoredTensor, TensorFile } from '../tensor-file.js'

/** Names of modules that have a tensor of this name, in the file's order. */
export const modulesWith = (file: TensorFile, suffix: string): string[] =>
  [...file.tensors.keys()].filter(name => name.endsWith(`.${suffix}`)).map(name => name.slice(0, -suffix.length - 1))

/**
 * A tensor of a module, with one of these types and so many axes.
 * @throws GradpromptError `missing-weight`, `shape-mismatch`
 */
export function partOf(file: TensorFile, name: string, dtypes: readonly string[], axes: number): StoredTensor {
  const tensor = file.tensors.get(name)
  if (tensor === undefined) {
    throw new GradpromptError('missing-weight', `${file.path} lacks a part of a packed weight`, {
      found: `no tensor named ${name}`,
      expected: `${name}, ${dtypes.join(' or ')} with ${axes} axes`,
      hint: 'the checkpoint may be incomplete: download it again',
    })
  }
  if (dtypes.includes(tensor.dtype) && tensor.shape.length === axes) return tensor
  throw misfit(file, name, `${tensor.dtype} [${tensor.shape.join(', ')}]`, `${dtypes.join(' or ')} with ${axes} axes`)
}

/** @throws GradpromptError `shape-mismatch` */
export function requireShape(file: TensorFile, { name, shape }: StoredTensor, expected: readonly number[]): void {
  if (shape.join() !== expected.join()) throw misfit(file, name, `[${shape.join(', ')}]`, `[${expected.join(', ')}]`)
}

/** The error for a part of a packed weight that does not fit the others. */
export const misfit = (file: TensorFile, name: string, found: string, expected: string): GradpromptError =>
  new GradpromptError('shape-mismatch', `${file.path}: ${name} does not fit the other parts of its weight`, {
    found,
    expected,
    hint: 'the checkpoint is damaged, or its quantization_config is of another one',
  })

/** The error for a way of packing that is not read. */
export const unreadPacking = (file: { readonly path: string }, found: string, expected: string): GradpromptError =>
  new GradpromptError('unsupported-quantization', `${file.path}: the weights are stored in a form that is not read`, {
    found,
    expected,
    hint: 'use the checkpoint that it was made from, or a GGUF of it (Q4_K_M is as small, and is read as it is)',
  })

/** The 32-bit words of a tensor. */
export async function readWords(file: TensorFile, name: string): Promise<Int32Array> {
  const bytes = await file.readBytes(name)
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

/** The signed bytes of a tensor. */
export async function readInt8(file: TensorFile, name: string): Promise<Int8Array> {
  const bytes = await file.readBytes(name)
  return new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Which group each input column belongs to: as stored, or in turn.
 * @returns [columns], each below `groups`
 * @throws GradpromptError `shape-mismatch`
 */
export async function readGroups(
  file: TensorFile,
  name: string | undefined,
  columns: number,
  groupSize: number,
  groups: number,
): Promise<Int32Array> {
  if (name === undefined) return Int32Array.from({ length: columns }, (_, i) => Math.floor(i / groupSize))
  const indices = await readWords(file, name)
  const wrong = indices.find(group => group < 0 || group >= groups)
  if (wrong !== undefined) throw misfit(file, name, `group ${wrong}`, `groups from 0 to ${groups - 1}`)
  return indices
}

/** Scales of a weight [rows, columns], each for a block of it. */
export interface ScaleGrid {
  readonly scales: string
  /** The integers that stand for zero, one for each scale; without them zero does. */
  readonly points?: string | undefined
  /** Rows and columns of a block. */
  readonly block: readonly [rows: number, columns: number]
}

/**
 * Checks that a tensor of scales is of such blocks: [rows / block, columns / block], rounded up; one number for all may have no axes, one a
 * row may have one.
 */
export function fitsGrid(
  { shape }: StoredTensor,
  [rows, columns]: readonly [number, number],
  block: ScaleGrid['block'],
): boolean {
  const expected = [Math.ceil(rows / block[0]), Math.ceil(columns / block[1])]
  const count = elementCount(shape)
  if (expected[0] === 1 && expected[1] === 1) return count === 1
  if (expected[1] === 1 && shape.length === 1) return shape[0] === expected[0]
  return shape.join() === expected.join()
}

/** Makes values [rows, columns] of stored numbers by the scales of their blocks: scale * (number - point). */
export async function applyGrid(
  file: TensorFile,
  { scales: name, points: pointsName, block }: ScaleGrid,
  values: Float32Array,
  [rows, columns]: readonly [number, number],
): Promise<void> {
  const scales = await file.read(name)
  const points = pointsName === undefined ? undefined : await readInt8(file, pointsName)
  const across = Math.ceil(columns / block[1])
  for (let row = 0; row < rows; row++) {
    const first = Math.floor(row / block[0]) * across
    for (let start = 0, i = first; start < columns; start += block[1], i++) {
      const scale = scales[i]!
      const point = points?.[i] ?? 0
      const end = row * columns + Math.min(start + block[1], columns)
      for (let at = row * columns + start; at < end; at++) values[at] = (values[at]! - point) * scale
    }
  }
}

/** A whole number of a configuration, by one of several names. */
export function integerOf(config: Readonly<Record<string, unknown>>, names: readonly string[]): number | undefined {
  const value = names.map(name => config[name]).find(found => found !== undefined && found !== null)
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined
}
