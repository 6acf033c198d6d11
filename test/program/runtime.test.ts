import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { load, onnxRuntime } from '../../src/program/runtime/onnx-runtime.js'
import { problem } from '../support/problem.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-runtime-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const from = (name: string) => createRequire(join(folder, name, 'file.js'))

test('ONNX Runtime is loaded once', () => {
  expect(onnxRuntime()).toBe(onnxRuntime())
  expect(onnxRuntime().InferenceSession).toBeDefined()
})

test('reports nothing to its makers, and leaves nothing in the folder of temporary files', () => {
  const temporary = join(folder, 'temporary')
  mkdirSync(temporary)
  const model = resolve('test/fixtures/models/llama-gqa')
  const program = `
    import { loadModel } from ${JSON.stringify(resolve('dist/src/index.js'))}
    const model = await loadModel(${JSON.stringify(model)})
    await model.logits([[1, 2, 3]])
    await model.dispose()`
  const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    env: { ...env, TMPDIR: temporary },
    encoding: 'utf8',
  })
  expect(status, stderr).toBe(0)
  expect(readdirSync(temporary)).toEqual([])
})

test('one that is not installed is named with the command that installs it, as the README has it', () => {
  const { code, hint } = problem(() => load(from('without')))
  expect(code).toBe('runtime-missing')
  expect(hint).toMatch(/^npm install --ignore-scripts onnxruntime-node@\d+\.\d+\.\d+$/)
  expect(readFileSync('README.md', 'utf8')).toContain(hint)
})

test('one that has no binary for this machine says so', () => {
  const installed = join(folder, 'broken', 'node_modules', 'onnxruntime-node')
  mkdirSync(installed, { recursive: true })
  writeFileSync(join(installed, 'index.js'), "require('./bin/onnxruntime_binding.node')")
  expect(problem(() => load(from('broken')))).toMatchObject({
    code: 'runtime-unusable',
    found: expect.stringContaining('onnxruntime_binding.node'),
    exitCode: 1,
  })
})
