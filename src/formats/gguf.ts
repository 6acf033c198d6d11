/**
 * GGUF files: header and tensor table in, named tensors out. It knows what a file may claim and how large that is, and nothing of what
 * the metadata mean but for those keys that say how bytes lie: alignment, version of the blocks, and parts of a split model.
 */
import { GradpromptError } from '../errors.js'
import { elementCount } from '../numbers.js'
import { ggmlType } from './dequantize.js'
import { type GgufValue, HeaderReader, maxEntries } from './gguf-header.js'
import { checkPart, modelFile, partPaths, splitError, splitNumber } from './gguf-split.js'
import { SourceFile, SourceTensors, type TensorEntry, truncated } from './tensor-file.js'

export type { GgufArray, GgufValue } from './gguf-header.js'

const maxDimensions = 4

/** An open GGUF file, or the parts of a split one. Tensor shapes are outermost dimension first, the reverse of how the file stores them. */
export class GgufFile extends SourceTensors {
  constructor(
    source: SourceFile,
    readonly version: 2 | 3,
    readonly metadata: ReadonlyMap<string, GgufValue>,
    readonly alignment: number,
    tensors: ReadonlyMap<string, TensorEntry>,
    spans: ReadonlyMap<string, EntrySpan>,
    sources: readonly SourceFile[] = [source],
  ) {
    super(source.path, tensors, sources)
    this.paths = sources.map(({ path }) => path)
    this.#source = source
    this.#spans = spans
  }

  readonly #source: SourceFile
  readonly #spans: ReadonlyMap<string, EntrySpan>

  /** An entry of the metadata as the file has it, byte for byte: key, type and value. */
  async rawEntry(key: string): Promise<Uint8Array> {
    const { start, end } = this.#spans.get(key)!
    const bytes = new Uint8Array(end - start)
    await this.#source.read(bytes, start)
    return bytes
  }

  /** The file, or all parts in order. */
  readonly paths: readonly string[]
}

/** Where an entry of the metadata stands in its file. */
interface EntrySpan {
  readonly start: number
  readonly end: number
}

/** One file: what it says, and what it holds. */
interface Part {
  readonly spans: ReadonlyMap<string, EntrySpan>
  readonly source: SourceFile
  readonly version: 2 | 3
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly alignment: number
  readonly tensors: ReadonlyMap<string, TensorEntry>
}

/**
 * Opens a GGUF file, version 2 or 3, little-endian, and reads its header: the metadata and the table of tensors. Every offset,
 * length and count is checked against the file's size before it is used. Tensors of a type that cannot be dequantised are listed,
 * and refused when they are read. Of a model that `llama-gguf-split` has cut into parts (`NAME-00001-of-0000N.gguf`) the first part is
 * named, or the folder that they are in. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * Throws `file-not-found`, `unreadable-file`, `truncated-file`, `invalid-gguf`, `unsupported-gguf`, `unsupported-quantization`.
 */
export async function openGguf(path: string): Promise<GgufFile> {
  const sources: SourceFile[] = []
  try {
    const first = await openPart(await modelFile(path), sources)
    const count = splitNumber(first, 'split.count')
    if (count <= 1) return new GgufFile(first.source, first.version, first.metadata, first.alignment, first.tensors, first.spans)
    const tensors = new Map(first.tensors)
    for (const [i, file] of partPaths(first, count).entries()) {
      if (i === 0) continue
      const part = await openPart(file, sources)
      checkPart(part, i, count)
      for (const [name, entry] of part.tensors) {
        if (tensors.has(name))
          throw splitError(file, `tensor "${name}" is in an earlier part, too`, name, 'each tensor in one part')
        tensors.set(name, entry)
      }
    }
    const expected = splitNumber(first, 'split.tensors.count', tensors.size)
    if (tensors.size !== expected) {
      throw splitError(first.source.path, 'its parts do not hold all tensors', `${tensors.size} tensors`, `${expected}`)
    }
    return new GgufFile(first.source, first.version, first.metadata, first.alignment, tensors, first.spans, sources)
  } catch (error) {
    await Promise.all(sources.map(source => source.close()))
    throw error
  }
}

async function openPart(path: string, sources: SourceFile[]): Promise<Part> {
  const source = await SourceFile.open(path)
  sources.push(source)
  return readHeader(source)
}

function readHeader(source: SourceFile): Part {
  const header = new HeaderReader(source)
  const version = readVersion(header)
  const tensorCount = header.count(24, 'its tensor table')
  const entryCount = header.count(13, 'its metadata')
  if (Math.max(tensorCount, entryCount) > maxEntries) {
    throw header.invalid('its header has too many entries', {
      found: `${tensorCount} tensors, ${entryCount} metadata entries`,
      expected: `at most ${maxEntries} of each`,
    })
  }
  const metadata = new Map<string, GgufValue>()
  const spans = new Map<string, EntrySpan>()
  for (let i = 0; i < entryCount; i++) {
    const start = header.position
    const key = header.name('metadata key', metadata)
    metadata.set(key, header.value(header.uint32(), key))
    spans.set(key, { start, end: header.position })
  }
  checkBlockVersion(header, metadata)
  const alignment = readAlignment(header, metadata)
  const tensors = readTensorTable(header, source, tensorCount, alignment)
  return { source, version, metadata, alignment, tensors, spans }
}

