import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { type Json, mutateBytes, mutateJson } from './mutate.js'
import type { FuzzTarget } from './run.js'

const keys =
  'model_type architectures hidden_size num_hidden_layers num_attention_heads num_key_value_heads head_dim intermediate_size vocab_size rms_norm_eps rope_theta rope_scaling rope_parameters rope_type factor sliding_window tie_word_embeddings hidden_act quantization_config torch_dtype llama gpt2 mistral n_layer n_head n_embd max_position_embeddings'.split(
    ' ',
  )

/** A model's folder, opened: its config against its tensors. */
export const config: FuzzTarget = {
  name: 'config',
  async prepare(folder) {
    const names = ['llama-gqa', 'gpt2', 'mistral-window', 'llama3-rope']
    const sources = await Promise.all(names.map(name => readFile(join('test/fixtures/models', name, 'config.json'))))
    await copyFile('test/fixtures/models/llama-gqa/model.safetensors', join(folder, 'model.safetensors'))
    return async chance => {
      const bytes = chance.pick([sources[0]!, sources[0]!, ...sources])
      const changed =
        chance.below(6) === 0
          ? mutateBytes(chance, bytes, sources)
          : JSON.stringify(mutateJson(chance, JSON.parse(bytes.toString('utf8')) as Json, keys))
      await writeFile(join(folder, 'config.json'), changed)
      const checkpoint = await openCheckpoint(folder)
      await checkpoint.file.close()
    }
  },
}
