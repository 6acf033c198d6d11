import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { schemaFiles } from '../../scripts/schemas.js'
import { schemaComment } from '../../src/cli/show/schema-comment.js'
import { command } from '../cli/command.js'

const ajv = new Ajv2020({ allErrors: true, strictTypes: false })
const validate = (schema: string, config: unknown) => {
  const check = ajv.compile(JSON.parse(readFileSync(schema, 'utf8')))
  check(config)
  return (check.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`)
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(realpathSync(tmpdir()), 'gradprompt-schemas-'))
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(resolve(), join(folder, 'node_modules', 'gradprompt'), 'junction')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The schema that the config's first line names, as an editor finds it. */
function schemaOf(config: string): string {
  const address = /^# yaml-language-server: \$schema=(\S+)\n/.exec(readFileSync(config, 'utf8'))?.[1]
  if (address === undefined) throw new Error(`${config} names no schema in its first line`)
  return resolve(dirname(config), address)
}

const examples = readdirSync('examples', { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.yaml'))

test.each(examples)('examples/%s is as the schema it names says', file => {
  const config = join('examples', file)
  expect(validate(schemaOf(config), parse(readFileSync(config, 'utf8')))).toEqual([])
})

test.each(['classification', 'search'])('init --task %s names a schema that takes it', async task => {
  const { code } = await command(['init', task, '--task', task], { cwd: folder })
  expect(code).toBe(0)
  const config = join(folder, task, 'gradprompt.yaml')
  const name = task === 'search' ? 'search.json' : 'tune.json'
  expect(schemaOf(config)).toBe(join(folder, 'node_modules', 'gradprompt', 'schemas', name))
  expect(validate(schemaOf(config), parse(readFileSync(config, 'utf8')))).toEqual([])
})

test('the built schemas are those of the code', () => {
  for (const [name, text] of Object.entries(schemaFiles())) expect(readFileSync(join('schemas', name), 'utf8')).toBe(text)
})

test('an option that is misspelled, or of another type, is marked', () => {
  const config = { data: { train: 'a.tsv' }, template: '{text}', answer: '{label}' }
  expect(validate('schemas/tune.json', config)).toEqual([])
  expect(validate('schemas/tune.json', { ...config, sede: 3 })).not.toEqual([])
  expect(validate('schemas/tune.json', { ...config, seed: 'three' })).not.toEqual([])
})

test('a config inside the package names the package’s own schema, one elsewhere its address in the file system', () => {
  expect(schemaComment('search', 'examples/mine')).toBe('# yaml-language-server: $schema=../../schemas/search.json')
  expect(schemaComment('tune', '/')).toMatch(/^# yaml-language-server: \$schema=file:\/\/\/.*\/schemas\/tune\.json$/)
})
