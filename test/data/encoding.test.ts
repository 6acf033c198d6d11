import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readRecords } from '../../src/data/read.js'
import { problemOf } from '../support/problem.js'
import { temporaryFolder } from '../train/toy.js'

/** Bytes that are no UTF-8, and what is said of them. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

async function read(name: string, content: string | Uint8Array) {
  const path = join(folder, name)
  writeFileSync(path, content)
  return readRecords(path)
}
const refused = (name: string, content: Uint8Array) => problemOf(read(name, content))

test('text that is not UTF-8', async () => {
  expect((await refused('a.tsv', Uint8Array.of(0x61, 0xe9, 0x0a, 0x61))).code).toBe('invalid-encoding')
  expect((await refused('a.tsv', Buffer.from('a\tb\né\n', 'utf16le'))).code).toBe('invalid-encoding')
  expect((await refused('a.tsv', Uint8Array.of(0xff, 0xfe, 0x00, 0xd8))).code).toBe('invalid-encoding')
})

test.each([
  ['UTF-16LE', 'a,b\nx,été\n'],
  ['UTF-16BE', 'a,b\nx,y\n'],
  ['UTF-16LE', 'текст,ответ\nда и нет,y\n'.repeat(9)],
  ['UTF-32LE', 'a,b\nx,y\n'],
  ['UTF-32BE', 'a,b\nx,y\n'],
])('%s without the mark that says so', async (encoding, text) => {
  const units = encoding.startsWith('UTF-32')
    ? Buffer.from(Uint32Array.from(text, one => one.codePointAt(0)!).buffer)
    : Buffer.from(text, 'utf16le')
  const bytes = encoding === 'UTF-16BE' ? units.swap16() : encoding === 'UTF-32BE' ? units.swap32() : units
  for (const file of ['a.csv', 'lines.jsonl'])
    expect(await refused(file, bytes)).toMatchObject({
      code: 'invalid-encoding',
      found: expect.stringContaining(encoding),
      hint: expect.stringMatching(new RegExp(`^iconv -f ${encoding} -t UTF-8 .*makes UTF-8 of it`)),
    })
})

test('a zero in a text is no such sign', async () => {
  const { records } = await read('zero.csv', 'text,label\nit is\0 here,a\n')
  expect(records).toEqual([{ text: 'it is\0 here', label: 'a' }])
})

test.each([
  ['latin1', 'a,b\nx,1\nun été,2\n', 'the byte 0xE9 at byte 4 of line 3', 'ISO-8859-1'],
  ['latin1', 'é', 'the byte 0xE9 at byte 1 of line 1', 'ISO-8859-1'],
  ['latin1', 'a\n\x93quoted\x94\n', 'the byte 0x93 at byte 1 of line 2', 'WINDOWS-1252'],
  ['cut within a character', `a\n${'日本\n'.repeat(400_000)}語`, 'the byte 0xE8 at byte 1 of line 400002', 'UTF-8'],
])('%s: the line, the byte and the command that converts it', async (encoding, text, place, name) => {
  const bytes = encoding === 'latin1' ? Buffer.from(text, 'latin1') : Buffer.from(text).subarray(0, -1)
  for (const file of ['a b.csv', 'lines.jsonl']) {
    const { found, hint } = await refused(file, bytes)
    expect(found).toContain(place)
    expect(hint).toMatch(
      new RegExp(
        `iconv (-c )?-f ${name} -t UTF-8 \\S*('.*a b\\.csv' > '.*a b\\.utf8\\.csv'|lines.jsonl > \\S*lines.utf8.jsonl) (makes|leaves)`,
      ),
    )
  }
})
