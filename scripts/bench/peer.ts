import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { GradpromptError } from '../../src/errors.js'
import { cacheFolder, hashOf } from '../../src/program/cache.js'

export const PEERS = 'scripts/bench/peers'

/** The processes of both sides read it where `--model` has chosen another model. */
const VARIABLE = 'GRADPROMPT_BENCH_MODEL'

/** Takes `--model FILE.gguf`, for all processes of a benchmark; to be called before the working directory changes. */
export function chooseModel(args: readonly string[]): void {
  const index = args.indexOf('--model')
  if (index < 0) return
  const path = resolve(args[index + 1] ?? '')
  if (!path.endsWith('.gguf') || !existsSync(path))
    throw new GradpromptError('file-not-found', '--model of a benchmark is a GGUF file, which all sides can read', {
      found: args[index + 1] ?? 'nothing',
      expected: 'the path of a .gguf file',
    })
  process.env[VARIABLE] = path
}

/** The GGUF file that both sides run. */
export const modelFile = (): string =>
  process.env[VARIABLE] ?? resolve('models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf')

/** The Python of the other side. @throws GradpromptError `peer-missing` */
export function python(): string {
  const python = process.env.GRADPROMPT_BENCH_PYTHON ?? 'python3'
  const { status } = spawnSync(python, ['-c', 'import torch, transformers, peft, gguf, accelerate, safetensors'], {
    stdio: 'ignore',
  })
  if (status === 0) return python
  throw new GradpromptError('peer-missing', 'The other side of the benchmark is not installed', {
    found: `${python} without torch, transformers, peft, gguf, accelerate or safetensors`,
    expected: 'a Python that has them',
    hint: 'python3 -m venv peer && peer/bin/pip install torch transformers peft gguf accelerate safetensors; then GRADPROMPT_BENCH_PYTHON=peer/bin/python',
  })
}

/** The model as the peers load it: fp32 weights in a Hugging Face folder, made once. */
export function float32Folder(): string {
  const file = modelFile()
  const { size, mtimeMs } = statSync(file)
  const folder = join(cacheFolder(), 'bench', `${basename(file, '.gguf')}-fp32-${hashOf(file, size, mtimeMs).slice(0, 8)}`)
  if (!existsSync(join(folder, 'model.safetensors'))) {
    mkdirSync(join(cacheFolder(), 'bench'), { recursive: true })
    console.error('bench: writing the model as an fp32 folder for the peer')
    const made = spawnSync(python(), [`${PEERS}/dequantize.py`, file, folder], { stdio: ['ignore', 'ignore', 'inherit'] })
    if (made.status !== 0)
      throw new GradpromptError('peer-failed', 'The fp32 folder for the peer could not be written', { exitCode: 1 })
  }
  return folder
}
