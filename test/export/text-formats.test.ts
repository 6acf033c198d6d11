import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { Template } from '../../src/data/texts/template.js'
import type { FoundContext } from '../../src/export/target.js'
import { text } from '../../src/export/text.js'
import { importedPrompt } from '../../src/sources/imports/index.js'

const folder = mkdtempSync(join(tmpdir(), 'gradprompt-words-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let count = 0
async function written(template: Template, answer = ' {label}') {
  const out = mkdtempSync(join(folder, `${count++}-`))
  const config = { model: 'm', search: { type: 'gcg' } }
  const found = { folder: 'none', prompt: ' Say {it}.', ids: [1], config } as unknown as FoundContext['found']
  const rows = [{ values: { text: 'a "delight" {{x}}' }, answer: ' positive' }]
  await text.writeFound!({ found, template, answer, labels: ['positive', 'negative'], rows, folder: out })
  return { out, read: (name: string) => readFileSync(join(out, name), 'utf8') }
}

test('a text with braces of its own is the same text in every tool', async () => {
  const template = '{text}{{{{a}} %}} Say {{it}}.'
  const { out, read } = await written(template)
  expect(await importedPrompt(join(out, 'langchain.json'))).toMatchObject({ template })
  expect(await importedPrompt(join(out, 'dspy.json'))).toMatchObject({ text: 'Say {it}.' })
  expect(JSON.parse(read('openai.json'))).toEqual({
    model: 'MODEL',
    temperature: 0,
    max_tokens: 16,
    prompt: 'a "delight" {{x}}{{a} %} Say {it}.',
  })
  const { prompts, tests, providers } = parse(read('promptfooconfig.yaml')) as Record<string, unknown[]>
  expect(prompts).toEqual(['{{ text }}{% raw %}{{a} %} Say {it}.{% endraw %}'])
  expect(tests).toEqual([{ vars: { text: 'a "delight" {{x}}' }, assert: [{ type: 'starts-with', value: 'positive' }] }])
  expect(providers).toMatchObject([{ id: 'openai:completion:{{ env.OPENAI_MODEL }}' }])
  expect(JSON.parse(read('prompt.json'))).toMatchObject({ prompt: ' Say {it}.', template, labels: ['positive', 'negative'] })
  for (const name of readdirSync(out)) if (!/README|prompt.txt/.test(name)) expect(read('README.md')).toContain(`\`${name}\``)
})

test('chat messages keep their roles; what a tool has no place for is not written', async () => {
  const template = [
    { role: 'system', content: 'Be {{brief}}' },
    { role: 'user', content: '{text}' },
  ] as const
  const { out, read } = await written(template)
  expect(await importedPrompt(join(out, 'langchain.json'))).toMatchObject({ template })
  expect(JSON.parse(read('openai.json'))).toMatchObject({
    messages: [
      { role: 'system', content: 'Be {brief}' },
      { role: 'user', content: 'a "delight" {{x}}' },
    ],
  })
  const plain = await written([{ role: 'user', content: '{text} -' }])
  expect(await importedPrompt(join(plain.out, 'promptfooconfig.yaml'))).toMatchObject({
    template: [{ role: 'user', content: '{text} -' }],
  })
  const { out: odd } = await written('{my text} -')
  expect(readdirSync(odd)).toEqual(['README.md', 'openai.json', 'prompt.json', 'prompt.txt', 'promptfooconfig.yaml'])
})
