import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { deadLinks, markdown } from './dead-links.js'

/** The API reference that `npm run docs:api` writes. */

let folder: string
let pages: string[]
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-api-'))
  await promisify(execFile)(process.execPath, ['scripts/api-docs.mjs', folder])
  pages = markdown(folder)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('everything that src/index.ts exports by its name has a page', () => {
  const source = readFileSync('src/index.ts', 'utf8')
  const lists = [...source.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(match => match[1]!.split(','))
  const names = lists
    .map(name =>
      name
        .trim()
        .replace(/^type /, '')
        .replace(/^.* as /, ''),
    )
    .filter(name => name !== '')
  expect(names).toContain('LanguageModel')
  const written = pages.map(page => basename(page, '.md'))
  expect([...names, 'loadModel'].filter(name => !written.includes(name))).toEqual([])
})

test('no link between its pages is dead', () => {
  expect(pages.flatMap(page => deadLinks(page).map(link => `${page}: ${link}`))).toEqual([])
})

test('options are told by the names of their types, which have pages', () => {
  const page = readFileSync(join(folder, 'functions', 'tune.md'), 'utf8')
  expect(page).toContain('[`TuneInput`](../type-aliases/TuneInput.md)')
  expect(page).toContain('[`TuneOptions`](../interfaces/TuneOptions.md)')
})