/** Blocks of the first version of quantisation lie otherwise under the same names. */
function checkBlockVersion(header: HeaderReader, metadata: ReadonlyMap<string, GgufValue>): void {
  const version = metadata.get('general.quantization_version') ?? 2
  if (version === 2) return
  throw new GradpromptError('unsupported-gguf', `${header.source.path} has blocks of another version`, {
    found: `general.quantization_version ${typeof version === 'object' ? 'that is an array' : version}`,
    expected: '2',
    hint: 'Convert the model again with a current llama.cpp.',
  })
}

function readVersion(header: HeaderReader): 2 | 3 {
  const magic = header.bytes(4, 'its first four bytes').toString('latin1')
  if (magic !== 'GGUF') {
    const hint = 'Name a .gguf file. Models in other formats are read from their folder.'
    throw header.invalid('it does not begin as one', { found: JSON.stringify(magic), expected: '"GGUF"', hint })
  }
  const version = header.uint32()
  if (version === 2 || version === 3) return version
  const bigEndian = (version & 0xffff) === 0 && version !== 0
  throw new GradpromptError('unsupported-gguf', `${header.source.path} is a kind of GGUF file that cannot be read`, {
    found: bigEndian ? 'big-endian byte order' : `version ${version}`,
    expected: 'version 2 or 3, little-endian',
    hint: bigEndian
      ? 'Convert it with gguf_convert_endian.py of llama.cpp, or take the little-endian file.'
      : 'Convert the model again with a current llama.cpp.',
  })
}

function readAlignment(header: HeaderReader, metadata: ReadonlyMap<string, GgufValue>): number {
  const alignment = metadata.get('general.alignment') ?? 32
  const valid = typeof alignment === 'number' && alignment >= 1 && alignment <= 2 ** 20 && Number.isInteger(Math.log2(alignment))
  if (valid) return alignment
  throw header.invalid('its general.alignment makes no sense', {
    found: typeof alignment === 'object' ? 'an array' : String(alignment),
    expected: 'a power of two up to 1048576',
  })
}

function readTensorTable(header: HeaderReader, source: SourceFile, count: number, alignment: number): Map<string, TensorEntry> {
  const entries = new Map<string, TensorEntry>()
  for (let i = 0; i < count; i++) {
    const name = header.name('tensor name', entries)
    const shape = readShape(header, name)
    const { name: dtype, blockSize, bytesPerBlock } = ggmlType(header.uint32(), name)
    const offset = header.uint64()
    const columns = shape.at(-1) ?? 1
    if (columns % blockSize !== 0) {
      throw header.invalid(`tensor "${name}" does not fill its blocks`, {
        found: `rows of ${columns}`,
        expected: `a multiple of ${blockSize}, the block of ${dtype}`,
      })
    }
    if (typeof offset !== 'number' || offset % alignment !== 0) {
      throw header.invalid(`tensor "${name}" is out of line`, {
        found: `offset ${offset}`,
        expected: `a multiple of ${alignment}`,
      })
    }
    const byteLength = (elementCount(shape) / blockSize) * bytesPerBlock
    if (!(byteLength <= source.size)) throw truncated(source.path, source.size, byteLength, `tensor "${name}"`)
    entries.set(name, { name, dtype, shape, source, offset, byteLength })
  }
  const dataStart = Math.ceil(header.position / alignment) * alignment
  const placed = [...entries.values()].map(entry => ({ ...entry, offset: dataStart + entry.offset }))
  // Where nothing is stored, the next tensor begins at the same place.
  placed.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)
  for (const [i, { name, offset, byteLength }] of placed.entries()) {
    const before = placed[i - 1]
    if (before !== undefined && before.offset + before.byteLength > offset) {
      throw header.invalid(`tensors "${before.name}" and "${name}" overlap`, {
        found: `"${name}" at ${offset}, "${before.name}" up to ${before.offset + before.byteLength}`,
        expected: 'bytes of their own for each tensor',
      })
    }
    if (offset + byteLength > source.size) {
      throw truncated(source.path, source.size, offset + byteLength, `tensor "${name}"`)
    }
  }
  for (const entry of placed) entries.set(entry.name, entry)
  return entries
}

function readShape(header: HeaderReader, tensor: string): number[] {
  const rank = header.uint32()
  if (rank > maxDimensions) {
    throw header.invalid(`tensor "${tensor}" has too many dimensions`, {
      found: String(rank),
      expected: `at most ${maxDimensions}`,
    })
  }
  const shape = Array.from({ length: rank }, () => {
    const size = header.uint64()
    if (typeof size === 'number') return size
    throw header.invalid(`tensor "${tensor}" has an impossible dimension`, {
      found: String(size),
      expected: 'a number below 2^53',
    })
  })
  return shape.reverse()
}
