import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test, vi } from 'vitest'
import { resumeTune, tune } from '../../src/api/tune.js'
import { GradpromptError } from '../../src/errors.js'
import { plainPrompt } from '../../src/model/active-prompt.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { Program } from '../../src/program/program.js'
import { random, relativeError } from '../support/numbers.js'
import { temporaryFolder, toyConfig, toyModel } from '../train/toy.js'

/** What becomes of a computation whose device fails in the middle of it. */

const { folder, remove } = temporaryFolder()
afterAll(remove)

const failed = (code: string) => new GradpromptError(code, 'ONNX Runtime failed while running a program', { exitCode: 1 })

test('a run whose device is lost leaves a checkpoint, and goes on from it to the same bits', async () => {
  await using model = await LanguageModel.load(toyModel, { threads: 1 })
  const { model: _, ...config } = toyConfig(folder, { train: { steps: 4, batchSize: 4 } })
  const whole = await tune({ ...config, model, out: join(folder, 'whole') })
  let steps = 0
  const gradient = vi.spyOn(model, 'promptGradient')
  const working = gradient.getMockImplementation() ?? LanguageModel.prototype.promptGradient.bind(model)
  gradient.mockImplementation((...given) => (++steps === 3 ? Promise.reject(failed('run-failed')) : working(...given)))
  const out = join(folder, 'lost')
  await expect(tune({ ...config, model, out })).rejects.toMatchObject({ code: 'run-failed' })
  await expect(resumeTune(out, { model, device: 'cpu' })).rejects.toMatchObject({ code: 'invalid-option' })
  await expect(resumeTune(out, { device: 'cuda:99' })).rejects.toMatchObject({ code: 'device-unavailable' })
  const resumed = await resumeTune(out, { model })
  expect(steps).toBe(5)
  const bits = ({ folder }: { folder: string }) => readFileSync(join(folder, 'prompt.safetensors'))
  expect(bits(resumed).equals(bits(whole))).toBe(true)
})

test('a batch that a device has no memory for is computed in parts, which is said; one row is not', async () => {
  await using model = await LanguageModel.load(toyModel, { threads: 1 })
  const prompt = plainPrompt({ data: random(3, [4, 32], 0.3).data, shape: [4, 32] }, model.config)
  const rows = [5, 9, 7, 8].map((length, i) => {
    const ids = Array.from({ length }, (_, j) => (5 * j + 11 * i) % 64)
    return { ids, labels: ids.map((id, at) => (at === length - 1 ? id : -100)) }
  })
  const wanted = await model.promptGradient(prompt, rows)
  const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  const run = Program.prototype.run
  const limited = (most: number) =>
    vi.spyOn(Program.prototype, 'run').mockImplementation(function (this: Program, inputs) {
      const { tokenIds } = inputs as unknown as { tokenIds: { data: Int32Array } }
      return tokenIds.data.length > most ? Promise.reject(failed('memory-exhausted')) : run.call(this, inputs)
    })
  const small = limited(12)
  const { gradients } = await model.promptGradient(prompt, rows)
  expect(relativeError(gradients.get('prompt')!, wanted.gradients.get('prompt')!)).toBeLessThan(1e-5)
  expect(warnings).toHaveBeenCalledWith(
    expect.stringContaining('in parts of'),
    expect.objectContaining({ code: 'smaller-parts' }),
  )
  const told = warnings.mock.calls.length
  await model.promptGradient(prompt, rows)
  expect(warnings).toHaveBeenCalledTimes(told)
  small.mockRestore()
  limited(0)
  await expect(model.promptGradient(prompt, rows)).rejects.toMatchObject({ code: 'memory-exhausted' })
  vi.restoreAllMocks()
})
