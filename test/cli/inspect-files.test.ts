import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { temporaryFolder, toyModel } from '../train/toy.js'
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
  // What is not there is data where its name says so.
  expect((await command(['inspect', join(folder, 'nowhere.csv')])).stderr).toContain('cannot read the data file')
  expect((await command(['inspect', join(folder, 'nowhere.safetensors')])).stderr).toContain('There is no file')
  const columns = await command(['inspect', at('columns.csv', 'Nr,Betreff,Art\n1,a b c,x\n2,d e f,y\n')])
  expect(columns.stderr).toContain('warning[unknown-columns]')
  const turn = (role: string) => ({ role, content: 'x' })
  const rows = [[turn('user'), turn('assistant')], [turn('user')]].map(messages => JSON.stringify({ messages }))
  const chat = await command(['inspect', at('chat.jsonl', `${rows.join('\n')}\n`)])
  expect(chat.stderr).toMatch(/warning\[missing-column\]: these rows cannot be made: .*chat\.jsonl:2 /)
})

test('inspect takes both answers of preferences for texts, however alike', async () => {
  const rows = ['a', 'b', 'c', 'd'].map(prompt => JSON.stringify({ prompt, chosen: 'Thank you.', rejected: 'No.' }))
  const path = join(folder, 'pairs.jsonl')
  writeFileSync(path, `${rows.join('\n')}\n`)
  const { code, lines, stderr } = await command(['inspect', path, '--json'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('warning') })
  expect(lines[0]).toMatchObject({ suggestion: { answerType: 'text', answer: '{chosen}' }, warnings: [] })
  expect(lines[0]).toHaveProperty('data.parts.rows.rows', 4)
  expect(lines[0]).not.toHaveProperty('data.parts.rows.classes')
})

test('inspect shows an adapter of PEFT, and says what a model is not', async () => {
  const adapter = 'test/fixtures/prompt-methods/prompt-tuning'
  const { code, lines } = await command(['inspect', adapter, '--json'])
  expect(code).toBe(0)
  expect(lines[0]).toMatchObject({ kind: 'adapter', type: 'PROMPT_TUNING', tensors: [{ name: 'prompt_embeddings' }] })
  const asModel = await command(['generate', '--model', adapter, 'x'])
  expect(asModel.stderr).toContain(`--prompt ${adapter} takes it`)
  const odd = join(folder, 'lora')
  mkdirSync(odd)
  writeFileSync(join(odd, 'adapter_config.json'), '{"peft_type": "LORA"}')
  expect((await command(['inspect', odd])).stderr).toContain('found: peft_type "LORA"')
})

test('a module that ends the process has not done what was asked for', async () => {
  const path = join(folder, 'exits.mjs')
  writeFileSync(path, 'process.exit(0)')
  const { code, stderr, lines } = await command(['inspect', toyModel, '--family', path, '--json'])
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('error[ended-early]') })
  expect(lines).toEqual([expect.objectContaining({ event: 'error', code: 'ended-early', exitCode: 1 })])
})
