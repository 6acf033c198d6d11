import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { refuseOccupied, writeFolder } from '../../src/export/folder.js'
import { ggufEntry, writeGguf } from '../../src/formats/gguf-writer.js'
import { type TensorStream, writeShards } from '../../src/formats/safetensors-writer.js'
import { problemOf } from '../support/problem.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-folder-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const values = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)

/** A tensor whose bytes come one by one; `onByte` hears how many have been written. */
const byBytes = (onByte: (count: number) => void): TensorStream => ({
  name: 'x',
  dtype: 'F32',
  shape: [6],
  byteLength: values.length,
  async *pieces() {
    for (let i = 0; i < values.length; i++) {
      onByte(i)
      yield values.subarray(i, i + 1)
    }
  },
})

const writers: readonly [string, (place: string, tensor: TensorStream) => Promise<void>][] = [
  [
    'GGUF',
    (place, tensor) =>
      writeGguf(join(place, 'model.gguf'), { entries: [ggufEntry.uint32('a', 1)], tensors: [tensor], alignment: 32 }),
  ],
  ['safetensors', (place, tensor) => writeShards(place, [tensor])],
]

test.each(writers)('%s: at no byte is there a file that looks complete', async (_, write) => {
  const out = join(folder, 'out')
  const isSeen = () =>
    readdirSync(folder, { recursive: true })
      .map(String)
      .filter(name => /\.(gguf|safetensors)$/.test(name))
  let bytes = 0
  await writeFolder(out, place =>
    write(
      place,
      byBytes(() => {
        bytes++
        // A process that is killed here leaves what stands there now.
        expect([existsSync(out), isSeen()]).toEqual([false, []])
      }),
    ),
  )
  expect([bytes, isSeen().length]).toEqual([values.length, 1])
  rmSync(out, { recursive: true })
  for (const last of [0, 1, 11, values.length - 1]) {
    const stop = byBytes(count => {
      if (count === last) throw new Error('stopped')
    })
    await expect(writeFolder(out, place => write(place, stop))).rejects.toThrow('stopped')
    expect(readdirSync(folder)).toEqual([])
  }
})

test('a link is followed to an empty folder, and refused where it leads elsewhere', async () => {
  const at = (name: string) => join(folder, name)
  writeFileSync(at('file'), 'x')
  mkdirSync(at('empty'))
  mkdirSync(at('full'))
  writeFileSync(join(at('full'), 'a'), '')
  for (const target of ['file', 'empty', 'full', 'nothing']) symlinkSync(at(target), at(`to-${target}`))
  const refusal = async (name: string) => {
    const { code, found } = await problemOf(writeFolder(at(name), async () => expect.fail('it was written')))
    return [code, found]
  }
  expect(await refusal('file')).toEqual(['cannot-write', 'a file'])
  expect(await refusal('to-file')).toEqual(['cannot-write', 'a link to a file'])
  expect(await refusal('to-nothing')).toEqual(['cannot-write', 'a link to nothing'])
  expect(await refusal('to-full')).toEqual(['folder-not-empty', 'a'])
  expect(await problemOf(refuseOccupied(at('to-nothing')))).toMatchObject({ code: 'cannot-write' })
  await writeFolder(at('to-empty'), async place => writeFileSync(join(place, 'made'), 'yes'))
  expect(readFileSync(join(at('empty'), 'made'), 'utf8')).toBe('yes')
  // A folder within a file cannot be made.
  expect((await problemOf(writeFolder(join(at('file'), 'x'), async () => {}))).code).toBe('cannot-write')
})
