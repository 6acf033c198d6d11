import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { GradpromptError } from '../../src/errors.js'
import { type Checkpoint, CheckpointStore } from '../../src/store/checkpoints.js'
import { createOptimizer } from '../../src/train/steps/optimizers.js'

let folder: string
let store: CheckpointStore
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'gradprompt-checkpoints-'))
  store = new CheckpointStore(join(folder, 'checkpoints'))
})
afterEach(() => rm(folder, { recursive: true }))

const checkpoint = (step: number, more: Partial<Checkpoint> = {}): Checkpoint => ({
  step,
  tensors: [
    { name: 'prompt', shape: [2, 3], data: Float32Array.from({ length: 6 }, (_, i) => Math.fround(Math.sin(step + i))) },
    { name: 'optimizer.prompt.firstMoment', shape: [6], data: Float32Array.of(0, -0, 1e-45, 3.4e38, -1e-8, 1) },
  ],
  state: { epoch: 1, order: [3, 1, 2], best: null },
  ...more,
})
const byName = (tensors: Checkpoint['tensors']) => [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1))

describe('checkpoints', () => {
  test('come back to the bit', async () => {
    const written = checkpoint(120, { bestStep: 100 })
    await store.write(written)
    expect(await readdir(store.folder)).toEqual(['step-000120.safetensors'])
    const read = await store.latest()
    expect({ ...read, tensors: byName(read!.tensors) }).toEqual({ ...written, tensors: byName(written.tensors) })
    expect(Object.is(read!.tensors.find(tensor => tensor.shape.length === 1)!.data[1], -0)).toBe(true)
  })

  test('hold what was there when the write began', async () => {
    const values = Float32Array.of(1, 2)
    const writing = store.write({ step: 1, tensors: [{ name: 'prompt', shape: [2], data: values }], state: null })
    values.fill(9)
    await writing
    expect((await store.read(1)).tensors[0]!.data).toEqual(Float32Array.of(1, 2))
  })

  test('the last two and the best are kept', async () => {
    for (const step of [10, 20, 30, 40, 50]) await store.write(checkpoint(step, step >= 20 ? { bestStep: 20 } : {}))
    expect(await store.steps()).toEqual([20, 40, 50])
    await store.write(checkpoint(1_000_000, { bestStep: 1_000_000 }))
    expect(await store.steps()).toEqual([50, 1_000_000])
    await store.discardAfter(50)
    expect(await store.steps()).toEqual([50])
  })

  test('a newest one that is cut anywhere is skipped', async () => {
    await store.write(checkpoint(1))
    await store.write(checkpoint(2))
    const path = store.path(2)
    const bytes = await readFile(path)
    for (let length = 0; length < bytes.length; length += 7) {
      await truncate(path, length)
      const skipped: GradpromptError[] = []
      expect((await store.latest(error => skipped.push(error)))?.step).toBe(1)
      expect(skipped).toEqual([expect.objectContaining({ code: 'checkpoint-corrupt', exitCode: 1 })])
      await writeFile(path, bytes)
    }
    expect((await store.latest())?.step).toBe(2)
  })

  test('one with any byte changed is skipped', async () => {
    await store.write(checkpoint(1))
    await store.write(checkpoint(2))
    const path = store.path(2)
    const bytes = await readFile(path)
    const header = Number(bytes.readBigUInt64LE())
    for (let at = 0; at < bytes.length; at++) {
      // A space for another in the header's padding is the same header.
      if (at >= 8 && at < 8 + header && bytes[at] === 0x20) continue
      const changed = Buffer.from(bytes)
      changed[at]! ^= 1
      await writeFile(path, changed)
      expect((await store.latest())?.step, `byte ${at}`).toBe(1)
    }
  })

  test('one under the name of another step is skipped; other files are no checkpoints', async () => {
    await store.write(checkpoint(1))
    await writeFile(store.path(7), await readFile(store.path(1)))
    await writeFile(join(store.folder, 'step-000009.safetensors.123.tmp'), 'x')
    await writeFile(join(store.folder, 'notes.txt'), 'x')
    expect((await store.latest())?.step).toBe(1)
    expect(await store.steps()).toEqual([1, 7])
  })

  test('none at all, or none that is whole', async () => {
    expect(await store.latest()).toBeUndefined()
    await store.write(checkpoint(3))
    await writeFile(store.path(3), 'nonsense')
    expect(await store.latest()).toBeUndefined()
    await expect(store.read(3)).rejects.toThrow(expect.objectContaining({ code: 'checkpoint-corrupt' }))
  })

  test("an optimiser's state comes back to the same updates", async () => {
    const parameters = [{ name: 'prompt', shape: [4, 3] }]
    const gradient = (step: number) => new Map([['prompt', Float32Array.from({ length: 12 }, (_, i) => Math.cos(step * 12 + i))]])
    const values = new Map([['prompt', new Float32Array(12)]])
    const optimizer = createOptimizer({ type: 'adamw' }, parameters)
    for (let step = 0; step < 5; step++) optimizer.step(values, gradient(step), 0.1)
    const prompt = { name: 'prompt', shape: [4, 3], data: values.get('prompt')! }
    await store.write({ step: 5, tensors: [prompt, ...optimizer.state()], state: null })
    for (let step = 5; step < 9; step++) optimizer.step(values, gradient(step), 0.1)

    const { tensors, step: stepCount } = (await store.latest())!
    const resumed = createOptimizer({ type: 'adamw' }, parameters)
    resumed.restore(
      tensors.filter(tensor => tensor.name !== 'prompt'),
      stepCount,
    )
    const resumedValues = new Map([['prompt', tensors.find(tensor => tensor.name === 'prompt')!.data]])
    for (let step = 5; step < 9; step++) resumed.step(resumedValues, gradient(step), 0.1)
    expect(resumedValues).toEqual(values)
  })
})
