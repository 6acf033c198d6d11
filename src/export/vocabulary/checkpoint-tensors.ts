import type { WeightPart, WeightSpec } from '../../../models/blocks/family.js'
import { encode, encodedLength, pieceEncoder } from '../../formats/encode.js'
import type { TensorStream } from '../../formats/safetensors-writer.js'
import type { TensorFile } from '../../formats/tensor-file.js'
import { arranged } from '../../model/weights/arrange.js'
import type { Checkpoint } from '../../model/weights/checkpoint.js'
import { elementCount } from '../../numbers.js'
import type { VocabularyRows } from './rows.js'

/**
 * The tensors of a checkpoint under the names and in the layout of Hugging Face, as streams: of such a checkpoint byte for byte, of
 * a GGUF file dequantised and laid out anew. The embedding table is longer, and the head stands apart from it.
 */

/** Rows of a table, and what stands behind them. */
export interface LongerTable {
  readonly name: string
  /** Type of the numbers in the file that is written. */
  readonly dtype: string
  readonly rows: number
  readonly width: number
}

const weightOf = (weights: readonly WeightSpec[], name: string) => weights.find(spec => spec.name === name)

/** Where a checkpoint stores its embedding table, and its head: the same tensor where the two are tied. */
export function tableSources({ family, config, weights }: Checkpoint): { embedding: string; head: string; headBias?: string } {
  const embedding = weightOf(weights, family.embedding)!.parts[0]!.source
  const bias = weightOf(weights, 'headBias')?.parts[0]?.source
  const head = config.tieWordEmbeddings ? embedding : weightOf(weights, 'head')!.parts[0]!.source
  return { embedding, head, ...(bias === undefined ? {} : { headBias: bias }) }
}

/** The longer embedding table, in a type that `encode` writes: the old rows (with the method's offset), then those of the prompt. */
export async function* tablePieces(file: TensorFile, source: string, { dtype, width }: LongerTable, added: VocabularyRows) {
  const { firstId, rows, scale, fold, tableRows } = added
  const stored = scale === 1 ? rows : rows.map(x => x / scale)
  const encoded = pieceEncoder(dtype)
  let row = 0
  for await (const values of file.valuePieces(source)) {
    const piece = fold === undefined ? values : await fold(values)
    overlay(piece, row, width, stored, firstId)
    row += piece.length / width
    yield encoded(piece)
  }
  if (row === tableRows) return
  const rest = new Float32Array((tableRows - row) * width)
  overlay(rest, row, width, stored, firstId)
  yield encode(dtype, rest)
}

/** Puts the prompt's rows over those of a piece that begins with some row. */
function overlay(piece: Float32Array, start: number, width: number, stored: Float32Array, firstId: number): void {
  for (let i = 0; i * width < stored.length; i++) {
    const at = (firstId + i - start) * width
    if (at >= 0 && at < piece.length) piece.set(stored.subarray(i * width, (i + 1) * width), at)
  }
}

/**
 * A head, or its bias, byte for byte, and behind it the same for the new tokens: zeros, or a row of its own repeated. Bytes of
 * zeros are zeros in every type of block.
 */
export async function* headPieces(file: TensorFile, source: string, tableRows: number, repeated: number | undefined) {
  const { shape } = file.tensors.get(source)!
  const { byteLength } = file.locate(source)
  const rowBytes = byteLength / shape[0]!
  const last = new Uint8Array(rowBytes)
  let done = 0
  for await (const piece of file.bytePieces(source)) {
    if (repeated !== undefined) {
      const at = repeated * rowBytes - done
      const [from, to] = [Math.max(0, at), Math.min(piece.length, at + rowBytes)]
      if (to > from) last.set(piece.subarray(from, to), from - at)
    }
    done += piece.length
    yield piece
  }
  for (let row = shape[0]!; row < tableRows; row++) yield last
}

