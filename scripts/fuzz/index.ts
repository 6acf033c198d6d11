import { chatTemplate } from './chat-template.js'
import { config } from './config.js'
import { csv, json, parquet } from './data.js'
import { gguf } from './gguf.js'
import { ggufModel } from './gguf-model.js'
import { imports } from './imports.js'
import { packed } from './packed.js'
import type { FuzzTarget } from './run.js'
import { safetensors } from './safetensors.js'
import { tokenizer } from './tokenizer.js'

/** Every reader of files from outside. */
export const targets: readonly FuzzTarget[] = [
  gguf,
  ggufModel,
  safetensors,
  packed,
  tokenizer,
  chatTemplate,
  config,
  csv,
  json,
  parquet,
  imports,
]
