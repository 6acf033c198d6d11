import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { isRecord } from '../json.js'
import { describe, parseHeader } from './header-json.js'
import { isSizes, maxHeaderBytes } from './safetensors-writer.js'
import { SourceFile, SourceTensors, type TensorEntry, truncated } from './tensor-file.js'

export { type TensorToWrite, writeSafetensors } from './safetensors-writer.js'

const singleFile = 'model.safetensors'
const indexFile = 'model.safetensors.index.json'

const readableTypes = ['F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2']

/** Bits of one element of each known type. Tensors of a type that is not readable are listed, and refused when they are read. */
const elementBits: ReadonlyMap<string, number> = new Map([
  ...['F64', 'I64', 'U64', 'C64'].map(dtype => [dtype, 64] as const),
  ...['F32', 'I32', 'U32'].map(dtype => [dtype, 32] as const),
  ...['F16', 'BF16', 'I16', 'U16'].map(dtype => [dtype, 16] as const),
  ...['F8_E5M2', 'F8_E4M3', 'F8_E8M0', 'I8', 'U8', 'BOOL'].map(dtype => [dtype, 8] as const),
  ...['F6_E2M3', 'F6_E3M2'].map(dtype => [dtype, 6] as const),
  ['F4', 4] as const,
])

/** Open safetensors: one file or all shards of a folder. Shapes are as stored, which is as torch prints them. */
export class SafetensorsFile extends SourceTensors {
  constructor(
    path: string,
    entries: ReadonlyMap<string, TensorEntry>,
    sources: readonly SourceFile[],
    /** The header's `__metadata__`; of shards, the first that has a key. */
    readonly metadata: ReadonlyMap<string, string>,
  ) {
    super(path, entries, sources)
  }

  /** Throws `unsupported-dtype` for a tensor that is not F32, F16, BF16, or FP8. */
  override async read(name: string, out?: Float32Array): Promise<Float32Array> {
    const dtype = this.tensors.get(name)?.dtype
    if (dtype === undefined || readableTypes.includes(dtype)) return super.read(name, out)
    throw unsupported(this.path, name, dtype, readableTypes)
  }
}

/**
 * Opens a safetensors file, or a folder that holds `model.safetensors` or the shards of `model.safetensors.index.json`.
 * Every offset is checked against the file's size, and the tensors must fill the file without gap or overlap.
 * Format: https://huggingface.co/docs/safetensors
 *
 * Throws `file-not-found`, `unreadable-file`, `truncated-file`, `invalid-safetensors`, `unsupported-dtype` (an unknown one).
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const info = await stat(path).catch(() => undefined)
  if (info === undefined || !info.isDirectory()) return openShards(path, new Map([[path, undefined]]))
  for (const name of [singleFile, indexFile]) {
    const file = join(path, name)
    const found = await stat(file).catch(() => undefined)
    if (found !== undefined) return name === singleFile ? openSafetensors(file) : openShards(path, await readIndex(path, file))
  }
  throw new GradpromptError('file-not-found', `There are no safetensors in ${path}`, {
    found: 'a folder without them',
    expected: `${singleFile}, or ${indexFile} with its shards`,
    hint: 'Name the folder that holds the weights, or the file itself.',
  })
}

/** `shards`: the tensors that the index places in each file; undefined where there is no index. */
async function openShards(path: string, shards: ReadonlyMap<string, readonly string[] | undefined>): Promise<SafetensorsFile> {
  const sources: SourceFile[] = []
  const entries = new Map<string, TensorEntry>()
  const metadata = new Map<string, string>()
  // A shard may hold more than the index names of it; what the index places elsewhere is read there.
  const indexed = new Set([...shards.values()].flatMap(names => names ?? []))
  try {
    for (const [file, names] of shards) {
      const source = names === undefined ? await SourceFile.open(file) : await openShard(file, names)
      sources.push(source)
      const header = await readHeader(source)
      for (const [key, value] of header.metadata) if (!metadata.has(key)) metadata.set(key, value)
      for (const name of names ?? []) {
        if (header.entries.has(name)) continue
        throw invalid(file, `the index places tensor "${name}" in it`, {
          found: `${header.entries.size} other tensors`,
          expected: `"${name}"`,
        })
      }
      const here = new Set(names)
      for (const [name, entry] of header.entries) if (here.has(name) || !indexed.has(name)) entries.set(name, entry)
    }
    return new SafetensorsFile(path, entries, sources, metadata)
  } catch (error) {
    await Promise.all(sources.map(source => source.close()))
    throw error
  }
}

async function openShard(path: string, names: readonly string[]): Promise<SourceFile> {
  try {
    return await SourceFile.open(path)
  } catch (error) {
    if (!(error instanceof GradpromptError) || error.code !== 'file-not-found') throw error
    throw new GradpromptError('file-not-found', `There is no file ${path}, which ${indexFile} names`, {
      found: 'nothing',
      expected: `the shard of tensor "${names[0]}"${names.length > 1 ? ` and ${names.length - 1} more` : ''}`,
      hint: 'Not all of the model is here: copy or download what is missing.',
      cause: error,
    })
  }
}

