import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { GradpromptError } from '../errors.js'
import { writeSafetensors } from '../formats/safetensors.js'
import { endingOf } from './ending.js'
import { hasPeftAdapter, hasTaskFactors, type PeftAdapter, peftAdapter, peftType } from './peft-adapter.js'
import { type CardOptions, modelCard } from './peft-card.js'
import type { ExportTarget } from './target.js'

/** Folders that `PeftModel.from_pretrained` loads. What PEFT keeps of a prompt is made in `peft-adapter.ts`. */
export const peft: ExportTarget = {
  name: 'peft',
  description: 'an adapter folder for PeftModel.from_pretrained',
  holds: hasPeftAdapter,
  form: peftType,
  reason: method => method.layerOutput && 'it changes what layers give out, and PEFT has no adapter of that kind',
  severalTasks: hasTaskFactors,
  async write({ prompt, model, baseModel, folder, out }) {
    const adapter = await peftAdapter(prompt, model.checkpoint)
    const { path: basePath } = model.checkpoint
    const ending = endingOf(prompt, model.tokenizer)
    await writePeft({ adapter, position: prompt.position, baseModel, basePath, prompt, ending, folder, out })
  },
}

export interface PeftExport {
  readonly adapter: PeftAdapter
  /** Where the prompt stood in training. PEFT puts it before everything, BOS included. */
  readonly position: 'before-bos' | 'after-bos'
  /** The base model's name for PEFT: a Hub id, or a folder. */
  readonly baseModel: string
  /** The file or folder that the base model was read from. */
  readonly basePath?: string | undefined
  /** For the README: in which template it was learned, and what answers are. */
  readonly prompt?: CardOptions['prompt']
  /** For the README: how answers end. */
  readonly ending?: CardOptions['ending']
  /** The folder to write into. */
  readonly folder: string
  /** What it is called when all is written. */
  readonly out?: string | undefined
}

/**
 * Writes a soft prompt as a PEFT adapter: `adapter_config.json`, `adapter_model.safetensors` and `README.md`.
 * @throws GradpromptError `position-not-exportable`, and as `writeSafetensors`
 */
export async function writePeft(options: PeftExport): Promise<void> {
  const { adapter, position, baseModel, folder } = options
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
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), adapter.tensors, { format: 'pt' })
  await writeFile(join(folder, 'adapter_config.json'), `${JSON.stringify(config, null, 2)}\n`)
  const { basePath, out, prompt, ending } = options
  const card = { type: adapter.config.peft_type, baseModel, basePath, adapter: out ?? folder, prompt, ending }
  await writeFile(join(folder, 'README.md'), modelCard(card))
}
