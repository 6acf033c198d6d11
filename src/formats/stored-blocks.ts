import { scaleIQ4_XS, scaleMXFP4 } from './blocks/codes.js'
import { halfAt } from './blocks/half.js'
import { subMinimum, subScale } from './blocks/k-types.js'

/**
 * How a ggml type stores 32 neighbouring weights of a row: as `scale * integer + offset`, with signed integers of so many bits. The
 * unsigned integers of the file are centred (4 bits: -8 to 7), so that an offset is small, or none where zero has an integer.
 */
export interface BlockForm {
  readonly bits: 4 | 8
  /** Whether blocks have offsets other than zero. */
  readonly offsets: boolean
}

interface StoredForm extends BlockForm {
  readonly read: (bytes: Uint8Array, scales: Float32Array, offsets: Float32Array) => void
}

/** A scale at byte `at` of each block is all that it has; in half precision, or as `read` says. */
const scaled =
  (bytesPerBlock: number, { at = 0, blocks = 1, read = halfAt } = {}) =>
  (bytes: Uint8Array, scales: Float32Array) => {
    for (let i = 0; i < scales.length; i++) scales[i] = read(bytes, Math.floor(i / blocks) * bytesPerBlock + at)
  }

/** A scale, then a minimum, the weight whose unsigned integer is 0. */
const scaledFromMinimum =
  (bytesPerBlock: number, centre: number) => (bytes: Uint8Array, scales: Float32Array, offsets: Float32Array) => {
    for (let i = 0; i < scales.length; i++) {
      const scale = halfAt(bytes, i * bytesPerBlock)
      scales[i] = scale
      offsets[i] = halfAt(bytes, i * bytesPerBlock + 2) + centre * scale
    }
  }

/** Eight blocks of 32 to a stored block of 256: two half-precision factors, then packed 6-bit scales and minima. */
const scaledInEighths =
  (bytesPerBlock: number, centre: number) => (bytes: Uint8Array, scales: Float32Array, offsets: Float32Array) => {
    for (let i = 0; i < scales.length; i++) {
      const b = (i >> 3) * bytesPerBlock
      const scale = halfAt(bytes, b) * subScale(bytes, b + 4, i & 7)
      scales[i] = scale
      offsets[i] = centre * scale - halfAt(bytes, b + 2) * subMinimum(bytes, b + 4, i & 7)
    }
  }

/** Eight blocks of 32 to a stored block of 256, each with a scale of its own. */
const scaledOneByOne = (bytes: Uint8Array, scales: Float32Array) => {
  for (let i = 0; i < scales.length; i++) scales[i] = scaleIQ4_XS(bytes, (i >> 3) * 136, i & 7)
}

const forms: Readonly<Record<string, StoredForm>> = {
  Q8_0: { bits: 8, offsets: false, read: scaled(34) },
  Q4_0: { bits: 4, offsets: false, read: scaled(18) },
  Q4_1: { bits: 4, offsets: true, read: scaledFromMinimum(20, 8) },
  Q5_0: { bits: 8, offsets: false, read: scaled(22) },
  Q5_1: { bits: 8, offsets: true, read: scaledFromMinimum(24, 16) },
  Q4_K: { bits: 4, offsets: true, read: scaledInEighths(144, 8) },
  Q5_K: { bits: 8, offsets: true, read: scaledInEighths(176, 16) },
  // The integers of these are the values that their codes stand for.
  IQ4_NL: { bits: 8, offsets: false, read: scaled(18) },
  IQ4_XS: { bits: 8, offsets: false, read: scaledOneByOne },
  MXFP4: { bits: 8, offsets: false, read: scaled(17, { read: scaleMXFP4 }) },
  TQ1_0: { bits: 4, offsets: false, read: scaled(54, { at: 52, blocks: 8 }) },
  TQ2_0: { bits: 4, offsets: false, read: scaled(66, { at: 64, blocks: 8 }) },
}

/** The form of a type, or nothing where it has none: floats, and Q2_K, Q3_K and Q6_K, whose scales serve 16 weights. */
export const blockForm = (type: string): BlockForm | undefined => (Object.hasOwn(forms, type) ? forms[type] : undefined)

/** Scale and offset of each 32 weights in `bytes`, whole blocks of a type that has a form. Offsets are written for types that store them. */
export function readBlockScales(type: string, bytes: Uint8Array, scales: Float32Array, offsets: Float32Array): void {
  forms[type]!.read(bytes, scales, offsets)
}

/**
 * How the weights of a type are `scale * integer + offset` to the bit, in float32: the product rounded, then the sum. Integers are as the
 * file has them, without a centre, since with one the offset would be rounded.
 */
export interface ExactForm {
  /** Neighbouring weights with one scale. */
  readonly block: 16 | 32
  readonly offsets: boolean
}

/** Sixteen blocks of 16 to a stored block of 256, each with a signed scale under one in half precision. */
const scaledInSixteenths = (bytes: Uint8Array, scales: Float32Array) => {
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let i = 0; i < scales.length; i++) {
    const b = (i >> 4) * 210
    scales[i] = halfAt(bytes, b + 208) * signed[b + 192 + (i & 15)]!
  }
}

const exactForms: Readonly<Record<string, ExactForm & Pick<StoredForm, 'read'>>> = {
  ...Object.fromEntries(
    Object.entries(forms).flatMap(([type, { offsets, read }]) => (offsets ? [] : [[type, { block: 32, offsets, read }]])),
  ),
  Q4_1: { block: 32, offsets: true, read: scaledFromMinimum(20, 0) },
  Q5_1: { block: 32, offsets: true, read: scaledFromMinimum(24, 0) },
  Q4_K: { block: 32, offsets: true, read: scaledInEighths(144, 0) },
  Q5_K: { block: 32, offsets: true, read: scaledInEighths(176, 0) },
  Q6_K: { block: 16, offsets: false, read: scaledInSixteenths },
}

/** The exact form of a type, or nothing where it is not known: floats, Q2_K and Q3_K. */
export const exactForm = (type: string): ExactForm | undefined => (Object.hasOwn(exactForms, type) ? exactForms[type] : undefined)

/** As `readBlockScales`, of each block of the type's exact form. */
export function readExactScales(type: string, bytes: Uint8Array, scales: Float32Array, offsets: Float32Array): void {
  exactForms[type]!.read(bytes, scales, offsets)
}
