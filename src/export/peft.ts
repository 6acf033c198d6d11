import { mkdir, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { GradpromptError } from '../errors.js'
import { writeSafetensors } from '../formats/safetensors.js'
import type { PeftAdapter } from '../sources/peft-adapter.js'
import type { SelfTest } from './self-test.js'

export interface PeftExport {
  readonly adapter: PeftAdapter
  /** Where the prompt stood in training. PEFT puts it before everything, BOS included. */
  readonly position: 'before-bos' | 'after-bos'
  /** The base model's name for PEFT: a Hub id, or a folder. */
  readonly baseModel: string
  /** The folder to make. */
  readonly out: string
  readonly selfTest?: SelfTest | undefined
}

/**
 * Writes a soft prompt as a PEFT adapter that `PeftModel.from_pretrained` loads: `adapter_config.json`,
 * `adapter_model.safetensors`, `README.md` and, when given, `self-test.json`. The folder appears whole or not at all.
 * @throws GradpromptError `folder-not-empty`, `position-not-exportable`, `cannot-write`
 */
export async function exportPeft(options: PeftExport): Promise<void> {
  const { adapter, position, baseModel, out, selfTest } = options
  if (position !== 'before-bos') {
    throw new GradpromptError('position-not-exportable', 'PEFT puts a soft prompt before BOS; this one was trained after it', {
      found: `position: ${position}`,
      expected: 'position: before-bos',
      hint: 'train with method.position: before-bos to export to PEFT',
    })
  }
  const config = {
    ...Object.fromEntries(Object.entries(adapter.config).sort(([a], [b]) => (a < b ? -1 : 1))),
    base_model_name_or_path: baseModel,
    inference_mode: true,
    task_type: 'CAUSAL_LM',
  }
  const temporary = join(dirname(resolve(out)), `.${basename(resolve(out))}.${process.pid}.tmp`)
  try {
    await refuseOccupied(out)
    await mkdir(dirname(temporary), { recursive: true })
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary)
    await writeSafetensors(join(temporary, 'adapter_model.safetensors'), adapter.tensors, { format: 'pt' })
    await writeFile(join(temporary, 'adapter_config.json'), `${JSON.stringify(config, null, 2)}\n`)
    await writeFile(join(temporary, 'README.md'), modelCard(options))
    if (selfTest !== undefined) await writeFile(join(temporary, 'self-test.json'), `${JSON.stringify(selfTest, null, 2)}\n`)
    // Only an empty folder can be removed, so nothing is lost to a process that wrote there meanwhile.
    await rmdir(out).catch(ignoreMissing)
    await rename(temporary, out)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {})
    if (error instanceof GradpromptError && error.code !== 'unwritable-file') throw error
    throw new GradpromptError('cannot-write', `the adapter cannot be written to ${out}`, {
      found: error instanceof Error ? error.message : String(error),
      expected: 'a folder that can be made and written',
      hint: 'give another --out',
      cause: error,
    })
  }
}

async function refuseOccupied(out: string): Promise<void> {
  const names = (await readdir(out).catch(ignoreMissing)) ?? []
  if (names.length === 0) return
  throw new GradpromptError('folder-not-empty', `${out} already exists`, {
    found: names.slice(0, 5).join(', '),
    expected: 'a folder that does not exist, or an empty one',
    hint: 'give another --out',
  })
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error
}

function modelCard({ adapter, baseModel, selfTest }: PeftExport): string {
  const name = JSON.stringify(baseModel)
  return `---
base_model: ${name}
library_name: peft
tags:
- ${adapter.config.peft_type.toLowerCase().replaceAll('_', '-')}
---

A soft prompt (${adapter.config.peft_type}) for ${baseModel}, trained with gradprompt.

\`\`\`python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained(${name})
model = PeftModel.from_pretrained(base, "path/of/this/folder")
\`\`\`

${selfTest === undefined ? '' : '`self-test.json` holds a few inputs with the greedy tokens and largest logits that they must give.\n'}`
}
