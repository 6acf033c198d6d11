import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

/** The script that runs before the dependencies' own, in an installed package beside an onnxruntime-node that would download. */

const platform = `${process.platform}/${process.arch}`
let folder: string
let runtime: string
const library = () => join(runtime, 'bin', 'napi-v6', platform, 'libgpu.so')

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-preinstall-'))
  runtime = join(folder, 'node_modules', 'onnxruntime-node')
  mkdirSync(join(runtime, 'bin', 'napi-v6', platform), { recursive: true })
  mkdirSync(join(runtime, 'script'))
  writeFileSync(join(runtime, 'package.json'), '{"name":"onnxruntime-node","version":"1.0.0"}')
  const metadata = { requirements: { [platform]: ['gpu'] }, manifests: { [`${platform}:gpu`]: { './libgpu.so': {} } } }
  writeFileSync(join(runtime, 'script', 'install-metadata.js'), `module.exports = ${JSON.stringify(metadata)}`)
  const own = join(folder, 'node_modules', 'gradprompt')
  mkdirSync(join(own, 'dist'), { recursive: true })
  cpSync('scripts/preinstall.mjs', join(own, 'scripts', 'preinstall.mjs'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function run(env: Record<string, string> = {}): void {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/onnxruntime_node_install/i.test(name)))
  const script = join(folder, 'node_modules', 'gradprompt', 'scripts', 'preinstall.mjs')
  execFileSync(process.execPath, [script], { env: { ...clean, ...env }, stdio: 'pipe' })
}

test('a library that would be downloaded is stood in for by a text that says how to get it', () => {
  run()
  expect(readFileSync(library(), 'utf8')).toContain('install.js --onnxruntime-node-install')
})

test('a library that is there stays as it is', () => {
  writeFileSync(library(), 'the library')
  run()
  expect(readFileSync(library(), 'utf8')).toBe('the library')
})

test.each(['ONNXRUNTIME_NODE_INSTALL', 'npm_config_onnxruntime_node_install_cuda'])('whoever sets %s decides', name => {
  run({ [name]: 'true' })
  expect(existsSync(library())).toBe(false)
})

test.each(['onnxruntime-node', 'onnxruntime-node/script'])('an installation without %s goes on', part => {
  rmSync(join(folder, 'node_modules', part), { recursive: true })
  run()
  expect(existsSync(library())).toBe(false)
})

test('a package that was packed before it was built is refused', () => {
  rmSync(join(folder, 'node_modules', 'gradprompt', 'dist'), { recursive: true })
  expect(() => run()).toThrow(/npm run pack/)
})
