import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint } from '../../src/model/weights/checkpoint.js'
import { type Json, mutateBytes, mutateJson } from './mutate.js'
import type { FuzzTarget } from './run.js'

const keys =
  'model_type architectures hidden_size num_hidden_layers num_attention_heads num_key_value_heads head_dim intermediate_size vocab_size rms_norm_eps rope_theta rope_scaling rope_parameters rope_type factor sliding_window tie_word_embeddings hidden_act quantization_config torch_dtype llama gpt2 mistral n_layer n_head n_embd max_position_embeddings layer_types sliding_attention full_attention partial_rotary_factor longrope yarn long_factor short_factor original_max_position_embeddings no_rope_layers qk_layernorm use_qk_norm attention_bias attn_logit_softcapping query_pre_attn_scalar hidden_activation'.split(
    ' ',
  )

/** A model's folder, opened: its config against its tensors, in every family. */
export const config: FuzzTarget = {
  name: 'config',
  async prepare(folder) {
    const fixtures = 'test/fixtures/models'
    const names = (await readdir(fixtures)).filter(name => existsSync(join(fixtures, name, 'model.safetensors')))
    const sources = await Promise.all(names.map(name => readFile(join(fixtures, name, 'config.json'))))
    for (const name of names) {
      await mkdir(join(folder, name))
      await copyFile(join(fixtures, name, 'model.safetensors'), join(folder, name, 'model.safetensors'))
    }
    return async chance => {
      const i = chance.below(names.length)
      // Now and then another family's config stands beside the tensors.
      const bytes = chance.below(6) === 0 ? chance.pick(sources) : sources[i]!
      const changed =
        chance.below(6) === 0
          ? mutateBytes(chance, bytes, sources)
          : JSON.stringify(mutateJson(chance, JSON.parse(bytes.toString('utf8')) as Json, keys))
      const place = join(folder, names[i]!)
      await writeFile(join(place, 'config.json'), changed)
      const checkpoint = await openCheckpoint(place)
      await checkpoint.file.close()
    }
  },
}