/** The tensors of each shard, by the shard's path. */
async function readIndex(folder: string, file: string): Promise<Map<string, string[]>> {
  const source = await SourceFile.open(file)
  try {
    checkHeaderLength(file, source.size)
    const bytes = new Uint8Array(source.size)
    await source.read(bytes, 0)
    const { weight_map: weightMap } = parseHeader(bytes, 4, (what, details) => invalid(file, what, details))
    if (!isRecord(weightMap)) {
      throw invalid(file, 'it has no weight_map', { found: describe(weightMap), expected: 'an object from tensor to shard' })
    }
    const shards = new Map<string, string[]>()
    for (const [name, shard] of Object.entries(weightMap)) {
      if (typeof shard !== 'string' || !/^[^/\\\0]+\.safetensors$/.test(shard)) {
        throw invalid(file, `the shard of tensor "${name}" is not a file of this folder`, {
          found: describe(shard),
          expected: 'a plain file name that ends in .safetensors',
        })
      }
      const path = join(folder, shard)
      const names = shards.get(path)
      if (names === undefined) shards.set(path, [name])
      else names.push(name)
    }
    return shards
  } finally {
    await source.close()
  }
}

async function readHeader(source: SourceFile): Promise<{ entries: Map<string, TensorEntry>; metadata: Map<string, string> }> {
  const { path, size } = source
  if (size < 8) throw truncated(path, size, 8, 'the length of its header')
  const prefix = Buffer.alloc(8)
  await source.read(prefix, 0)
  const length = Number(prefix.readBigUInt64LE())
  checkHeaderLength(path, length)
  const start = 8 + length
  if (start > size) throw truncated(path, size, start, 'its header')
  const bytes = new Uint8Array(length)
  await source.read(bytes, 8)

  const { __metadata__: metadata, ...tensors } = parseHeader(bytes, 3, (what, details) => invalid(path, what, details))
  const entries = Object.entries(tensors).map(([name, info]) => readEntry(source, start, name, info))
  entries.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength)
  let end = start
  for (const { name, offset, byteLength } of entries) {
    if (offset !== end) {
      throw invalid(path, `tensor "${name}" ${offset < end ? 'overlaps another' : 'leaves a gap before it'}`, {
        found: `offset ${offset - start}`,
        expected: `offset ${end - start}, where the one before ends`,
      })
    }
    end += byteLength
  }
  if (end > size) throw truncated(path, size, end, 'its tensors')
  if (end < size) {
    throw invalid(path, 'bytes follow its last tensor', { found: `${size} bytes`, expected: `${end} bytes` })
  }
  return { entries: new Map(entries.map(entry => [entry.name, entry])), metadata: readMetadata(path, metadata) }
}

function readEntry(source: SourceFile, dataStart: number, name: string, info: unknown): TensorEntry {
  const { dtype, shape, data_offsets: offsets, ...rest } = isRecord(info) ? info : {}
  const wellFormed = typeof dtype === 'string' && isSizes(shape) && isSizes(offsets) && offsets.length === 2
  if (!wellFormed || Object.keys(rest).length > 0) {
    throw invalid(source.path, `the entry of tensor "${name}" is malformed`, {
      found: describe(info),
      expected: '{"dtype": a name, "shape": sizes, "data_offsets": [begin, end]}',
    })
  }
  const bits = elementBits.get(dtype)
  if (bits === undefined) throw unsupported(source.path, name, dtype, [...elementBits.keys()])
  const [begin = 0, end = 0] = offsets
  const needed = shape.reduce((a, b) => a * b, bits) / 8
  if (end - begin !== needed) {
    throw invalid(source.path, `the bytes of tensor "${name}" do not match its shape`, {
      found: `${end - begin} bytes`,
      expected: `${needed} bytes, for ${dtype} of shape [${shape.join(', ')}]`,
    })
  }
  if (dataStart + end > source.size) throw truncated(source.path, source.size, dataStart + end, `tensor "${name}"`)
  return { name, dtype, shape, source, offset: dataStart + begin, byteLength: needed }
}

function readMetadata(path: string, metadata: unknown): Map<string, string> {
  const texts = new Map<string, string>()
  if (metadata === undefined || metadata === null) return texts
  for (const [key, value] of Object.entries(isRecord(metadata) ? metadata : { __metadata__: null })) {
    if (typeof value !== 'string') {
      throw invalid(path, 'its __metadata__ is malformed', { found: describe(metadata), expected: 'an object of texts' })
    }
    texts.set(key, value)
  }
  return texts
}

function checkHeaderLength(path: string, length: number): void {
  if (length <= maxHeaderBytes) return
  throw invalid(path, 'its header is too large', { found: `${length} bytes`, expected: `at most ${maxHeaderBytes}` })
}

function unsupported(path: string, name: string, dtype: string, known: readonly string[]): GradpromptError {
  return new GradpromptError('unsupported-dtype', `Tensor "${name}" of ${path} has a type that cannot be read`, {
    found: describe(dtype),
    expected: `one of ${known.join(', ')}`,
    hint: 'Save the model as F32, F16 or BF16.',
  })
}

function invalid(path: string, what: string, details: { found: string; expected: string }): GradpromptError {
  return new GradpromptError('invalid-safetensors', `${path} is not valid safetensors: ${what}`, {
    hint: 'The file is damaged or was written wrongly: copy or download it again.',
    ...details,
  })
}
