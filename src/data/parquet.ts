import * as zlib from 'node:zlib'
import type { SchemaTree } from 'hyparquet'
import { GradpromptError } from '../errors.js'
import { toTable } from './json.js'
import type { Table } from './read.js'
import { missingColumn } from './records.js'

const mostRows = 50_000_000

/** A Parquet file: uncompressed, Snappy, gzip or Brotli pages (Zstandard where Node has it). */
export async function readParquet(path: string, size: number, columns?: readonly string[]): Promise<Table> {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema, snappyUncompress } = await import(
    'hyparquet'
  )
  try {
    // The last 8 bytes are the footer's length and the mark PAR1, so that is the least a file can be.
    if (size < 12) throw new Error(`${size} bytes`)
    const file = await asyncBufferFromFile(path)
    const metadata = await parquetMetadataAsync(file)
    const rows = Number(metadata.num_rows)
    if (!(rows >= 0 && rows <= mostRows)) throw new Error(`${metadata.num_rows} rows`)
    const schema = parquetSchema(metadata)
    // A column that the schema does not have would be read all the same, and its failure heard by nobody.
    const expected = leavesOf(schema).sort().join()
    const groups = metadata.row_groups.map(({ columns }) => columns.map(({ meta_data }) => meta_data?.path_in_schema.join('.')))
    if (groups.some(columns => columns.sort().join() !== expected)) throw new Error("columns that are not the schema's")
    const there = schema.children.map(child => child.element.name)
    const absent = columns?.find(column => !there.includes(column))
    if (absent !== undefined) throw missingColumn(absent, there, path)
    const wanted = columns === undefined ? {} : { columns: [...columns] }
    const SNAPPY: Decompress = (input, outputLength) => {
      if (outputLength > 64 * (input.length + 1))
        throw new Error(`a Snappy page of ${input.length} bytes that claims ${outputLength}`)
      const output = new Uint8Array(outputLength)
      snappyUncompress(input, output)
      return output
    }
    const values = await parquetReadObjects({ file, metadata, compressors: { ...compressors, SNAPPY }, ...wanted })
    return toTable(
      values.map(integersAsText),
      values.map((_, i) => `${path} row ${i + 1}`),
      columns,
    )
  } catch (cause) {
    if (cause instanceof GradpromptError) throw cause
    throw new GradpromptError('invalid-data', `${path} cannot be read as Parquet`, {
      found: cause instanceof Error ? cause.message : String(cause),
      expected: 'a Parquet file with Snappy, gzip or Brotli compression, or none',
      cause,
    })
  }
}

/** Paths of the columns that hold values. */
const leavesOf = ({ path, children }: SchemaTree): string[] =>
  children.length === 0 ? [path.join('.')] : children.flatMap(leavesOf)

/** 64-bit integers come as bigint; as text they keep every digit. */
const integersAsText = (row: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(row).map(([name, value]) => [name, typeof value === 'bigint' ? String(value) : value]))

type Decompress = (input: Uint8Array, outputLength: number) => Uint8Array

// A page says how long it gets: one that grows past that is refused, not unpacked.
const compressors: Record<string, Decompress> = {
  GZIP: (input, outputLength) => zlib.gunzipSync(input, { maxOutputLength: Math.max(1, outputLength) }),
  BROTLI: (input, outputLength) => zlib.brotliDecompressSync(input, { maxOutputLength: Math.max(1, outputLength) }),
}
if ('zstdDecompressSync' in zlib) compressors.ZSTD = zlib.zstdDecompressSync as Decompress
