import { spawnSync } from 'node:child_process'
import { cpus } from 'node:os'
import { GradpromptError, unknownName } from '../../src/errors.js'
import { adapters } from '../../src/model/devices/adapters.js'
import { chooseDevices } from '../../src/model/devices/choose.js'
import { packageRoot } from '../../src/package-root.js'
import { type Device, deviceProfile, deviceWords, isDeviceChoice } from '../../src/program/devices.js'
import { type Precision, precisions } from '../../src/program/precision.js'
import type { GpuOptions } from './gpu-ours.js'
import { PEERS } from './peer.js'
import { measure, median, round } from './processes.js'
import { shapeFolder, shapes } from './shapes.js'

export const usage = `npm run bench -- gpu [--device auto] [--precision bf16] [--shapes ${Object.keys(shapes).join(',')}] [--rounds 3] [--steps 8] [--batch 16] [--length 128] [--rows 64] [--new-tokens 64] [--no-peer]

Prompt tuning and greedy writing on whatever device there is, of random weights in the shapes of published models, beside PEFT and transformers
on torch with the same batches (scripts/bench/peers/gpu.py: bfloat16 on CUDA where torch has it). Says which device both sides were on.
--precision: by default the half precision that the device has of its own, bf16 before fp16, and fp32 where it has none. --rows 0: training alone.
The peer needs torch, transformers and peft: GRADPROMPT_BENCH_PYTHON names its Python (default: python3).`

const VIRTUAL_TOKENS = 20
const PROMPT_LENGTH = 60

export async function run(args: readonly string[]): Promise<object> {
  process.chdir(packageRoot())
  const option = (name: string, fallback: string) => (args.includes(name) ? (args[args.indexOf(name) + 1] ?? '') : fallback)
  const count = (name: string, fallback: number, least = 1) => {
    const value = Number(option(name, String(fallback)))
    if (Number.isInteger(value) && value >= least) return value
    throw new GradpromptError('invalid-option', `${name} is not valid`, {
      found: option(name, ''),
      expected: `a whole number of at least ${least}`,
    })
  }
  const choice = option('--device', 'auto')
  if (!isDeviceChoice(choice)) throw unknownName('invalid-option', '--device is not valid', choice, deviceWords)
  const names = option('--shapes', 'smollm2-135m,llama-3.2-1b').split(',')
  for (const name of names)
    if (!Object.hasOwn(shapes, name)) throw unknownName('invalid-option', '--shapes is not valid', name, Object.keys(shapes))
  const rounds = count('--rounds', 3)
  const [device] = await chooseDevices(choice, 0)
  const precision = precisionOf(device, args.includes('--precision') ? option('--precision', '') : undefined)
  const hasPeer = !args.includes('--no-peer')
  if (hasPeer) requirePeer()
  const results: Record<string, unknown> = {
    machine: `${cpus()[0]?.model.trim()}, ${cpus().length} threads`,
    adapters: (await adapters()).map(({ name, driver }) => (driver === undefined ? name : `${name}, driver ${driver}`)),
    ...{ device, precision, rounds },
  }
  for (const name of names) {
    console.error(`bench gpu: ${name} on ${device} in ${precision}`)
    const options: GpuOptions = {
      ...{ folder: await shapeFolder(name), device, precision, virtualTokens: VIRTUAL_TOKENS, promptLength: PROMPT_LENGTH },
      ...{ batch: count('--batch', 16), length: count('--length', 128, 8), steps: count('--steps', 8, 2) },
      ...{ rows: count('--rows', 64, 0), newTokens: count('--new-tokens', 64, 2) },
    }
    const sides: { ours: Side[]; peer: Side[] } = { ours: [], peer: [] }
    try {
      for (let round = 0; round < rounds; round++) {
        sides.ours.push(await side(process.execPath, ['dist/scripts/bench/gpu-ours.js', JSON.stringify(options)]))
        if (hasPeer) sides.peer.push(await side(python(), [`${PEERS}/gpu.py`, JSON.stringify(options)]))
      }
      results[name] = compared(sides)
    } catch (error) {
      // A shape that is too large for a device says nothing of the others.
      const { code, message } = error as { code?: string; message: string }
      if (code === 'device-unavailable' || code === 'invalid-option') throw error
      results[name] = { failed: message.trim().slice(-1000) }
    }
  }
  return results
}

/** What a process of one side says. */
interface Side {
  readonly device: string
  readonly training: { readonly tokensPerSecond: number; readonly loss: number }
  readonly writing?: { readonly tokensPerSecond: number | null }
  readonly deviceBytes?: number
}

/** An error of a process of our side. */
interface Problem {
  readonly code: string
  readonly message: string
  readonly found: string
}

async function side(command: string, args: readonly string[]): Promise<Side> {
  const { lines } = await measure(command, args, { quiet: true })
  const problem = lines.find(line => line.event === 'problem') as unknown as Problem | undefined
  if (problem !== undefined) throw new GradpromptError(problem.code, problem.message, problem)
  return lines.findLast(line => line.event === 'result') as unknown as Side
}

/** Medians of both sides, and their ratio in each round. */
function compared({ ours, peer }: { ours: readonly Side[]; peer: readonly Side[] }): object {
  const figure = (read: (side: Side) => number | null | undefined, digits = 3) => {
    const [own, theirs] = [ours, peer].map(sides => sides.flatMap(one => read(one) ?? [])) as [number[], number[]]
    if (own.length === 0) return undefined
    return {
      ours: round(median(own), digits),
      ...(theirs.length > 0 && { peer: round(median(theirs), digits), ratio: round(median(own.map((x, i) => x / theirs[i]!))) }),
    }
  }
  return {
    ...(peer[0] && { peer: peer[0].device }),
    trainingTokensPerSecond: figure(one => one.training.tokensPerSecond),
    loss: figure(one => one.training.loss, 6),
    writtenTokensPerSecond: figure(one => one.writing?.tokensPerSecond),
    deviceBytes: figure(one => one.deviceBytes),
  }
}

function precisionOf(device: Device, given: string | undefined): Precision {
  const { halves } = deviceProfile(device)
  if (given === undefined) return (['bf16', 'fp16'] as const).find(name => halves[name] === 'own') ?? 'fp32'
  const found = precisions.find(name => name === given)
  if (found === undefined) throw unknownName('invalid-option', '--precision is not valid', given, precisions)
  return found
}

const python = (): string => process.env.GRADPROMPT_BENCH_PYTHON ?? 'python3'

/** @throws GradpromptError `peer-missing` */
function requirePeer(): void {
  if (spawnSync(python(), ['-c', 'import torch, transformers, peft'], { stdio: 'ignore' }).status === 0) return
  throw new GradpromptError('peer-missing', 'The other side of the benchmark is not installed', {
    found: `${python()} without torch, transformers or peft`,
    expected: 'a Python that has them, or --no-peer',
    hint: 'GRADPROMPT_BENCH_PYTHON names it',
  })
}
