import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { command, type Line } from '../cli/command.js'
import { temporaryFolder, toyConfig } from '../train/toy.js'
import { softwareAdapter } from './support/software-adapter.js'

/** The same runs on another device than the processor: the same losses but for rounding. `npm run test:device` tries every method. */

const adapter = softwareAdapter()
const { folder, remove } = temporaryFolder()
afterAll(remove)

if (adapter === undefined)
  console.log('skipped: no Vulkan driver in software (it comes with Chromium), so no program runs by WebGPU')

/** Steps, dev scores and result of a short run. */
async function learned(device: string): Promise<Line[]> {
  const config = toyConfig(folder, {
    method: { type: 'prefix-tuning', numVirtualTokens: 4 },
    train: { steps: 2, batchSize: 4, learningRate: 0.05 },
    threads: 1,
    out: join(folder, device),
  })
  const path = join(folder, `${device}.json`)
  writeFileSync(path, JSON.stringify(config))
  const { code, lines, stderr } = await command(['tune', '--config', path, '--device', device, '--json'], { env: { ...adapter } })
  expect(code, stderr).toBe(0)
  return [...lines]
}

const losses = (lines: readonly Line[]) => lines.flatMap(line => (line.event === 'step' ? [line.loss as number] : []))

describe.skipIf(adapter === undefined)('by WebGPU', () => {
  test('a model learns as on the processor', { timeout: 240_000 }, async () => {
    const [device, processor] = [await learned('webgpu'), await learned('cpu')]
    expect(losses(device)).toHaveLength(2)
    for (const [i, loss] of losses(processor).entries()) expect(Math.abs(losses(device)[i]! / loss - 1)).toBeLessThan(1e-5)
    const scores = (lines: readonly Line[]) => (lines.at(-1)!.metrics as Record<string, { value: number }>).logLikelihood!.value
    expect(Math.abs(scores(device) - scores(processor))).toBeLessThan(1e-4)
  })
})