/** A checkpoint's tensors in the files of Hugging Face, whose numbers are those of `file`, but for embeddings and head. */
export function checkpointTensors(
  checkpoint: Checkpoint,
  file: TensorFile,
  {
    dtype,
    added,
    repeated,
  }: { readonly dtype: string | undefined; readonly added: VocabularyRows; readonly repeated: number | undefined },
): TensorStream[] {
  const { family, config } = checkpoint
  const sources = tableSources(checkpoint)
  const isGguf = 'ggufMetadata' in checkpoint.tokenizer
  const untied = family.weights({ ...config, tieWordEmbeddings: false })
  const prefix = family.attentionModule(0).split('.')[0]!
  const named = (spec: WeightSpec, { source }: WeightPart) => (/^head(Bias)?$/.test(spec.name) ? source : `${prefix}.${source}`)
  const headSpec = weightOf(untied, 'head')!
  const width = config.hiddenSize
  const shape = [added.tableRows, width]
  const embeddingSpec = weightOf(untied, family.embedding)!
  const table: LongerTable = {
    name: isGguf ? named(embeddingSpec, embeddingSpec.parts[0]!) : sources.embedding,
    dtype: 'F32',
    rows: added.tableRows,
    width,
  }
  const embedding: TensorStream = {
    name: table.name,
    dtype: table.dtype,
    shape,
    byteLength: encodedLength(table.dtype, added.tableRows * width),
    pieces: () => tablePieces(file, sources.embedding, table, added),
  }
  if (!isGguf) {
    const longer = (source: string, name = source): TensorStream => {
      const { dtype: own, shape: stored } = file.tensors.get(source)!
      const { byteLength } = file.locate(source)
      return {
        name,
        dtype: own,
        shape: stored.with(0, added.tableRows),
        byteLength: (byteLength / stored[0]!) * added.tableRows,
        pieces: () => headPieces(file, source, added.tableRows, repeated),
      }
    }
    const headName = config.tieWordEmbeddings ? headSpec.parts[0]!.source : sources.head
    const heads = [longer(sources.head, headName), ...(sources.headBias === undefined ? [] : [longer(sources.headBias)])]
    const others = [...file.tensors.values()].filter(
      ({ name }) => name !== embedding.name && !heads.some(head => head.name === name),
    )
    const copied = others.map(({ name, dtype: own, shape: stored }): TensorStream => {
      const { byteLength } = file.locate(name)
      return { name, dtype: own, shape: stored, byteLength, pieces: () => file.bytePieces(name) }
    })
    return [embedding, ...heads, ...copied]
  }
  const type = dtype ?? 'F32'
  const stored = new Map(checkpoint.weights.map(spec => [spec.name, spec]))
  const streams = untied.flatMap(spec => {
    if (spec.name === family.embedding) return [embedding]
    const isHead = spec.name === 'head' || spec.name === 'headBias'
    return spec.parts.map((part, i): TensorStream => {
      const own = part.transposed ? [...part.shape].reverse() : [...part.shape]
      const written = isHead ? own.with(0, added.tableRows) : own
      const source = stored.get(spec.name)
      return {
        name: named(spec, part),
        dtype: type,
        shape: written,
        byteLength: encodedLength(type, elementCount(written)),
        pieces: () =>
          isHead
            ? headValues(file, spec.name === 'head' ? sources.head : sources.headBias!, type, added.tableRows, repeated)
            : onePart(file, source!, spec, i, type),
      }
    })
  })
  return streams
}

export async function* headValues(
  file: TensorFile,
  source: string,
  type: string,
  tableRows: number,
  repeated: number | undefined,
) {
  const encoded = pieceEncoder(type)
  let last: Float32Array | undefined
  let row = 0
  const width = file.tensors.get(source)!.shape[1] ?? 1
  for await (const piece of file.valuePieces(source)) {
    const rows = piece.length / width
    if (repeated !== undefined && repeated >= row && repeated < row + rows)
      last = piece.slice((repeated - row) * width, (repeated - row + 1) * width)
    row += rows
    yield encoded(piece)
  }
  for (; row < tableRows; row++) yield encode(type, last ?? new Float32Array(width))
}

/** One stored tensor of a weight, from a checkpoint that may cut the weight otherwise. */
export async function* onePart(file: TensorFile, source: WeightSpec, target: WeightSpec, index: number, type: string) {
  const size = ({ shape }: WeightPart) => elementCount(shape)
  const part = target.parts[index]!
  const alike = source.parts.length === target.parts.length && size(source.parts[index]!) === size(part)
  if (alike && layoutOf(source.parts[index]!) === layoutOf(part)) {
    const encoded = pieceEncoder(type)
    for await (const values of file.valuePieces(source.parts[index]!.source)) yield encoded(values)
    return
  }
  const parts = alike ? [source.parts[index]!] : source.parts
  const start = alike ? 0 : target.parts.slice(0, index).reduce((sum, before) => sum + size(before), 0)
  const values = new Float32Array(parts.reduce((sum, own) => sum + size(own), 0))
  let at = 0
  for (const own of parts) {
    values.set(arranged(await file.read(own.source), own), at)
    at += size(own)
  }
  yield encode(type, stored(values.subarray(start, start + size(part)), part))
}

/** How numbers lie in a checkpoint: where two lie alike, nothing has to be laid out anew. */
const layoutOf = ({ transposed, permutedHeads, permutedColumns, byKeyHead, added }: WeightPart) =>
  JSON.stringify([transposed, permutedHeads, permutedColumns, byKeyHead?.repeat, byKeyHead?.headDim, added])

/** The inverse of `arranged`: numbers in the order that programs want, as a checkpoint stores them. */
export function stored(
  data: Float32Array,
  { shape, transposed, permutedHeads, permutedColumns, byKeyHead, added }: WeightPart,
): Float32Array {
  if (added) return data.map(x => x - added)
  if (permutedColumns) return stored(data, { source: '', shape: [data.length], permutedHeads: shape[0]! })
  if (!transposed && !permutedHeads && !byKeyHead) return data
  // Where each number comes from is what `arranged` does to the numbers 0, 1, …; exact as float32 below 2^24, so rows are numbered.
  const [rows, columns] = [shape[0]!, data.length / shape[0]!]
  const out = new Float32Array(data.length)
  if (transposed) {
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) out[column * rows + row] = data[row * columns + column]!
    return out
  }
  const order = arranged(
    Float32Array.from({ length: rows }, (_, row) => row),
    { source: '', shape: [rows], ...(permutedHeads && { permutedHeads }), ...(byKeyHead && { byKeyHead }) },
  )
  for (const [row, from] of order.entries()) out.set(data.subarray(row * columns, (row + 1) * columns), from * columns)
  return out
}
