import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { GradpromptError } from '../../src/errors.js'
import { cacheFolder } from '../../src/program/cache.js'

const GGUF = 'models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf'
export const PEERS = 'scripts/bench/peers'

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

/** The bundled model as the peers load it: fp32 weights in a Hugging Face folder, made once. */
export function float32Folder(): string {
  const folder = join(cacheFolder(), 'bench', 'smollm2-135m-instruct-fp32')
  if (!existsSync(join(folder, 'model.safetensors'))) {
    mkdirSync(join(cacheFolder(), 'bench'), { recursive: true })
    console.error('bench: writing the bundled model as an fp32 folder for the peer')
    const made = spawnSync(python(), [`${PEERS}/dequantize.py`, GGUF, folder], { stdio: ['ignore', 'ignore', 'inherit'] })
    if (made.status !== 0)
      throw new GradpromptError('peer-failed', 'The fp32 folder for the peer could not be written', { exitCode: 1 })
  }
  return folder
}
