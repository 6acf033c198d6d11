import * as zlib from 'node:zlib'
import type { AsyncBuffer, Compressors, FileMetaData, SchemaTree } from 'hyparquet'
import { GradpromptError } from '../../errors.js'
import { isRecord } from '../../json.js'
import type { DataInput, DataReader, ReadOptions, Table } from './reader.js'
import { missingColumn } from './records.js'
import { toTable } from './values.js'

/** Parquet files. What one claims about itself is checked before it is believed; how its pages are laid out is the package's matter. */

const mostRows = 50_000_000

export const parquetReader: DataReader = {
  name: 'parquet',
  description: 'pages that are not compressed, or by Snappy, gzip, Brotli, Zstandard or LZ4',
  extensions: ['parquet'],
  async read(input, options) {
    try {
      return await readTable(input, options)
    } catch (cause) {
      if (cause instanceof GradpromptError) throw cause
      throw new GradpromptError('invalid-data', `${input.name} cannot be read as Parquet`, {
        // What the decoder says of its own variables says nothing of the file.
        found: cause instanceof Error && !(cause instanceof TypeError) ? cause.message : 'parts that do not fit together',
        expected: 'a Parquet file with Snappy, gzip, Brotli, Zstandard or LZ4 compression, or none',
        hint: 'if it is one, it is damaged: copy or download it again',
        cause,
      })
    }
  },
}

async function readTable(input: DataInput, { columns }: ReadOptions): Promise<Table> {
  const { parquetMetadataAsync, parquetReadObjects, parquetSchema } = await import('hyparquet')
  // The last 8 bytes are the footer's length and the mark PAR1, so that is the least a file can be.
  if (input.size < 12) throw new Error(`${input.size} bytes`)
  const file: AsyncBuffer = {
    byteLength: input.size,
    async slice(start, end = input.size) {
      const bytes = await input.slice(start < 0 ? input.size + start : start, end)
      return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer
    },
  }
  const metadata = await parquetMetadataAsync(file)
  const rows = Number(metadata.num_rows)
  if (!(rows >= 0 && rows <= mostRows)) throw new Error(`${metadata.num_rows} rows`)
  const schema = parquetSchema(metadata)
  const leaves = leavesOf(schema)
  // A column that the schema does not have would be read all the same, and its failure heard by nobody.
  const expected = [...leaves].sort().join()
  const groups = metadata.row_groups.map(({ columns }) => columns.map(({ meta_data }) => meta_data?.path_in_schema.join('.')))
  if (groups.some(columns => columns.sort().join() !== expected)) throw new Error("columns that are not the schema's")
  if (metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0) !== rows)
    throw new Error('row groups that do not add up to its rows')
  const there = schema.children.map(child => child.element.name)
  const absent = columns?.find(column => !there.includes(column))
  if (absent !== undefined) throw missingColumn(absent, there, input.name)
  const wanted = columns === undefined ? {} : { columns: [...columns] }
  const options = { file, compressors: await loadCompressors() }
  await checkPages(metadata, columns ?? there, options)
  const values = (await parquetReadObjects({ ...options, metadata, ...wanted })).map(withNumbers)
  return toTable(
    values,
    values.map((_, i) => `${input.name} row ${i + 1}`),
    columns,
  )
}

/** Integers of 64 bits come as bigints, which JSON does not have: those that a number holds are numbers, as in a file of JSON. */
function withNumbers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (Array.isArray(value)) return value.map(withNumbers)
  if (!isRecord(value) || Object.getPrototypeOf(value) !== Object.prototype) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, withNumbers(inner)]))
}

/**
 * Decodes every column chunk by itself. The package begins all of a file's chunks at once, so that when one fails while another is
 * being started, nobody hears it, and Node ends the process; a chunk alone always has a listener. What passes here does not fail there.
 */
async function checkPages(
  metadata: FileMetaData,
  columns: readonly string[],
  options: { readonly file: AsyncBuffer; readonly compressors: Compressors },
): Promise<void> {
  const { parquetRead } = await import('hyparquet')
  for (const group of metadata.row_groups)
    for (const chunk of group.columns) {
      const [column] = chunk.meta_data!.path_in_schema
      if (column === undefined || !columns.includes(column)) continue
      const alone = { ...metadata, num_rows: group.num_rows, row_groups: [{ ...group, columns: [chunk] }] }
      await parquetRead({ ...options, metadata: alone, columns: [column] })
    }
}

/** Paths of the columns that hold values. */
const leavesOf = ({ path, children }: SchemaTree): string[] =>
  children.length === 0 ? [path.join('.')] : children.flatMap(leavesOf)

// The formats differ in how far they can shrink zeros; no page of text comes near these.
const mostSnappy = 64
const mostPage = 256 * 1024 * 1024

function refuseClaim(format: string, input: Uint8Array, outputLength: number, most: number): void {
  if (outputLength > most) throw new Error(`a ${format} page of ${input.length} bytes that claims ${outputLength}`)
}

/** A page says how long it gets: one that grows past that is refused, not unpacked. */
async function loadCompressors(): Promise<Compressors> {
  const [{ snappyUncompress }, { decompressLz4, decompressLz4Raw, decompressZstd }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ])
  return {
    GZIP: (input, outputLength) => zlib.gunzipSync(input, { maxOutputLength: Math.max(1, outputLength) }),
    BROTLI: (input, outputLength) => zlib.brotliDecompressSync(input, { maxOutputLength: Math.max(1, outputLength) }),
    SNAPPY(input, outputLength) {
      refuseClaim('Snappy', input, outputLength, mostSnappy * (input.length + 1))
      const output = new Uint8Array(outputLength)
      snappyUncompress(input, output)
      return output
    },
    ZSTD(input, outputLength) {
      refuseClaim('Zstandard', input, outputLength, mostPage)
      // Into a buffer of that size it cannot write more, whatever its own header says.
      return decompressZstd(input, new Uint8Array(outputLength))
    },
    LZ4(input, outputLength) {
      refuseClaim('LZ4', input, outputLength, 256 * (input.length + 1))
      return decompressLz4(input, outputLength)
    },
    LZ4_RAW(input, outputLength) {
      refuseClaim('LZ4', input, outputLength, 256 * (input.length + 1))
      return decompressLz4Raw(input, outputLength)
    },
  }
}
