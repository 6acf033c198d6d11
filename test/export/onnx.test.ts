import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { learnedRun } from '../../scripts/check/exported-prompts.js'
import { exportPrompt } from '../../src/api/export.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { toyModel } from '../train/toy.js'

let folder: string
let model: LanguageModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gradprompt-onnx-'))
  model = await LanguageModel.load(toyModel)
})
afterAll(async () => {
  await model.dispose()
  rmSync(folder, { recursive: true, force: true })
})

/** Runs the script that stands beside a model, as a user would. */
function selfTested(out: string) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(out, 'self-test.mjs')], { encoding: 'utf8' })
  const lines = stdout
    .trim()
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line) as object)
  return { status, lines, stderr }
}

describe.each(['prompt-tuning', 'dept', 'adept', 'prefix-tuning', 'adaption-prompt', 'soft-template'])('%s', type => {
  test('ONNX Runtime computes what self-test.json expects', async () => {
    const template = type === 'soft-template' ? '{soft:2}{text} -' : '{text} -'
    const run = await learnedRun(model, toyModel, type, { template })
    const out = join(folder, type)
    await exportPrompt(run, { to: 'onnx', out, model })
    const { status, lines, stderr } = selfTested(out)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(lines).toMatchObject([{ ok: true, same: true }])
  })
})
