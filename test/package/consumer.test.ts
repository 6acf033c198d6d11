import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packedProject } from './project.js'

/** A project of its own that has the packed package installed. */

const run = promisify(execFile)
const shell = process.platform === 'win32'
let folder: string
let installed: string
let packed: readonly string[]

const source = `import * as tf from '@tensorflow/tfjs'
import { compile, type ConfigInput, GradpromptError, type GradpromptEvent, type LanguageModel, loadModel, tune } from 'gradprompt'

const config: ConfigInput = { data: { train: 'train.tsv' }, template: '{text}', answer: ' {label}', train: { steps: 2 } }
export const learn = (onEvent: (event: GradpromptEvent) => void) => tune(config, { onEvent })
export const open = (path: string): Promise<LanguageModel> => loadModel(path)
// @ts-expect-error: the options are checked
export const misspelled: ConfigInput = { ...config, sede: 1 }

const square = await compile(({ x }) => ({ y: tf.square(x!) }), {
  inputs: { x: { shape: ['R', 2], dtype: 'float32' } },
  dims: { R: [1, 8] },
})
const { y } = await square.run({ x: Float32Array.of(1, 2, 3, 4) })
await square.dispose()
const failure = await loadModel('models/smollm2-135m-instruct').catch((error: unknown) =>
  error instanceof GradpromptError ? [error.code, error.hint] : error,
)
console.log(JSON.stringify({ y: [...(y as Float32Array)], failure }))
`

beforeAll(async () => {
  ;({ folder, installed, packed } = await packedProject())
  writeFileSync(join(folder, 'use.ts'), source)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('the package holds what runs, types, documents, examples and schemas, and nothing of how it is made', () => {
  expect([...new Set(packed.map(path => path.split('/')[0]))].sort()).toEqual(
    ['LICENSE', 'README.md', 'dist', 'docs', 'examples', 'package.json', 'schemas', 'scripts'].sort(),
  )
  expect([...new Set(packed.filter(path => path.startsWith('dist/')).map(path => path.split('/')[1]))].sort()).toEqual([
    'kernels',
    'models',
    'src',
  ])
  expect(packed.filter(path => path.startsWith('scripts/'))).toEqual(['scripts/preinstall.mjs'])
  expect(packed.filter(path => /\.(map|tsbuildinfo|tgz|gguf)$/.test(path))).toEqual([])
  for (const path of [
    'dist/src/index.d.ts',
    'schemas/tune.json',
    'schemas/search.json',
    'docs/cli.md',
    'examples/sst2/quickstart.yaml',
  ])
    expect(packed).toContain(path)
})

test('every compiled file has a source: nothing stale is packed', () => {
  const compiled = packed.filter(path => path.startsWith('dist/')).map(path => path.slice(5).replace(/(\.d\.ts|\.js)$/, '.ts'))
  const sources = ['src', 'models', 'kernels'].flatMap(root =>
    readdirSync(root, { recursive: true, encoding: 'utf8' }).map(file => `${root}/${file.replaceAll('\\', '/')}`),
  )
  expect([...new Set(compiled)].filter(path => !sources.includes(path))).toEqual([])
})

test('its manifest says what an importer finds', async () => {
  const { messages, pkg } = await publint({ pkgDir: installed, strict: true, pack: false })
  expect(messages.map(message => formatMessage(message, pkg!))).toEqual([])
})

test.each([
  ['NodeNext', 'NodeNext'],
  ['ESNext', 'Bundler'],
])('a program compiles against its types with module %s, resolution %s', async (module, moduleResolution) => {
  const options = {
    target: 'ES2022',
    lib: ['ES2023', 'DOM'],
    types: ['node'],
    strict: true,
    skipLibCheck: true,
    noEmit: moduleResolution === 'Bundler',
  }
  const config = join(folder, `tsconfig.${moduleResolution}.json`)
  writeFileSync(config, JSON.stringify({ compilerOptions: { ...options, module, moduleResolution }, files: ['use.ts'] }))
  const { stdout } = await run(process.execPath, [resolve('node_modules/typescript/bin/tsc'), '-p', config]).catch(error => error)
  expect(stdout).toBe('')
})

test('the compiled program runs, and a model that is not installed is named with the command that installs it', async () => {
  const { stdout } = await run(process.execPath, ['use.js'], { cwd: folder })
  expect(JSON.parse(stdout)).toEqual({
    y: [1, 4, 9, 16],
    failure: ['model-missing', expect.stringContaining('npm install @gradprompt/smollm2-135m')],
  })
})

test('npx gradprompt answers', async () => {
  const { stdout } = await run('npx', ['--no-install', 'gradprompt', '--version'], { cwd: folder, shell })
  expect(stdout.trim()).toBe(JSON.parse(readFileSync('package.json', 'utf8')).version)
})
