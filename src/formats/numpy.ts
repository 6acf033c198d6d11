import { GradpromptError } from '../errors.js'
import { elementCount } from '../numbers.js'
import { decodeBfloat16, decodeFloat16 } from './blocks/half.js'

/**
 * Reads arrays of NumPy's file format (versions 1 to 3) whose elements are floats: `float16`, `float32`, `float64`, and raw two-byte
 * elements (`V2`), which is how bfloat16 is stored. Arrays of objects are pickles, and refused.
 */

export interface NumpyArray {
  readonly shape: readonly number[]
  readonly data: Float32Array
}

const magic = Buffer.from([0x93, ...Buffer.from('NUMPY')])
const mostHeader = 65_536

/** @throws GradpromptError `invalid-npy` */
export function readNumpy(path: string, bytes: Buffer): NumpyArray {
  if (bytes.length < 12 || !bytes.subarray(0, 6).equals(magic)) throw invalid(path, 'another beginning', "NumPy's file format")
  const version = bytes[6]!
  if (version < 1 || version > 3) throw invalid(path, `format version ${version}`, '1 to 3')
  const long = version > 1
  const length = long ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8)
  const start = (long ? 12 : 10) + length
  if (length > mostHeader || start > bytes.length) throw invalid(path, `a header of ${length} bytes`, 'a header within the file')
  const header = bytes.toString('latin1', long ? 12 : 10, start)
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1]
  const order = /'fortran_order':\s*(True|False)/.exec(header)?.[1]
  const sizes = /'shape':\s*\(([\d\s,L]*)\)/.exec(header)?.[1]
  if (descr === undefined || order === undefined || sizes === undefined)
    throw invalid(path, header.trim().slice(0, 200), 'a header with descr, fortran_order and shape of one type')
  const shape = sizes
    .split(',')
    .map(size => size.replace('L', '').trim())
    .filter(Boolean)
    .map(Number)
  if (order === 'True') throw invalid(path, 'columns one after the other (fortran_order)', 'rows: numpy.ascontiguousarray(array)')
  const element = elements[descr.replace(/^[|<]/, '')]
  if (element === undefined || descr.startsWith('>'))
    throw invalid(
      path,
      `elements of ${descr}`,
      'float16, float32, float64, or bfloat16 as V2',
      /O/.test(descr) ? converted : undefined,
    )
  const count = elementCount(shape)
  const byteLength = count * element.bytes
  if (!Number.isSafeInteger(byteLength) || bytes.length - start !== byteLength)
    throw invalid(path, `${bytes.length - start} bytes of numbers`, `${byteLength}, of shape (${shape.join(', ')})`)
  return { shape, data: element.read(bytes.subarray(start), count) }
}

const converted =
  'an array of objects is a pickle, which can run anything: numpy.save(path, numpy.asarray(array, dtype="float32")) where you trust it'

const decoded = (decode: (bytes: Uint8Array, out: Float32Array) => void) => (bytes: Buffer, count: number) => {
  const out = new Float32Array(count)
  decode(bytes, out)
  return out
}

const elements: Readonly<Record<string, { readonly bytes: number; read(bytes: Buffer, count: number): Float32Array }>> = {
  f2: { bytes: 2, read: decoded(decodeFloat16) },
  V2: { bytes: 2, read: decoded(decodeBfloat16) },
  f4: { bytes: 4, read: (bytes, count) => Float32Array.from({ length: count }, (_, i) => bytes.readFloatLE(4 * i)) },
  f8: { bytes: 8, read: (bytes, count) => Float32Array.from({ length: count }, (_, i) => bytes.readDoubleLE(8 * i)) },
}

const invalid = (path: string, found: string, expected: string, hint?: string) =>
  new GradpromptError('invalid-npy', `${path} is not an array that can be read`, { found, expected, ...(hint && { hint }) })
