import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ReasoningLog } from '../../src/search/run/reasoning-log.js'
import { WrittenLog } from '../../src/search/writing/written-log.js'

const folder = mkdtempSync(join(tmpdir(), 'gradprompt-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('a search goes on with the entries that its checkpoint counts, or not at all', async () => {
  const path = join(folder, 'reasoning.jsonl')
  const lines = [0, 1, 2].map(row => `${JSON.stringify({ row })}\n`)
  const corrupt = expect.objectContaining({ code: 'run-corrupt' })
  writeFileSync(path, `${lines.join('')}{"row":3`)
  expect((await ReasoningLog.open(folder, 2)).entries).toHaveLength(2)
  expect(readFileSync(path, 'utf8')).toBe(lines.slice(0, 2).join(''))
  await expect(ReasoningLog.open(folder, 3)).rejects.toThrow(corrupt)
  writeFileSync(path, `${lines[0]}{"ro\n${lines[2]}`)
  await expect(ReasoningLog.open(folder, 3)).rejects.toThrow(corrupt)
  rmSync(path)
  await expect(ReasoningLog.open(folder, 1)).rejects.toThrow(corrupt)
  expect((await ReasoningLog.open(folder, 0)).entries).toEqual([])
})

test('what was written for people loses the lines that cannot be read', async () => {
  const path = join(folder, 'written.jsonl')
  writeFileSync(path, '{"step":1}\n{"st\nnull\n{"step":2}\n')
  await WrittenLog.open(folder, 1)
  expect(readFileSync(path, 'utf8')).toBe('{"step":1}\n')
})
