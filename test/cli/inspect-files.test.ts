import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { temporaryFolder } from '../train/toy.js'
import { command } from './command.js'

const { folder, remove } = temporaryFolder()
afterAll(remove)

test('inspect says what it cannot make of a file: no format of data, columns without a meaning, rows that lack an answer', async () => {
  const at = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const text = await command(['inspect', at('excel.txt', 'a\tb\n1\t2\n'), '--json'])
  expect(text.code).toBe(2)
  expect(text.lines[0]).toMatchObject({
    code: 'unknown-format',
    expected: expect.stringContaining('.tsv'),
    hint: expect.stringContaining('.txt'),
  })
  const model = await command([
    'tune',
    '--model',
    join(folder, 'excel.txt'),
    '--train',
    at('a.csv', 'text,label\na,b\n'),
    '--template',
    '{text}',
    '--answer',
    ' {label}',
    '--dry-run',
  ])
  expect(model).toMatchObject({ code: 2, stderr: expect.stringContaining('error[not-a-model]') })
  const columns = await command(['inspect', at('columns.csv', 'Nr,Betreff,Art\n1,a b c,x\n2,d e f,y\n')])
  expect(columns.stderr).toContain('warning[unknown-columns]')
  const turn = (role: string) => ({ role, content: 'x' })
  const rows = [[turn('user'), turn('assistant')], [turn('user')]].map(messages => JSON.stringify({ messages }))
  const chat = await command(['inspect', at('chat.jsonl', `${rows.join('\n')}\n`)])
  expect(chat.stderr).toMatch(/warning\[missing-column\]: these rows cannot be made: .*chat\.jsonl:2 /)
})
