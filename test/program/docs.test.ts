import { readdirSync, readFileSync } from 'node:fs'
import * as tfjs from '@tensorflow/tfjs'
import { describe, expect, test, vi } from 'vitest'
import * as gradprompt from '../../src/index.js'
import { operationNames } from '../../src/program/operations/index.js'

const text = readFileSync('docs/compile.md', 'utf8')

test('docs/compile.md lists the operations that the compiler knows', () => {
  const [, listed] = /<!-- operations:[^>]*-->\n([\s\S]*?)\n<!-- \/operations -->/.exec(text)!
  expect(listed!.split(/,\s+/)).toEqual(operationNames())
})

test('docs/compile.md says what every error code of the compiler means', () => {
  const files = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap(entry =>
      entry.isDirectory() ? files(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`],
    )
  const sources = files('src/program').map(path => readFileSync(path, 'utf8'))
  const codes = new Set(
    sources.flatMap(source => [...source.matchAll(/new GradpromptError\(\s*'([a-z-]+)'/g)].map(([, code]) => code!)),
  )
  // Codes of the package itself, or of how it opens models.
  const others = ['internal', 'unknown-weight', 'file-not-found', 'unknown-backend']
  expect([...codes].filter(code => !others.includes(code) && !text.includes(`\`${code}\``))).toEqual([])
})

const snippets = [...text.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code!)

describe('its examples run', () => {
  test.each(snippets.map((code, i) => [i + 1, code] as const))('example %i', async (_, code) => {
    const log = vi.spyOn(console, 'log').mockImplementation(() => {})
    const body = code
      .replace("import * as tf from '@tensorflow/tfjs'\n", '')
      .replace(/import (\{[^}]*\}) from 'gradprompt'\n/, 'const $1 = gradprompt\n')
    const AsyncFunction = (async () => {}).constructor as new (...code: string[]) => (...given: unknown[]) => Promise<void>
    await new AsyncFunction('tf', 'gradprompt', body)(tfjs, gradprompt)
    log.mockRestore()
  })

  test('there are some', () => expect(snippets).toHaveLength(3))
})
