import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { families } from '../../models/index.js'
import { exportTargets } from '../../src/export/index.js'
import { losses } from '../../src/losses/index.js'
import { promptMethods } from '../../src/prompts/methods/index.js'
import { searchMethods } from '../../src/search/methods/index.js'

/**
 * That nothing outside a registry's room asks whether an entry is the one of some name: what one needs or can do, it declares, so that a
 * new one, or people's own, can declare it as well.
 */

const rooms = [
  { entries: promptMethods.keys(), room: 'src/prompts/methods/' },
  { entries: searchMethods.keys(), room: 'src/search/methods/' },
  { entries: losses.keys(), room: 'src/losses/' },
  { entries: exportTargets.keys(), room: 'src/export/' },
  { entries: families.keys(), room: 'models/' },
]

/** Words that mean other things as well: this package, the tokenizer `llama` of GGUF files, a measure of searches, kinds of prompts and of files. */
const otherwise = new Set(['gradprompt', 'text', 'gguf', 'llama', 'phi3', 'cross-entropy', 'mellowmax', 'snippets'])

function files(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = `${folder}/${entry.name}`
    return entry.isDirectory() ? files(path) : path.endsWith('.ts') ? [path] : []
  })
}

test('no entry is asked for by its name outside its room', () => {
  const asked = [...files('src'), ...files('models'), ...files('kernels')].flatMap(path => {
    const text = readFileSync(path, 'utf8')
    return rooms
      .filter(({ room }) => !path.startsWith(room))
      .flatMap(({ entries }) => entries.filter(name => !otherwise.has(name)))
      .filter(name => new RegExp(`(?:[!=]==\\s*|\\?\\? |case |has\\()'${name}'`).test(text))
      .map(name => `${path}: ${name}`)
  })
  expect(asked).toEqual([])
})

test('no exporter has a list of families: what llama.cpp does with one, the family says', () => {
  const names = families.values().flatMap(({ name, gguf }) => [name, ...gguf.architectures])
  const named = files('src/export').flatMap(path => {
    const text = readFileSync(path, 'utf8')
    return names.filter(name => name !== 'llama' && text.includes(`'${name}'`)).map(name => `${path}: ${name}`)
  })
  expect(named).toEqual([])
})
