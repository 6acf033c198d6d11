import type { RowFormat, WrittenRow } from './writer.js'

/** Parquet: texts and doubles, compressed by Snappy. Rows are held until they fill a row group; how pages are laid out is the package's matter. */

const rowsOfGroup = 8192

export const parquetFormat: RowFormat = {
  name: 'parquet',
  extensions: ['parquet'],
  isBinary: true,
  isTable: true,
  async open(sink, columns) {
    const { ByteWriter, ParquetWriter } = await import('hyparquet-writer')
    const bytes = new ByteWriter()
    const writer = new ParquetWriter({
      writer: bytes,
      createdBy: 'gradprompt',
      schema: [
        { name: 'root', num_children: columns.length },
        ...columns.map(({ name, type }) =>
          type === 'text'
            ? ({ name, type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' } as const)
            : ({ name, type: 'DOUBLE', repetition_type: 'OPTIONAL' } as const),
        ),
      ],
    })
    let held: WrittenRow[] = []
    const passOn = async () => {
      await sink.write(bytes.getBytes().slice())
      bytes.index = 0
    }
    const flush = async (count: number) => {
      const rows = held.slice(0, count)
      held = held.slice(count)
      const columnData = columns.map(({ name }, i) => ({ name, data: rows.map(({ cells }) => cells[i] ?? null) }))
      await writer.write({ columnData, rowGroupSize: rows.length })
      await passOn()
    }
    return {
      async write(rows) {
        held.push(...rows)
        while (held.length >= rowsOfGroup) await flush(rowsOfGroup)
      },
      async end() {
        if (held.length > 0) await flush(held.length)
        await writer.finish()
        await passOn()
      },
    }
  },
}
