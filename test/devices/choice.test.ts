import { expect, test } from 'vitest'
import { chosenDevices } from '../../src/cli/show/engine-options.js'
import { freeMemory, readNvidia } from '../../src/model/devices/adapters.js'
import { best, type Tried } from '../../src/model/devices/choose.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { deviations } from '../../src/model/trial/trial.js'
import { compile } from '../../src/program/compile.js'
import { deviceNumber, deviceProfile, isDeviceChoice } from '../../src/program/devices.js'
import { problem, problemOf } from '../support/problem.js'

test('devices by their names, with a number where there may be several', () => {
  for (const name of ['auto', 'cpu', 'webgpu', 'cuda', 'cuda:0', 'cuda:12', 'dml:1', 'coreml'])
    expect(isDeviceChoice(name), name).toBe(true)
  for (const name of [
    '',
    'gpu',
    'cpu:1',
    'webgpu:1',
    'cuda:',
    'cuda:-1',
    'cuda:1.5',
    'cuda:100',
    ' cuda',
    'cuda\n',
    'auto:1',
    undefined,
  ])
    expect(isDeviceChoice(name), String(name)).toBe(false)
  expect([deviceProfile('cuda:1').name, deviceNumber('cuda:1'), deviceNumber('cuda')]).toEqual(['cuda', 1, undefined])
})

test('a device that is none is refused before anything is compiled', async () => {
  for (const device of ['gpu', 'auto'] as unknown as 'cpu'[])
    expect(await problemOf(compile(() => ({}), { inputs: {}, device }))).toMatchObject({ code: 'invalid-option', found: device })
  const loaded = LanguageModel.load('test/fixtures/models/llama-gqa', { device: 'gpu' as 'cpu' })
  expect(await problemOf(loaded)).toMatchObject({ code: 'invalid-option', expected: expect.stringContaining('auto, cpu') })
})

test('adapters of NVIDIA as their tool prints them', () => {
  const text = '0, NVIDIA A, 550.1, 24564, 20000\n1, NVIDIA B, 550.1, [N/A], [N/A]\nNVIDIA-SMI has failed\n'
  const found = readNvidia(text)
  expect(found).toEqual([
    { name: 'NVIDIA A', cuda: 0, driver: '550.1', memory: 24564 * 2 ** 20, free: 20000 * 2 ** 20 },
    { name: 'NVIDIA B', cuda: 1, driver: '550.1' },
  ])
  expect([freeMemory('cuda', found), freeMemory('webgpu', found), freeMemory('cpu', found.slice(0, 1))]).toEqual([
    20000 * 2 ** 20,
    undefined,
    undefined,
  ])
})

const tried = (device: Tried['device'], productRate: number, rest: Partial<Tried> = {}): Tried => ({
  device,
  outcome: { trial: { seconds: 1, productRate, deviations: [], halves: {} } },
  ...rest,
})

test('auto takes the fastest that computes rightly and has room, and says why not the others', () => {
  const wrong = {
    outcome: { trial: { seconds: 1, productRate: 9e12, deviations: [{ what: 'softmax', error: 0.1 }], halves: {} } },
  }
  const all = [tried('cpu', 1e11), tried('webgpu', 2e12, wrong), tried('cuda', 5e12, { free: 1e9 })]
  expect(best(all, 5e8)).toMatchObject({ device: 'cuda', why: expect.stringContaining('50.0 times') })
  const { device, why } = best(all, 1e9)
  expect(device).toBe('cpu')
  expect(why).toContain('webgpu computes wrongly (softmax)')
  expect(why).toContain('cuda has 1.0 GB free where 1.2 GB are needed')
  expect(best([tried('cpu', 1e11), tried('webgpu', 1e9)], 0)).toEqual({ device: 'cpu', why: 'webgpu is slower here' })
  expect(best([tried('cpu', 1e11), tried('webgpu', 1e12)], 1e9).why).toContain('how much memory it has is not known')
  expect(best([tried('cpu', 1e11), { device: 'webgpu', outcome: { reason: 'no adapter' } }], 0).why).toContain(
    'webgpu cannot be used',
  )
})

test('a trial names what differs by more than rounding', () => {
  const of = (...values: number[]) => Float32Array.from(values)
  const wanted = {
    same: of(1, 2),
    rounded: of(1, 2),
    coarse: of(1, 2),
    lost: of(1, 2),
    infinite: of(Number.POSITIVE_INFINITY, 1),
  }
  const own = { ...wanted, rounded: of(1, 2.00001), coarse: of(1.0004, 2), lost: of(Number.NaN, 2) }
  expect(deviations(own, wanted)).toEqual([
    { what: 'coarse', error: expect.closeTo(1.8e-4, 5) },
    { what: 'lost', error: null },
  ])
})

test('--devices is a device for each process', () => {
  expect(chosenDevices({ devices: 'cuda:0, cuda:1' })).toEqual(['cuda:0', 'cuda:1'])
  expect(chosenDevices({})).toBeUndefined()
  for (const options of [
    { devices: 'cpu,gpu' },
    { devices: '' },
    { devices: 'cpu', workers: 2 },
    { devices: 'cpu', device: 'cpu' },
  ])
    expect(problem(() => chosenDevices(options)).code).toBe('invalid-option')
})
